"""Karakeep, the bookmark keeper, by its calls: the server itself is in no package registry."""

import time

from harness import App, NodePackages, Session, expect
from harness.install import APPS
from harness.session import codex_and_embeddings, expect_embedded, variables
from harness.world import ACCOUNT, PATIENCE

INSTALLATION = NodePackages("karakeep", "openai")


def run(s: Session) -> None:
    env = variables(s.connect("karakeep")[".env"])
    reached = (env["OPENAI_BASE_URL"], env["OPENAI_API_KEY"])
    s.run_checks("node", APPS / "karakeep" / "calls.mjs", *reached, INSTALLATION.folder())
    seen = s.world.requests()
    with s.check("the provider saw its parameters as they were"):
        chat, embeddings = "/v1/chat/completions", "/v1/embeddings"
        expect("paths", [one["target"] for one in seen], [chat] * 4 + [embeddings, chat])
        bodies = [s.body(one) for one in seen[:3]]
        formats = [(body.get("response_format") or {}).get("type") for body in bodies]
        expect("formats", formats, ["json_schema", "json_object", None])
        expect("schema", bodies[0]["response_format"]["json_schema"]["strict"], True)
        expect("max_tokens", [body["max_tokens"] for body in bodies], [2048] * 3)
        # base64 of 1.5 MB
        expect("the image came whole", seen[3]["body_bytes"] > 2_000_000 and seen[3]["finished"], True)
        expect("encoding_format", s.body(seen[4])["encoding_format"], "float")
    with s.check("the provider learned that a job was given up"):
        deadline = time.monotonic() + PATIENCE
        while not s.world.requests()[-1]["cancelled"]:
            expect("given up within a minute", time.monotonic() < deadline, True)
            time.sleep(0.05)
    with s.living(config=codex_and_embeddings, account=ACCOUNT, key_of="karakeep") as codex:
        on_codex(codex)


def on_codex(s: Session) -> None:
    """The same calls on a ChatGPT subscription, and the embeddings of a server without a key."""
    env = variables(s.connect("karakeep", model="gpt-6-codex")[".env"])
    reached = (env["OPENAI_BASE_URL"], env["OPENAI_API_KEY"])
    s.run_checks("node", APPS / "karakeep" / "calls.mjs", *reached, INSTALLATION.folder(), "codex")
    with s.check("openai-codex: chats by responses, embeddings by the other server"):
        seen = [one for one in s.world.requests() if one["method"] == "POST"]
        expect("paths", [one["target"] for one in seen], ["/backend-api/codex/responses"] * 4)
        formats = [s.body(one).get("text", {}).get("format", {}).get("type") for one in seen[:3]]
        expect("formats", formats, ["json_schema", "json_object", None])
        expect("the image came whole", seen[3]["body_bytes"] > 2_000_000 and seen[3]["finished"], True)
        expect_embedded(s.world, "text-embedding-3-small")


APP = App(
    title="[Karakeep](https://karakeep.app)'s calls, with its OpenAI SDK",
    checked="tags as `structured`, `json` and `plain`; an image; embeddings; a job's timeout; the same on "
    "`openai-codex` with embeddings from a local server",
    in_ci=True,
    installation=INSTALLATION,
    run=run,
)
