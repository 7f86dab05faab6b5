"""Open WebUI, over its own REST interface, as its pages use it."""

import json
from typing import Any

from harness import App, PythonPackages, Session, expect, expect_in
from harness.session import GREETING, KEY, LOGIN_COMMAND, MODEL, MODELS, codex_and_embeddings, documented, expect_embedded
from harness.session import variables
from harness.world import ACCOUNT, Refused, World, fetch, fetch_text, free_port, wait_until

INSTALLATION = PythonPackages("open-webui", "open-webui", newest=(3, 12))


class Pages:
    """Open WebUI's server, and a user of its pages."""

    def __init__(self, s: Session, model: str = MODEL) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        data = s.home / "data"
        data.mkdir()
        env = {
            "DATA_DIR": str(data),
            "VECTOR_DB": "chroma",
            "WEBUI_AUTH": "false",
            "WEBUI_SECRET_KEY": "not-a-secret",
            "OFFLINE_MODE": "true",
            "ENABLE_OLLAMA_API": "false",
            **variables(s.connect("open-webui", model)[".env"]),
            # It tells the provider who the user is; that must end at the daemon.
            "ENABLE_FORWARD_USER_INFO_HEADERS": "true",
        }
        command = ["open-webui", "serve", "--host", "127.0.0.1", "--port", str(port)]
        server = s.world.spawn(command, "open-webui.log", env, INSTALLATION.bin())
        ready = lambda: fetch(f"{self.url}/health")
        wait_until("Open WebUI starts", ready, server, lambda: s.world.log("open-webui.log"))
        user = fetch(f"{self.url}/api/v1/auths/signin", {"email": "", "password": ""})
        self.headers = {"Authorization": f"Bearer {user['token']}"}

    def get(self, path: str) -> Any:
        return fetch(self.url + path, headers=self.headers)

    def post(self, path: str, body: object) -> Any:
        return fetch(self.url + path, body, self.headers)

    def post_text(self, path: str, body: object) -> str:
        return fetch_text(self.url + path, body, self.headers)

    def refusal(self, path: str, body: object) -> str:
        """What the page shows when it goes wrong."""
        try:
            answer = self.post_text(path, body)
        except Refused as error:
            return error.text
        raise AssertionError(f"expected an error, got {answer}")

    def connect(self, base: str) -> None:
        """What the page of connections saves."""
        form = {
            "ENABLE_OPENAI_API": True,
            "OPENAI_API_BASE_URLS": [base],
            "OPENAI_API_KEYS": [KEY],
            "OPENAI_API_CONFIGS": {},
        }
        self.post("/openai/config/update", form)


def chat(stream: bool, model: str = MODEL) -> dict[str, Any]:
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi there"}]}


def streamed(events: str) -> str:
    """The text of an event stream, which has to be whole."""
    data = [line.removeprefix("data: ") for line in events.splitlines() if line.startswith("data: ")]
    expect("the last event", data[-1], "[DONE]")
    choices = [choice for event in data[:-1] for choice in json.loads(event)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def use(s: Session, pages: Pages, base: str) -> None:
    """All that the pages do with one base URL."""
    shown = base.replace(s.base.removesuffix("/v1"), "…")
    with s.check(f"{shown}: verify"):
        found = pages.post("/openai/verify", {"url": base, "key": KEY})
        expect("models", [model["id"] for model in found["data"]], MODELS)
        s.expect_list_from_memory()
    with s.check(f"{shown}: models"):
        pages.connect(base)
        found = pages.get("/api/models?refresh=true")["data"]
        expect("models", [one["id"] for one in found if one["id"] != "arena-model"], MODELS)
        s.expect_list_from_memory()
    with s.check(f"{shown}: chat"):
        answer = pages.post("/api/chat/completions", chat(stream=False))
        expect("content", answer["choices"][0]["message"]["content"], f"{GREETING}hi there")
        s.expect_seen_among("POST /v1/chat/completions")
    with s.check(f"{shown}: chat, streamed"):
        answer = pages.post_text("/api/chat/completions", chat(stream=True))
        expect("content", streamed(answer), f"{GREETING}hi there")
        s.expect_seen_among("POST /v1/chat/completions")
    with s.check(f"{shown}: embeddings"):
        answer = pages.post("/api/embeddings", {"model": MODEL, "input": ["hi", "there"]})
        expect("lengths", [len(one["embedding"]) for one in answer["data"]], [16, 16])
        s.expect_seen_among("POST /v1/embeddings")


def two_providers(world: World) -> str:
    """The documented route, with another cloud for the embeddings."""
    world.other = world.start_cloud("other")
    key = world.home / "other.key"
    key.touch(mode=0o600)
    key.write_text(world.other.access_token)
    route = documented("routing.md", "toml embeddings").split("[providers.")[0]
    settings = {"type": "static", "base_url": world.other.inference, "api_key_file": str(key)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    return "\n".join([route, "[providers.ollama]", *lines, ""])


def use_two_providers(s: Session) -> None:
    """Chats on one provider and embeddings on another, under one base URL."""
    pages = Pages(s)
    with s.check("two providers: chat, streamed, on the one"):
        pages.get("/api/models?refresh=true")
        answer = pages.post_text("/api/chat/completions", chat(stream=True))
        expect("content", streamed(answer), f"{GREETING}hi there")
        s.expect_seen_among("POST /v1/chat/completions")
    with s.check("two providers: a text for its knowledge, embedded by the other"):
        pages.post("/api/v1/retrieval/process/text", {"name": "note", "content": "hi there"})
        asked = [one["target"] for one in s.world.other.requests() if one["method"] == "POST"]
        expect("the other saw", set(asked), {"/v1/embeddings"})
        expect("the one saw of it", [one["target"] for one in s.seen() if "embeddings" in one["target"]], [])


def use_codex(s: Session) -> None:
    """Chats on a ChatGPT subscription, translated, and embeddings from a server without a key."""
    model = "gpt-6-codex"
    pages = Pages(s, model)
    with s.check("openai-codex: models"):
        found = [one["id"] for one in pages.get("/api/models?refresh=true")["data"]]
        expect("the model is listed", model in found, True)
    with s.check("openai-codex: chat, translated"):
        answer = pages.post("/api/chat/completions", chat(stream=False, model=model))
        expect("content", answer["choices"][0]["message"]["content"], f"{GREETING}hi there")
        s.expect_seen_among("POST /backend-api/codex/responses")
    with s.check("openai-codex: chat, translated and streamed"):
        answer = pages.post_text("/api/chat/completions", chat(stream=True, model=model))
        expect("content", streamed(answer), f"{GREETING}hi there")
        s.expect_seen_among("POST /backend-api/codex/responses")
    with s.check("openai-codex: a text for its knowledge, embedded by a local server"):
        pages.post("/api/v1/retrieval/process/text", {"name": "note", "content": "hi there"})
        expect_embedded(s.world, MODEL)


def run(s: Session) -> None:
    with s.living(config=codex_and_embeddings, account=ACCOUNT, key_of="open-webui") as codex:
        use_codex(codex)
    with s.living(config=two_providers) as both:
        use_two_providers(both)
    pages = Pages(s)
    for base in (s.base, f"{s.base}/", s.base.removesuffix("/v1")):
        use(s, pages, base)
    with s.check("a text for its knowledge"):
        pages.post("/api/v1/retrieval/process/text", {"name": "note", "content": "hi there"})
        s.expect_seen_among("POST /v1/embeddings")
    with s.living(login=False) as out, out.check("verify shows how to log in"):
        verify = {"url": out.base, "key": KEY}
        expect_in("shown", LOGIN_COMMAND, pages.refusal("/openai/verify", verify))
        out.expect_seen()
    with s.living() as out:
        pages.connect(out.base)
        pages.get("/api/models?refresh=true")
        with out.check("a chat shows how to log in"):
            out.run(out.programs.ctl, "auth", "logout", "nous", "--yes")
            expect_in("shown", LOGIN_COMMAND, pages.refusal("/api/chat/completions", chat(stream=False)))


APP = App(
    title="[Open WebUI](https://openwebui.com)",
    checked="verify, models, chat, streamed chat, embeddings; base URL with `/v1`, `/v1/` and without; chat on one "
    "provider and embeddings on another; chat on `openai-codex`, translated, with embeddings from a local server",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
