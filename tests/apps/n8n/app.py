"""n8n: its OpenAI Chat Model node in a workflow, and the test of its credential."""

import json
from typing import Any

from harness import App, NodePackages, Session, expect, expect_in
from harness.session import GREETING, KEY, LOGIN_COMMAND, MODEL, RESPONSES

INSTALLATION = NodePackages("n8n", "n8n", build=("sqlite3",))
# Its start migrates a database.
PATIENCE = 240
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
    base = "@n8n/n8n-nodes-langchain"
    return {
        "id": name,
        "name": name,
        "active": False,
        "settings": {},
        "nodes": [
            node("Start", "n8n-nodes-base.manualTrigger", 1, {}),
            node("Chain", f"{base}.chainLlm", 1.7, {"promptType": "define", "text": "hi there"}),
            node("Model", f"{base}.lmChatOpenAi", 1.3, model)
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
    for base in (s.base, f"{s.base}/"):
        shown = base.replace(s.base.removesuffix("/v1"), "…")
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
    with s.living(login=False) as out:
        n8n.use(out, out.base)
        with out.check("a workflow shows how to log in"):
            expect_in("shown", LOGIN_COMMAND, n8n.failure(out, "chat"))
            out.expect_seen()


class N8n:
    """n8n's database, and its commands."""

    def __init__(self, s: Session) -> None:
        self.env = QUIET | {"N8N_USER_FOLDER": str(s.home)}
        file = s.home / "workflows.json"
        file.write_text(json.dumps(WORKFLOWS))
        s.run("n8n", "import:workflow", f"--input={file}", env=self.env, timeout=PATIENCE)

    def use(self, s: Session, base: str) -> None:
        """Saves the credential with this base URL."""
        file = s.home / "credentials.json"
        file.write_text(json.dumps([credential(base)]))
        s.run("n8n", "import:credentials", f"--input={file}", env=self.env, timeout=PATIENCE)

    def execute(self, s: Session, name: str) -> str:
        """The text that a workflow ends with."""
        shown = s.run("n8n", "execute", f"--id={name}", "--rawOutput", env=self.env, timeout=PATIENCE)
        answer = json.loads(shown[shown.index("{") : shown.rindex("}") + 1])
        [[item]] = answer["data"]["resultData"]["runData"]["Chain"][0]["data"]["main"]
        return item["json"]["text"]

    def failure(self, s: Session, name: str) -> str:
        """What is shown of a workflow that fails."""
        return s.run("n8n", "execute", f"--id={name}", env=self.env, timeout=PATIENCE, fails=True)


APP = App(
    title="[n8n](https://n8n.io)",
    checked="credential test; OpenAI Chat Model node with `Use Responses API` off; base URL with `/v1` and `/v1/`",
    in_ci=False,
    installation=INSTALLATION,
    run=run,
)
