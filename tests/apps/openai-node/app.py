"""OpenAI's Node SDK, with the script that the Rust tests use."""

from harness import App, Session, TestClients
from harness.install import CLIENTS, test_env
from harness.session import TRANSLATED, codex_only
from harness.world import ACCOUNT

SCRIPT = CLIENTS / "node" / "openai_client.mjs"


def run(s: Session) -> None:
    env = {"HERMES_TEST_ENV": str(test_env())}
    s.run_checks("node", SCRIPT, s.base, env=env)
    with s.living(config=TRANSLATED) as served:
        served.run_checks("node", SCRIPT, served.base, "--responses", env=env)
    with s.living(config=codex_only, account=ACCOUNT, key_of="openai-node") as codex:
        codex.run_checks("node", SCRIPT, codex.base, "--streams-only", "--api-key", codex.key, env=env)
    with s.living(login=False) as out:
        out.run_checks("node", SCRIPT, out.base, "--expect-login-needed", env=env)


APP = App(
    title="[OpenAI's Node SDK](https://github.com/openai/openai-node)",
    checked="chat, streamed and whole; completions; embeddings (base64, float); models; errors; responses on "
    "Nous Portal, translated; responses and translated chats on `openai-codex`",
    in_ci=True,
    installation=TestClients("node"),
    run=run,
)
