"""What the apps' scripts share: how an app is installed, and the world that it runs in."""

from .catalogue import App
from .install import NodePackages, PythonPackages, TestClients
from .session import Session, expect, expect_in

__all__ = [
    "App",
    "NodePackages",
    "PythonPackages",
    "Session",
    "TestClients",
    "expect",
    "expect_in",
]
