"""litellm, LangChain and LlamaIndex, which many apps are made of."""

from harness import App, PythonPackages, Session
from harness.install import APPS
from harness.session import KEY, RESPONSES, TRANSLATED, codex_only
from harness.world import ACCOUNT

PACKAGES = ("litellm", "langchain-openai", "llama-index-llms-openai-like")
INSTALLATION = PythonPackages("libraries", *PACKAGES)
SCRIPT = APPS / "libraries" / "calls.py"


def run(s: Session) -> None:
    # Else litellm fetches its table of models from the internet.
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    s.run_checks("python", SCRIPT, s.base, KEY, env=env)
    with s.living(config=RESPONSES) as served:
        served.run_checks("python", SCRIPT, served.base, KEY, "responses", env=env)
    with s.living(config=codex_only, account=ACCOUNT, key_of="libraries") as codex:
        codex.run_checks("python", SCRIPT, codex.base, codex.key, "responses", env=env)
        codex.run_checks("python", SCRIPT, codex.base, codex.key, "translated-chat", env=env)
    with s.living(config=TRANSLATED) as translated:
        translated.run_checks("python", SCRIPT, translated.base, KEY, "translated-responses", env=env)


APP = App(
    title="[LiteLLM](https://docs.litellm.ai), [LangChain](https://langchain.com), [LlamaIndex](https://llamaindex.ai)",
    checked="chat, streamed and whole; embeddings; structured output; LangChain by responses, on `openai-codex` too; all "
    "by chat on `openai-codex`, and LangChain by responses on Nous Portal, translated",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
