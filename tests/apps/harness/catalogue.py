"""What an app's script says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .install import Installation
from .session import Session


@dataclass(frozen=True)
class App:
    """An app: where its pins are, what is checked, and by which function.

    `title`, `checked` and `in_ci` stand in the table of docs/connect-an-app.md; the version comes from the pins. `run` makes
    its checks with a session of its own, whose world has a login.
    """

    title: str
    checked: str
    in_ci: bool
    installation: Installation
    run: Callable[[Session], None]
