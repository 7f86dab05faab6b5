"""llm, Simon Willison's command line for language models."""

import json
import shlex

from harness import App, PythonPackages, Session, expect, expect_in
from harness.session import GREETING, LOGIN_COMMAND

INSTALLATION = PythonPackages("llm", "llm")


def prepare(s: Session) -> dict[str, str]:
    folder = s.home / "llm"
    folder.mkdir()
    env = {"LLM_USER_PATH": str(folder)}
    files = s.connect("llm")
    (folder / "extra-openai-models.yaml").write_text(files["extra-openai-models.yaml"])
    s.run(*shlex.split(files["key"]), env=env)
    return env


def run(s: Session) -> None:
    env = prepare(s)
    models = s.home / "llm/extra-openai-models.yaml"
    with s.check("`llm` streams"):
        expect("shown", s.run("llm", "-m", "hermes", "hi there", env=env).strip(), f"{GREETING}hi there")
        [body] = s.expect_seen("POST /v1/chat/completions")
        expect("stream", body["stream"], True)
    with s.check("`llm --no-stream`"):
        shown = s.run("llm", "-m", "hermes", "--no-stream", "hi there", env=env).strip()
        expect("shown", shown, f"{GREETING}hi there")
        [body] = s.expect_seen("POST /v1/chat/completions")
        expect("stream", body.get("stream", False), False)
    with s.check("`llm --schema`"):
        shown = json.loads(s.run("llm", "-m", "hermes", "--schema", "name, age int", "a dog", env=env))
        expect("shown", shown, {"name": f"{GREETING}a dog", "age": 7})
        [body] = s.expect_seen("POST /v1/chat/completions")
        expect("response_format", body["response_format"]["type"], "json_schema")
    with s.check("an image of the prompt"):
        picture = s.home / "dot.png"
        picture.write_bytes(bytes.fromhex("89504e470d0a1a0a") + bytes(2_000_000))
        models.write_text(models.read_text() + "  vision: true\n")
        shown = s.run("llm", "-m", "hermes", "hi there", "-a", picture, env=env)
        expect("shown", shown.strip(), f"{GREETING}hi there")
    with s.check("without a key of its own"):
        models.write_text(models.read_text().replace("  api_key_name: hermes-proxyd\n", ""))
        shown = s.run("llm", "-m", "hermes", "hi there", env=env)
        expect("shown", shown.strip(), f"{GREETING}hi there")
    with s.living(login=False) as out, out.check("shows how to log in"):
        shown = out.run("llm", "-m", "hermes", "hi there", env=prepare(out), fails=True)
        expect_in("shown", LOGIN_COMMAND, shown)
        out.expect_seen()


APP = App(
    title="[llm](https://llm.datasette.io)",
    checked="prompt, streamed and whole; `--schema`; an image",
    in_ci=True,
    installation=INSTALLATION,
    run=run,
)
