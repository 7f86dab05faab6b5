"""Codex CLI, which speaks nothing but the Responses API."""

from harness import App, NodePackages, Session, expect, expect_in
from harness.session import GREETING, LOGIN_COMMAND, RESPONSES, TRANSLATED, codex_beside, documented, variables
from harness.world import ACCOUNT

INSTALLATION = NodePackages("codex", "@openai/codex")
QUIET = "check_for_update_on_startup = false\n"
QUIETER = "\n[analytics]\nenabled = false\n"
# What docs/codex.md tells Codex CLI to ask.
DOCUMENTED_BASE = "http://127.0.0.1:8645/openai-codex/v1"


def ask(s: Session, files: dict[str, str] | None = None, **options: bool) -> str:
    folder = s.home / "codex"
    folder.mkdir(exist_ok=True)
    files = files or s.connect("codex")
    (folder / "config.toml").write_text(QUIET + files["config.toml"] + QUIETER)
    env = {"CODEX_HOME": str(folder), **variables(files["profile"].removeprefix("export "))}
    return s.run("codex", "exec", "--skip-git-repo-check", "hi there", env=env, **options)


def subscription(s: Session) -> None:
    """With a ChatGPT subscription, by the lines of docs/codex.md."""
    own = s.base.removesuffix("/v1") + "/openai-codex/v1"
    config = documented("codex.md", "toml codex-cli").replace(DOCUMENTED_BASE, own)
    profile = documented("codex.md", "sh codex-cli").replace("hpx-YOUR-CLIENT-KEY", s.key)
    with s.check("`codex exec` on OpenAI Codex, by the lines of the documentation"):
        expect_in("shown", f"{GREETING}hi there", ask(s, {"config.toml": config, "profile": profile}))
        asked = {one["target"].split("?")[0] for one in s.seen()}
        expect("paths", asked - {"/backend-api/codex/models"}, {"/backend-api/codex/responses"})
        bodies = [s.body(one) for one in s.seen() if one["method"] == "POST"]
        expect("stream", [body["stream"] for body in bodies], [True])
    with s.check("without a client key it is refused"):
        keyless = profile.replace(s.key, "anything")
        shown = ask(s, {"config.toml": config, "profile": keyless}, fails=True)
        expect_in("shown", "hermesctl clients add", shown)
        s.expect_seen()


def run(s: Session) -> None:
    with s.living(config=codex_beside, account=ACCOUNT, key_of="codex") as served:
        subscription(served)
    with s.living(config=RESPONSES) as served, served.check("`codex exec`, of a provider with responses"):
        expect_in("shown", f"{GREETING}", ask(served))
        [body] = served.expect_seen("POST /v1/responses")
        expect("stream", body["stream"], True)
    with s.living(config=TRANSLATED) as served, served.check("`codex exec` on Nous Portal, translated"):
        expect_in("shown", f"{GREETING}hi there", ask(served))
        [body] = served.expect_seen("POST /v1/chat/completions")
        expect("stream", body["stream"], True)
        expect("tools went over", {tool["type"] for tool in body["tools"]}, {"function"})
    with s.check("without translation `hermesctl connect codex` says what to configure"):
        shown = s.run(s.programs.ctl, "connect", "codex", "--from", "bare", fails=True)
        expect_in("shown", "`translate = true` to [providers.nous]", shown)
    with s.check("and so does the answer that Codex CLI shows"):
        lines = documented("codex.md", "toml codex-cli").replace(DOCUMENTED_BASE, s.base)
        profile = documented("codex.md", "sh codex-cli").replace("hpx-YOUR-CLIENT-KEY", s.key)
        shown = ask(s, {"config.toml": lines, "profile": profile}, fails=True)
        expect_in("shown", "translate = true", shown)
        s.expect_seen()
    with s.living(config=RESPONSES, login=False) as out, out.check("shows how to log in"):
        expect_in("shown", LOGIN_COMMAND, ask(out, fails=True))
        out.expect_seen()


APP = App(
    title="[Codex CLI](https://developers.openai.com/codex/cli)",
    checked="`codex exec` on `openai-codex`, and on a provider with `/responses` in `extra_paths`; on Nous Portal, "
    "translated",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
