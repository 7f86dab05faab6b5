"""n8n: its OpenAI Chat Model node in a workflow, and the test of its credential."""

from __future__ import annotations

import json
from typing import Any

from harness import App, NodePackages, Session, expect, expect_in
from harness.session import GREETING, KEY, LOGIN_COMMAND, MODEL, MODELS, RESPONSES, TRANSLATED
from harness.world import OnPage, fetch, free_port, wait_until

INSTALLATION = NodePackages("n8n", "n8n", build=("sqlite3",))
LANGCHAIN = "@n8n/n8n-nodes-langchain"
QUIET = {
    "N8N_DIAGNOSTICS_ENABLED": "false",
    "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
    "N8N_TEMPLATES_ENABLED": "false",
    "N8N_COMMUNITY_PACKAGES_ENABLED": "false",
    "N8N_PERSONALIZATION_ENABLED": "false",
    "N8N_ENCRYPTION_KEY": "not-a-secret",
    "N8N_SECURE_COOKIE": "false",
    "N8N_LISTEN_ADDRESS": "127.0.0.1",
}


def credential(base: str) -> dict[str, Any]:
    data = {"apiKey": KEY, "organizationId": "", "url": base, "header": False}
    return {"id": "credential", "name": "hermes-proxyd", "type": "openAiApi", "data": data}


def workflow(name: str, model: dict[str, Any]) -> dict[str, Any]:
    """A trigger, a chain that asks "hi there", and the model that the chain uses."""
    return {
        "id": name,
        "name": name,
        "active": False,
        "settings": {},
        "nodes": [
            node("Start", "n8n-nodes-base.manualTrigger", 1, {}),
            node("Chain", f"{LANGCHAIN}.chainLlm", 1.7, {"promptType": "define", "text": "hi there"}),
            node("Model", f"{LANGCHAIN}.lmChatOpenAi", 1.3, model)
            | {"credentials": {"openAiApi": {"id": "credential", "name": "hermes-proxyd"}}},
        ],
        "connections": {
            "Start": {"main": [[{"node": "Chain", "type": "main", "index": 0}]]},
            "Model": {"ai_languageModel": [[{"node": "Chain", "type": "ai_languageModel", "index": 0}]]},
        },
    }


def node(name: str, kind: str, version: float, parameters: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "type": kind,
        "typeVersion": version,
        "position": [0, 0],
        "parameters": parameters,
    }


MODEL_PARAMETER = {"model": {"__rl": True, "mode": "id", "value": MODEL}, "options": {}}
WORKFLOWS = [
    workflow("chat", {**MODEL_PARAMETER, "responsesApiEnabled": False}),
    workflow("responses", MODEL_PARAMETER),
]


def run(s: Session) -> None:
    n8n = N8n(s)
    check_credential(s, n8n)
    for base in (s.base, f"{s.base}/"):
        shown = n8n.shown(s, base)
        n8n.use(s, base)
        with s.check(f"{shown}: a workflow with the OpenAI Chat Model, by chat completions"):
            expect("text", n8n.execute(s, "chat"), f"{GREETING}hi there")
            s.expect_seen("POST /v1/chat/completions")
        with s.check(f"{shown}: by responses, which Nous Portal has not: it says so"):
            expect_in("shown", "chat/completions", n8n.failure(s, "responses"))
            s.expect_seen()
    with s.living(config=RESPONSES) as served:
        n8n.use(served, served.base)
        with served.check("by responses, of a provider that has them"):
            expect("text", n8n.execute(served, "responses"), f"{GREETING}hi there")
            served.expect_seen("POST /v1/responses")
    with s.living(config=TRANSLATED) as translated:
        n8n.use(translated, translated.base)
        with translated.check("by responses, the node's default, translated for Nous Portal"):
            expect("text", n8n.execute(translated, "responses"), f"{GREETING}hi there")
            translated.expect_seen("POST /v1/chat/completions")
    with s.living(login=False) as out:
        n8n.use(out, out.base)
        with out.check("a workflow shows how to log in"):
            expect_in("shown", LOGIN_COMMAND, n8n.failure(out, "chat"))
            out.expect_seen()


def check_credential(s: Session, n8n: N8n) -> None:
    """What the pages do when a credential is saved, and when a node's model is chosen."""
    page = n8n.page(s)
    for base in (s.base, f"{s.base}/", s.base.removesuffix("/v1")):
        shown = n8n.shown(s, base)
        saved = save_credential(page, base)
        with s.check(f"{shown}: the credential's test"):
            tested = page.post("/rest/credentials/test", {"credentials": saved})
            expect("test", tested["data"]["status"], "OK")
            s.expect_list_from_memory()
        with s.check(f"{shown}: the node's list of models"):
            asked = {
                "path": "parameters.model",
                "methodName": "searchModels",
                "nodeTypeAndVersion": {"name": f"{LANGCHAIN}.lmChatOpenAi", "version": 1.3},
                "currentNodeParameters": MODEL_PARAMETER,
                "credentials": {"openAiApi": {"id": saved["id"], "name": saved["name"]}},
            }
            found = page.post("/rest/dynamic-node-parameters/resource-locator-results", asked)
            expect("models", [model["value"] for model in found["data"]["results"]], MODELS)
            s.expect_list_from_memory()
    with s.living(login=False) as out, out.check("the credential's test fails without a login"):
        tested = page.post("/rest/credentials/test", {"credentials": save_credential(page, out.base)})
        # It shows a 401's name only.
        expect("test", tested["data"], {"status": "Error", "message": "Unauthorized"})
        out.expect_seen()


def save_credential(page: OnPage, base: str) -> dict[str, Any]:
    new = {key: value for key, value in credential(base).items() if key != "id"}
    return {**new, "id": page.post("/rest/credentials", new)["data"]["id"]}


class N8n:
    """n8n's database, and its commands."""

    def __init__(self, s: Session) -> None:
        self.env = QUIET | {"N8N_USER_FOLDER": str(s.home)}
        file = s.home / "workflows.json"
        file.write_text(json.dumps(WORKFLOWS))
        s.run("n8n", "import:workflow", f"--input={file}", env=self.env)

    @staticmethod
    def shown(s: Session, base: str) -> str:
        return base.replace(s.base.removesuffix("/v1"), "…")

    def page(self, s: Session) -> OnPage:
        """Starts the server; its owner, on its pages."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        env = self.env | {"N8N_PORT": str(port), "N8N_RUNNERS_BROKER_PORT": str(free_port())}
        server = s.world.spawn(["n8n", "start"], "n8n.log", env, INSTALLATION.bin())
        # It listens before it is ready.
        ready = lambda: fetch(f"{url}/healthz/readiness") and fetch(f"{url}/rest/settings")
        wait_until("n8n starts", ready, server, lambda: s.world.log("n8n.log"))
        page = OnPage(url)
        owner = {
            "email": "owner@example.org",
            "firstName": "A",
            "lastName": "B",
            "password": "Passw0rd-of-a-test",
        }
        page.post("/rest/owner/setup", owner)
        return page

    def use(self, s: Session, base: str) -> None:
        """Saves the credential with this base URL."""
        file = s.home / "credentials.json"
        [printed] = json.loads(s.connect("n8n")["hermes-proxyd.json"])
        data = {**printed["data"], "url": base}
        file.write_text(json.dumps([{**printed, "id": "credential", "data": data}]))
        s.run("n8n", "import:credentials", f"--input={file}", env=self.env)

    def execute(self, s: Session, name: str) -> str:
        """The text that a workflow ends with."""
        shown = s.run("n8n", "execute", f"--id={name}", "--rawOutput", env=self.env)
        answer = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
        [[item]] = answer["data"]["resultData"]["runData"]["Chain"][0]["data"]["main"]
        return item["json"]["text"]

    def failure(self, s: Session, name: str) -> str:
        """What is shown of a workflow that fails."""
        return s.run("n8n", "execute", f"--id={name}", env=self.env, fails=True)


APP = App(
    title="[n8n](https://n8n.io)",
    checked="credential test; list of models; OpenAI Chat Model node, by chat and by its default, responses, "
    "also translated for Nous Portal; base URL with `/v1` and `/v1/`",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
