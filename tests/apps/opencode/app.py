"""opencode, an agent for the terminal."""

from harness import App, NodePackages, Session, expect, expect_in
from harness.session import GREETING, LOGIN_COMMAND, MODEL

INSTALLATION = NodePackages("opencode", "opencode-linux-x64")
PROGRAM = INSTALLATION.folder() / "node_modules/opencode-linux-x64/bin/opencode"


def ask(s: Session, **options: bool) -> str:
    (s.home / "opencode.json").write_text(s.connect("opencode")["opencode.json"])
    env = {"OPENCODE_DISABLE_MODELS_FETCH": "1", "OPENCODE_DISABLE_AUTOUPDATE": "1"}
    return s.run(PROGRAM, "run", "-m", f"hermes-proxyd/{MODEL}", "hi there", env=env, **options)


def run(s: Session) -> None:
    with s.check("`opencode run` streams"):
        expect_in("shown", GREETING.strip(), ask(s))
        bodies = [s.body(one) for one in s.seen()]
        expect("stream", {body["stream"] for body in bodies}, {True})
        expect("targets", {one["target"] for one in s.seen()}, {"/v1/chat/completions"})
    with s.living(login=False) as out, out.check("shows how to log in"):
        expect_in("shown", LOGIN_COMMAND, ask(out, fails=True))
        out.expect_seen()


APP = App(
    title="[opencode](https://opencode.ai)",
    checked="`opencode run`, with its tools, streamed",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
