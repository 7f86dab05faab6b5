"""Claude Code, which speaks nothing but Anthropic's Messages API."""

from harness import App, NodePackages, Session, expect, expect_in
from harness.session import GREETING, LOGIN_COMMAND

INSTALLATION = NodePackages("claude-code", "@anthropic-ai/claude-code-linux-x64")
PROGRAM = INSTALLATION.folder() / "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
MODEL = "anthropic/claude-sonnet-4.5"


def ask(s: Session, **options: bool) -> str:
    folder = s.home / "claude"
    folder.mkdir(exist_ok=True)
    (folder / "settings.json").write_text(s.connect("claude-code", model=MODEL)["settings.json"])
    env = {"CLAUDE_CONFIG_DIR": str(folder), "DISABLE_AUTOUPDATER": "1"}
    return s.run(PROGRAM, "-p", "hi there", env=env, **options)


def run(s: Session) -> None:
    with s.check("`claude -p` streams"):
        expect_in("shown", f"{GREETING}hi there", ask(s))
        targets = {one["target"].split("?")[0] for one in s.seen()}
        expect("targets", targets - {"/v1/messages/count_tokens"}, {"/v1/messages"})
        bodies = [s.body(one) for one in s.seen() if one["target"].startswith("/v1/messages?")]
        expect("models", {body["model"] for body in bodies}, {MODEL})
        expect("stream", {body.get("stream") for body in bodies}, {True})
    with s.living(login=False) as out, out.check("shows how to log in"):
        expect_in("shown", LOGIN_COMMAND, ask(out, fails=True))
        out.expect_seen()


APP = App(
    title="[Claude Code](https://claude.com/product/claude-code)",
    checked="`claude -p` on Nous Portal's Messages API, streamed",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
