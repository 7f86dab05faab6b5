"""Aider, the pair programmer of the terminal; it talks through litellm."""

from harness import App, PythonPackages, Session, expect, expect_in
from harness.session import GREETING, LOGIN_COMMAND, MODEL

INSTALLATION = PythonPackages("aider", "aider-chat", newest=(3, 12))
QUIET = ["--no-git", "--yes-always", "--no-check-update", "--no-analytics", "--no-show-model-warnings"]


def ask(s: Session, *flags: str, **options: bool) -> str:
    (s.home / ".env").write_text(s.connect("aider")[".env"])
    # Else litellm fetches its table of models from the internet.
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    return s.run("aider", *QUIET, "--message", "hi there", *flags, env=env, **options)


def run(s: Session) -> None:
    for what, flags, streams in [("streams", [], True), ("`--no-stream`", ["--no-stream"], False)]:
        with s.check(f"a message {what}"):
            expect_in("shown", GREETING.strip(), ask(s, *flags))
            [body] = s.expect_seen("POST /v1/chat/completions")
            expect("stream", body.get("stream", False), streams)
            expect("model", body["model"], MODEL)
    with s.living(login=False) as out, out.check("shows how to log in, without trying again"):
        expect_in("shown", LOGIN_COMMAND, ask(out))
        out.expect_seen()
        expect("requests", out.world.log().count('"/chat/completions"'), 1)


APP = App(
    title="[Aider](https://aider.chat)",
    checked="`--message`, streamed and whole",
    in_ci=True,
    installation=INSTALLATION,
    run=run,
)
