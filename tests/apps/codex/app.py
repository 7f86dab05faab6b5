"""Codex CLI, which speaks nothing but the Responses API."""

from harness import App, NodePackages, Session, expect, expect_in
from harness.session import GREETING, LOGIN_COMMAND, RESPONSES, variables

INSTALLATION = NodePackages("codex", "@openai/codex")
QUIET = "check_for_update_on_startup = false\n"
QUIETER = "\n[analytics]\nenabled = false\n"


def ask(s: Session, **options: bool) -> str:
    folder = s.home / "codex"
    folder.mkdir()
    files = s.connect("codex")
    (folder / "config.toml").write_text(QUIET + files["config.toml"] + QUIETER)
    env = {"CODEX_HOME": str(folder), **variables(files["profile"].removeprefix("export "))}
    return s.run("codex", "exec", "--skip-git-repo-check", "hi there", env=env, **options)


def run(s: Session) -> None:
    with s.living(config=RESPONSES) as served, served.check("`codex exec`, of a provider with responses"):
        expect_in("shown", f"{GREETING}", ask(served))
        [body] = served.expect_seen("POST /v1/responses")
        expect("stream", body["stream"], True)
    with s.check("Nous Portal has no responses: it says so"):
        expect_in("shown", "/chat/completions", ask(s, fails=True))
        s.expect_seen()
    with s.living(config=RESPONSES, login=False) as out, out.check("shows how to log in"):
        expect_in("shown", LOGIN_COMMAND, ask(out, fails=True))
        out.expect_seen()


APP = App(
    title="[Codex CLI](https://developers.openai.com/codex/cli)",
    checked="`codex exec`, of a provider with `/responses` in `extra_paths`; Nous Portal has none",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
