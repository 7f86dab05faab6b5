"""OpenAI's Agents SDK, by its default, the Responses API, and by Chat Completions."""

from harness import App, PythonPackages, Session
from harness.install import APPS
from harness.session import KEY, RESPONSES, TRANSLATED, codex_only
from harness.world import ACCOUNT

INSTALLATION = PythonPackages("openai-agents", "openai-agents")
SCRIPT = APPS / "openai-agents" / "calls.py"


def run(s: Session) -> None:
    s.run_checks("python", SCRIPT, s.base, KEY, "chat")
    with s.living(config=RESPONSES) as served:
        served.run_checks("python", SCRIPT, served.base, KEY, "responses")
    with s.living(config=codex_only, account=ACCOUNT, key_of="openai-agents") as codex:
        codex.run_checks("python", SCRIPT, codex.base, codex.key, "responses")
        codex.run_checks("python", SCRIPT, codex.base, codex.key, "translated-chat")
    with s.living(config=TRANSLATED) as translated:
        translated.run_checks("python", SCRIPT, translated.base, KEY, "translated-responses")
    with s.living(login=False) as out:
        out.run_checks("python", SCRIPT, out.base, KEY, "login")


APP = App(
    title="[OpenAI's Agents SDK](https://openai.github.io/openai-agents-python)",
    checked="an agent, streamed and whole, structured output: by chat; by responses, on "
    "`openai-codex` too; by chat on `openai-codex` and by responses on Nous Portal, translated; errors",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
