"""OpenAI's Python SDK, with the script that the Rust tests use."""

from harness import App, Session, TestClients
from harness.install import CLIENTS
from harness.session import TRANSLATED, codex_only
from harness.world import ACCOUNT

SCRIPT = CLIENTS / "python" / "openai_client.py"


def run(s: Session) -> None:
    s.run_checks("python", SCRIPT, s.base)
    with s.living(config=TRANSLATED) as served:
        served.run_checks("python", SCRIPT, served.base, "--responses")
    with s.living(config=codex_only, account=ACCOUNT, key_of="openai-python") as codex:
        codex.run_checks("python", SCRIPT, codex.base, "--streams-only", "--api-key", codex.key)
    with s.living(login=False) as out:
        out.run_checks("python", SCRIPT, out.base, "--expect-login-needed")


APP = App(
    title="[OpenAI's Python SDK](https://github.com/openai/openai-python)",
    checked="chat, streamed and whole; completions; embeddings (base64, float); models; errors; responses on "
    "Nous Portal, translated; responses and translated chats on `openai-codex`",
    in_ci=True,
    installation=TestClients("python"),
    run=run,
)
