"""litellm, LangChain and LlamaIndex, which many apps are made of."""

from harness import App, PythonPackages, Session
from harness.install import APPS
from harness.session import KEY

PACKAGES = ("litellm", "langchain-openai", "llama-index-llms-openai-like")
INSTALLATION = PythonPackages("libraries", *PACKAGES)


def run(s: Session) -> None:
    # Else litellm fetches its table of models from the internet.
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    s.run_checks("python", APPS / "libraries" / "calls.py", s.base, KEY, env=env)


APP = App(
    title="[LiteLLM](https://docs.litellm.ai), [LangChain](https://langchain.com), [LlamaIndex](https://llamaindex.ai)",
    checked="chat, streamed and whole; embeddings; structured output",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
