"""OpenViking, the context database: its doctor, and its server with a note that is found again."""

import json

from harness import App, PythonPackages, Session, expect_in
from harness.session import GREETING, LOGIN_COMMAND, MODEL
from harness.world import fetch, free_port, wait_until

INSTALLATION = PythonPackages("openviking", "openviking")
# That of the mock cloud, when none is asked for.
DIMENSION = 16


def prepare(s: Session) -> dict[str, str]:
    config = json.loads(s.connect("openviking")["ov.conf"])
    config["storage"] = {"workspace": str(s.home / "workspace")}
    config["embedding"]["dense"]["dimension"] = DIMENSION
    file = s.home / "ov.conf"
    file.write_text(json.dumps(config))
    # Else litellm fetches its table of models from the internet.
    return {
        "OPENVIKING_CONFIG_FILE": str(file),
        "OPENVIKING_CLI_CONFIG_FILE": str(s.home / "ovcli.conf"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


def start_server(s: Session, env: dict[str, str]) -> None:
    port = free_port()
    (s.home / "ovcli.conf").write_text(json.dumps({"url": f"http://127.0.0.1:{port}"}))
    command = ["openviking-server", "--host", "127.0.0.1", "--port", str(port)]
    server = s.world.spawn(command, "openviking.log", env, INSTALLATION.bin())
    ready = lambda: fetch(f"http://127.0.0.1:{port}/health")
    wait_until("OpenViking starts", ready, server, lambda: s.world.log("openviking.log"))
    # It asks for one before anything else.
    s.run("openviking", "language", "en", env=env)


def run(s: Session) -> None:
    env = prepare(s)
    with s.check("`openviking-server doctor`"):
        shown = s.run("openviking-server", "doctor", env=env)
        expect_in("shown", f"probe ok (dimension={DIMENSION})", shown)
        expect_in("shown", f"VLM: PASS openai/{MODEL}", shown)
        s.expect_seen("POST /v1/embeddings")
    start_server(s, env)
    with s.check("a note is summarised, embedded and found"):
        (s.home / "note.md").write_text("# Tea\n\nThe tea is in the kitchen.\n")
        s.run("openviking", "add-resource", s.home / "note.md", "--wait", env=env)
        s.expect_seen_among("POST /v1/chat/completions")
        s.expect_seen_among("POST /v1/embeddings")
        expect_in("shown", "viking://resources", s.run("openviking", "find", "tea", env=env))
        expect_in("shown", GREETING, s.run("openviking", "ls", "viking://resources", env=env))
    with s.living(login=False) as out, out.check("the doctor shows how to log in"):
        shown = out.run("openviking-server", "doctor", env=prepare(out), fails=True)
        expect_in("shown", LOGIN_COMMAND, shown)
        out.expect_seen()


APP = App(
    title="[OpenViking](https://openviking.ai)",
    checked="`openviking-server doctor`; its server: `add-resource`, `find`",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
