"""Uses what `hermesctl connect APP --json` printed, as the app would, with the official Python SDK.

    hermesctl connect karakeep --from bare --json | snippet_client.py [--at HOST:PORT]

Every file is read back by a parser of its kind; then models, a chat and, where a model for them is named,
embeddings are asked for with the values that were found. Several apps may come one after the other. `--at` says where the base URL's host really is, as
`extra_hosts` and a container network do for a container. Prints a line for every check, `ok NAME` or
`FAILED NAME: …`; exits with 1 when one failed. The upstream is the mock cloud.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from urllib.parse import urlsplit

import openai
import yaml


@dataclass
class Found:
    """What an app reads in its files."""

    base: str
    key: str
    model: str
    embedding: str | None = None


def variables(text):
    """The lines of an environment file that are no comments."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [line.split("=", 1) for line in lines]
    return dict(pairs)


def services(files):
    """The services of the compose file, if there is one."""
    text = files.get("compose.override.yaml")
    return yaml.safe_load(text)["services"] if text else {}


def environment(files):
    """The app's variables, from a file of them or from its service."""
    if ".env" in files:
        return variables(files[".env"])
    [app] = [one for name, one in services(files).items() if name != "hermes-proxyd"]
    return app["environment"]


def by_variables(base, key, model, embedding=None, prefix=""):
    def find(files):
        env = environment(files)
        return Found(env[base], env[key], env[model].removeprefix(prefix), env.get(embedding))

    return find


def openviking(files):
    config = json.loads(files["ov.conf"])
    vlm, dense = config["vlm"], config["embedding"]["dense"]
    if (vlm["api_base"], vlm["api_key"]) != (dense["api_base"], dense["api_key"]):
        raise AssertionError("two addresses or keys")
    return Found(vlm["api_base"], vlm["api_key"], vlm["model"], dense["model"])


def n8n(files):
    [credential] = json.loads(files["hermes-proxyd.json"])
    if credential["type"] != "openAiApi":
        raise AssertionError(credential["type"])
    return Found(credential["data"]["url"], credential["data"]["apiKey"], "")


def librechat(files):
    [endpoint] = yaml.safe_load(files["librechat.yaml"])["endpoints"]["custom"]
    [model] = endpoint["models"]["default"]
    return Found(endpoint["baseURL"], endpoint["apiKey"], model)


def continue_dev(files):
    [model] = yaml.safe_load(files["config.yaml"])["models"]
    return Found(model["apiBase"], model["apiKey"], model["model"])


def home_assistant(files):
    fields = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in files["fields"].splitlines())
    return Found(fields["Server URL"], fields["API key"], fields["Model"])


def codex(files):
    config = tomllib.loads(files["config.toml"])
    provider = config["model_providers"][config["model_provider"]]
    if provider["wire_api"] != "responses":
        raise AssertionError(provider["wire_api"])
    say = files["profile"] + f'printf %s "${provider["env_key"]}"'
    key = subprocess.run(["sh", "-c", say], capture_output=True, text=True, check=True).stdout
    return Found(provider["base_url"], key, config["model"])


def claude_code(files):
    env = json.loads(files["settings.json"])["env"]
    return Found(env["ANTHROPIC_BASE_URL"] + "/v1", env["ANTHROPIC_AUTH_TOKEN"], env["ANTHROPIC_MODEL"])


def opencode(files):
    [provider] = json.loads(files["opencode.json"])["provider"].values()
    [model] = provider["models"]
    return Found(provider["options"]["baseURL"], provider["options"]["apiKey"], model)


def llm(files):
    [model] = yaml.safe_load(files["extra-openai-models.yaml"])
    program, keys, verb, name, flag, key = shlex.split(files["key"])
    if (program, keys, verb, name, flag) != ("llm", "keys", "set", model["api_key_name"], "--value"):
        raise AssertionError(files["key"])
    return Found(model["api_base"], key, model["model_name"])


APPS = {
    "karakeep": by_variables(
        "OPENAI_BASE_URL", "OPENAI_API_KEY", "INFERENCE_TEXT_MODEL", "EMBEDDING_TEXT_MODEL"
    ),
    "open-webui": by_variables(
        "OPENAI_API_BASE_URL", "OPENAI_API_KEY", "DEFAULT_MODELS", "RAG_EMBEDDING_MODEL"
    ),
    "openviking": openviking,
    "n8n": n8n,
    "lobechat": by_variables("OPENAI_PROXY_URL", "OPENAI_API_KEY", "OPENAI_MODEL_LIST", prefix="-all,+"),
    "librechat": librechat,
    "paperless-gpt": by_variables("OPENAI_BASE_URL", "OPENAI_API_KEY", "LLM_MODEL"),
    "aider": by_variables("OPENAI_API_BASE", "OPENAI_API_KEY", "AIDER_MODEL", prefix="openai/"),
    "continue": continue_dev,
    "home-assistant": home_assistant,
    "codex": codex,
    "claude-code": claude_code,
    "opencode": opencode,
    "llm": llm,
    "openai": by_variables("OPENAI_BASE_URL", "OPENAI_API_KEY", "OPENAI_MODEL"),
}


def check_containers(told, files):
    """The app's container learns what this machine is called, where nothing else tells it."""
    found = services(files)
    host = urlsplit(told["base_url"]).hostname
    if told["from"] == "docker" and host == "host.docker.internal" and found:
        hosts = [one.get("extra_hosts") for one in found.values()]
        if hosts != [["host.docker.internal:host-gateway"]]:
            raise AssertionError(hosts)
    if host == "hermes-proxyd" and found["hermes-proxyd"]["command"][:2] != ["bridge", "--to"]:
        raise AssertionError(found)


def use(told, at):
    files = {file["name"]: file["text"] for file in told["files"]}
    found = APPS[told["app"]](files)
    check_containers(told, files)
    if found.base != told["base_url"]:
        raise AssertionError(f"{found.base} is not {told['base_url']}")
    options = {"base_url": found.base, "api_key": found.key, "max_retries": 0, "timeout": 30}
    if at:
        url = urlsplit(found.base)
        options |= {"base_url": f"http://{at}{url.path}", "default_headers": {"Host": url.netloc}}
    client = openai.OpenAI(**options)
    model = found.model or told["model"]
    if model not in [one.id for one in client.models.list()]:
        raise AssertionError(f"there is no model {model!r}")
    if told["app"] == "codex":
        client.responses.create(model=model, input="hi", store=False)
        return
    question = [{"role": "user", "content": "hi"}]
    if told["app"] == "claude-code":
        # The mock's list has none of the models that this API takes.
        body = {"model": "anthropic/claude", "max_tokens": 9, "messages": question}
        headers = {"anthropic-version": "2023-06-01"}
        answer = client.post("/messages", cast_to=object, body=body, options={"headers": headers})
        if answer["content"][0]["text"] != "Hello from the mock cloud: hi":
            raise AssertionError(answer)
        return
    answer = client.chat.completions.create(model=model, messages=question)
    if answer.choices[0].message.content != "Hello from the mock cloud: hi":
        raise AssertionError(answer)
    if found.embedding:
        client.embeddings.create(model=found.embedding, input="hi")
    if told["app"] == "openai" and not at:
        by_hand(files)


def by_hand(files):
    """The SDK without a word said, and the line for a shell."""
    env = {"PATH": os.environ["PATH"], **variables(files[".env"])}
    say = "import openai; print(len(list(openai.OpenAI(max_retries=0).models.list())))"
    subprocess.run([sys.executable, "-c", say], env=env, check=True, capture_output=True)
    curl = files["curl"].rstrip() + " --silent --show-error --fail --noproxy '*'"
    answer = subprocess.run(["sh", "-c", curl], check=True, capture_output=True, text=True).stdout
    json.loads(answer)["choices"]


def documents(text):
    """JSON texts, one after the other."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        told, end = decoder.raw_decode(text)
        yield told
        text = text[end:]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--at", help="where the base URL's host really is")
    at = parser.parse_args().at
    failures = 0
    for told in documents(sys.stdin.read()):
        try:
            use(told, at)
            print(f"ok {told['app']}")
        except Exception as error:
            print(f"FAILED {told.get('app')}: {type(error).__name__}: {error}")
            failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
