"""The Vercel AI SDK, by Chat Completions and by its default, the Responses API."""

from harness import App, NodePackages, Session
from harness.install import APPS
from harness.session import KEY, RESPONSES, TRANSLATED, codex_only
from harness.world import ACCOUNT

INSTALLATION = NodePackages("vercel-ai", "ai")
SCRIPT = APPS / "vercel-ai" / "calls.mjs"


def run(s: Session) -> None:
    s.run_checks("node", SCRIPT, INSTALLATION.folder(), s.base, KEY, "chat")
    with s.living(config=RESPONSES) as served:
        served.run_checks("node", SCRIPT, INSTALLATION.folder(), served.base, KEY, "responses")
    with s.living(config=codex_only, account=ACCOUNT, key_of="vercel-ai") as codex:
        codex.run_checks("node", SCRIPT, INSTALLATION.folder(), codex.base, codex.key, "responses")
        codex.run_checks("node", SCRIPT, INSTALLATION.folder(), codex.base, codex.key, "translated-chat")
    with s.living(config=TRANSLATED) as translated:
        translated.run_checks("node", SCRIPT, INSTALLATION.folder(), translated.base, KEY, "translated-responses")
    with s.living(login=False) as out:
        out.run_checks("node", SCRIPT, INSTALLATION.folder(), out.base, KEY, "login")


APP = App(
    title="[Vercel AI SDK](https://ai-sdk.dev)",
    checked="chat, streamed and whole, structured output, embeddings; the same by responses, on `openai-codex` too; "
    "by chat on `openai-codex` and by responses on Nous Portal, translated; errors",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
