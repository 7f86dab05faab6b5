"""Anthropic's Python SDK, on Nous Portal's Messages API."""

from harness import App, PythonPackages, Session
from harness.install import APPS
from harness.session import KEY

INSTALLATION = PythonPackages("anthropic-python", "anthropic")
SCRIPT = APPS / "anthropic-python" / "calls.py"


def run(s: Session) -> None:
    s.run_checks("python", SCRIPT, s.base.removesuffix("/v1"), KEY)
    with s.living(login=False) as out:
        out.run_checks("python", SCRIPT, out.base.removesuffix("/v1"), KEY, "--expect-login-needed")


APP = App(
    title="[Anthropic's Python SDK](https://github.com/anthropics/anthropic-sdk-python)",
    checked="messages, streamed and whole; tokens; its key in `x-api-key` or as a bearer; errors",
    in_ci=True,
    installation=INSTALLATION,
    run=run,
)
