"""OpenAI's Node SDK, with the script that the Rust tests use."""

from harness import App, Session, TestClients
from harness.install import CLIENTS, test_env
from harness.session import RESPONSES

SCRIPT = CLIENTS / "node" / "openai_client.mjs"


def run(s: Session) -> None:
    env = {"HERMES_TEST_ENV": str(test_env())}
    s.run_checks("node", SCRIPT, s.base, env=env)
    with s.living(config=RESPONSES) as served:
        served.run_checks("node", SCRIPT, served.base, "--responses", env=env)
    with s.living(login=False) as out:
        out.run_checks("node", SCRIPT, out.base, "--expect-login-needed", env=env)


APP = App(
    title="[OpenAI's Node SDK](https://github.com/openai/openai-node)",
    checked="chat, streamed and whole; completions; embeddings (base64, float); models; responses; errors",
    in_ci=True,
    installation=TestClients("node"),
    run=run,
)
