"""OpenViking, the context database: its doctor makes a real request for embeddings."""

import json

from harness import App, PythonPackages, Session, expect_in
from harness.install import APPS
from harness.session import GREETING, KEY, LOGIN_COMMAND, MODEL

INSTALLATION = PythonPackages("openviking", "openviking")
# That of the mock cloud, when none is asked for.
DIMENSION = 16


def prepare(s: Session) -> dict[str, str]:
    reached = {"provider": "openai", "model": MODEL, "api_base": s.base, "api_key": KEY}
    config = {
        "storage": {"workspace": str(s.home / "workspace")},
        "embedding": {"dense": {**reached, "dimension": DIMENSION}},
        "vlm": reached,
    }
    file = s.home / "ov.conf"
    file.write_text(json.dumps(config))
    # Else litellm fetches its table of models from the internet.
    return {"OPENVIKING_CONFIG_FILE": str(file), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def run(s: Session) -> None:
    env = prepare(s)
    with s.check("`openviking-server doctor`"):
        shown = s.run("openviking-server", "doctor", env=env)
        expect_in("shown", f"probe ok (dimension={DIMENSION})", shown)
        expect_in("shown", f"VLM: PASS openai/{MODEL}", shown)
        s.expect_seen("POST /v1/embeddings")
    with s.check("its vision model answers"):
        shown = s.run("python", APPS / "openviking" / "vlm.py", env=env)
        expect_in("shown", f"{GREETING}hi there", shown)
        s.expect_seen("POST /v1/chat/completions")
    with s.living(login=False) as out, out.check("the doctor shows how to log in"):
        shown = out.run("openviking-server", "doctor", env=prepare(out), fails=True)
        expect_in("shown", LOGIN_COMMAND, shown)
        out.expect_seen()


APP = App(
    title="[OpenViking](https://openviking.ai)",
    checked="`openviking-server doctor`: embeddings, vision model",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
