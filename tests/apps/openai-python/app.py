"""OpenAI's Python SDK, with the script that the Rust tests use."""

from harness import App, Session, TestClients
from harness.install import CLIENTS
from harness.session import RESPONSES

SCRIPT = CLIENTS / "python" / "openai_client.py"


def run(s: Session) -> None:
    s.run_checks("python", SCRIPT, s.base)
    with s.living(config=RESPONSES) as served:
        served.run_checks("python", SCRIPT, served.base, "--responses")
    with s.living(login=False) as out:
        out.run_checks("python", SCRIPT, out.base, "--expect-login-needed")


APP = App(
    title="[OpenAI's Python SDK](https://github.com/openai/openai-python)",
    checked="chat, streamed and whole; completions; embeddings (base64, float); models; responses; errors",
    in_ci=True,
    installation=TestClients("python"),
    run=run,
)
