"""cn, Continue's agent for the terminal."""

from harness import App, NodePackages, Session, expect, expect_in
from harness.session import GREETING, LOGIN_COMMAND

INSTALLATION = NodePackages("cn", "@continuedev/cli")


def ask(s: Session, **options: bool) -> str:
    config = s.home / "config.yaml"
    config.write_text(s.connect("continue")["config.yaml"])
    env = {"CONTINUE_CLI_ENABLE_TELEMETRY": "0", "CONTINUE_TELEMETRY_ENABLED": "0"}
    return s.run("cn", "-p", "--config", config, "hi there", env=env, **options)


def run(s: Session) -> None:
    with s.check("`cn -p` streams"):
        expect_in("shown", f"{GREETING}hi there", ask(s))
        [body] = s.expect_seen("POST /v1/chat/completions")
        expect("stream", body["stream"], True)
        expect("tools", len(body["tools"]) > 1, True)
    with s.living(login=False) as out, out.check("shows how to log in"):
        expect_in("shown", LOGIN_COMMAND, ask(out, fails=True))
        out.expect_seen()


APP = App(
    title="[Continue's `cn`](https://docs.continue.dev/guides/cli)",
    checked="`cn -p`, with its tools, streamed",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
