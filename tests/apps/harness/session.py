"""One app's run: its commands, its checks, and what the provider may have seen of them."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .embedder import Embedder
from .install import REPO, Installation
from .world import Programs, World

# What apps take for their key; nobody but the daemon may see it.
KEY = "sk-the-apps-own-key-0123456789"
MODEL = "Hermes-4-405B"
GREETING = "Hello from the mock cloud: "
LOGIN_COMMAND = "hermesctl auth login nous"
# The models that the mock cloud lists.
MODELS = ["Hermes-4-405B", "Hermes-4-70B"]

# Nous Portal serves no /responses; with this the mock's are let through, for apps that speak nothing else.
RESPONSES = '[providers.nous]\nextra_paths = ["/responses"]\n'

# With this they are translated to chats.
TRANSLATED = "[providers.nous]\ntranslate = true\n"

# What `hermesctl connect` puts in place of a key where none is needed, and of one that was made before.
ANY_KEY = "anything"
MADE_BEFORE = "YOUR-CLIENT-KEY"

# All that may reach every provider, beside what an SDK says of itself in x-stainless-*.
FORWARDED = {
    "x-hermes-via",
    "accept",
    "accept-encoding",
    "accept-language",
    "anthropic-beta",
    "anthropic-version",
    "authorization",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "openai-beta",
    "transfer-encoding",
    "user-agent",
}
# The same of OpenAI Codex.
FORWARDED_TO_CODEX = {"chatgpt-account-id", "originator", "session-id", "session_id", "thread-id", "conversation_id"}


class Session:
    """Where an app runs and tells what works: `ok APP: CHECK`, or `FAILED APP: CHECK: why`."""

    def __init__(self, name: str, installation: Installation, programs: Programs, report: Report) -> None:
        self.name = name
        self.installation = installation
        self.programs = programs
        self.report = report
        self.world: World
        self._seen_before = 0

    @contextlib.contextmanager
    def living(self, **options: Any) -> Iterator[Session]:
        """A session in a world of its own: another configuration, another provider, or nobody has logged in."""
        session = Session(self.name, self.installation, self.programs, self.report)
        with World(self.programs, **options) as world:
            session.world = world
            yield session

    @property
    def key(self) -> str:
        """What the app takes for its key."""
        return self.world.key or KEY

    @property
    def base(self) -> str:
        """The daemon's base URL, ending in /v1."""
        return self.world.base

    @property
    def home(self) -> Path:
        return self.world.home

    def run(self, *command: str | Path, env: Mapping[str, str] | None = None, fails: bool = False) -> str:
        """Runs one of the app's programs to its end; what it printed, standard error last.

        `fails` says that it has to end with another code than 0.
        """
        code, output, errors = self.world.call(command, env, self.installation.bin())
        printed = output + errors
        if (code != 0) != fails:
            raise AssertionError(f"`{Path(command[0]).name}` ended with {code}: {printed[-2000:]}")
        return printed

    def connect(self, app: str, model: str = MODEL) -> dict[str, str]:
        """The files that `hermesctl connect APP` prints, by their names, with a key of the app's own."""
        models = ["--model", model, "--embedding-model", MODEL]
        command = [self.programs.ctl, "connect", app, "--from", "bare", *models, "--json"]
        # It asks for the models.
        with self.world.by_ourselves():
            told = json.loads(self.run(*command))
        return {file["name"]: file["text"].replace(ANY_KEY, KEY).replace(MADE_BEFORE, self.key) for file in told["files"]}

    def run_checks(self, *command: str | Path, env: Mapping[str, str] | None = None) -> None:
        """Runs a script that prints lines of `ok CHECK` and `FAILED CHECK: why` itself."""
        with self.check("provider and log saw nothing that they must not"):
            code, output, errors = self.world.call(command, env, self.installation.bin())
            passed, failed = 0, 0
            for line in output.splitlines():
                if line.startswith("ok "):
                    self.report.passed(self.name, line.removeprefix("ok "))
                    passed += 1
                elif line.startswith("FAILED "):
                    self.report.failed(self.name, line.removeprefix("FAILED "))
                    failed += 1
            if passed + failed == 0 or (code != 0) != (failed > 0):
                raise AssertionError(f"the script ended with {code}: {(output + errors)[-2000:]}")

    @contextlib.contextmanager
    def check(self, what: str) -> Iterator[None]:
        """A check: passes when nothing is raised, and neither provider nor log saw what they must not."""
        self._seen_before = len(self.world.requests())
        try:
            yield
            for request in self.seen():
                self._expect_clean(request)
            self._expect_clean_log()
        except (
            AssertionError,
            OSError,
            LookupError,
            TypeError,
            ValueError,
            subprocess.SubprocessError,
        ) as error:
            self.report.failed(self.name, f"{what}: {type(error).__name__}: {error}")
        else:
            self.report.passed(self.name, what)

    def seen(self) -> list[dict[str, Any]]:
        """What the provider saw since the check began."""
        return self.world.requests()[self._seen_before :]

    def expect_seen(self, *wanted: str) -> list[dict[str, Any]]:
        """Fails unless the provider saw exactly these, as `POST /v1/chat/completions`; their bodies."""
        seen = self.seen()
        expect("the provider saw", [f"{one['method']} {one['target']}" for one in seen], list(wanted))
        return [self.body(one) for one in seen]

    def expect_seen_among(self, wanted: str) -> None:
        """Fails unless this was among what the provider saw; for apps that ask for the models at any time."""
        seen = [f"{one['method']} {one['target']}" for one in self.seen()]
        if wanted not in seen:
            raise AssertionError(f"the provider saw {seen}, and no {wanted!r}")

    def expect_list_from_memory(self) -> None:
        """Fails if the provider saw more than one request for its list of models, which the daemon keeps."""
        seen = [f"{one['method']} {one['target']}" for one in self.seen()]
        expect("what the provider saw of a list from memory", seen in ([], ["GET /v1/models"]), True)

    @staticmethod
    def body(request: dict[str, Any]) -> Any:
        """The JSON that came with a request."""
        return json.loads(request["body"] or "{}")

    def _expect_clean(self, request: dict[str, Any]) -> None:
        fields: dict[str, list[str]] = {}
        for name, value in request["headers"]:
            fields.setdefault(name, []).append(value)
        bearer = f"Bearer {self.world.cloud.access_token}"
        expect("the provider's bearer", fields.get("authorization"), [bearer])
        prefixes = ("x-stainless-", "x-codex-") if self.world.account else ("x-stainless-",)
        names = FORWARDED | FORWARDED_TO_CODEX if self.world.account else FORWARDED
        strange = [name for name in fields if name not in names and not name.startswith(prefixes)]
        expect("header fields that the provider must not see", strange, [])
        for name, values in fields.items():
            for value in values:
                if self.key in value or "@" in value:
                    raise AssertionError(f"the provider saw the app's key or an address in `{name}`")
        if not fields.get("user-agent", [""])[0].startswith("hermes-proxyd/"):
            raise AssertionError(f"the provider saw the user agent {fields.get('user-agent')}")

    def _expect_clean_log(self) -> None:
        log = self.world.log()
        for what, text in (
            ("the login's token", self.world.cloud.access_token),
            ("the app's key", self.key),
            ("a panic", "panicked"),
        ):
            if text in log:
                raise AssertionError(f"the daemon's log holds {what}")

    def expect_well(self) -> None:
        """Fails unless hermesctl can tell how the daemon is."""
        with self.check("`hermesctl proxy status` afterwards"):
            status = json.loads(self.run(self.programs.ctl, "proxy", "status", "--json"))
            expect("last_error", status["providers"][0]["last_error"], None)


def documented(page: str, fence: str) -> str:
    """What a page of the documentation has in its one block with this fence."""
    parts = (REPO / "docs" / page).read_text().split(f"```{fence}\n")
    expect(f"blocks ```{fence} of docs/{page}", len(parts) - 1, 1)
    return parts[1].split("```")[0]


def codex_beside(world: World) -> str:
    """The documented configuration for OpenAI Codex, with the mock's addresses."""
    table = documented("codex.md", "toml codex")
    addresses = {"issuer_url": world.cloud.portal, "base_url": world.cloud.codex}
    return table + "".join(f"{name} = {json.dumps(url)}\n" for name, url in addresses.items())


def codex_only(world: World) -> str:
    """The same as the provider of `/v1`."""
    return 'default_provider = "openai-codex"\n' + codex_beside(world)


def codex_and_embeddings(world: World) -> str:
    """The same, with the documented route to a server without a key for embeddings."""
    world.embedder = Embedder()
    world.cleanup.callback(world.embedder.stop)
    [top, table] = documented("codex.md", "toml codex-embeddings").split("[providers.openai-codex]\n")
    settings, others = table.split("\n\n", 1)
    assert settings == 'type = "openai-codex"', settings
    others = others.replace("http://127.0.0.1:11434/v1", world.embedder.base)
    return top + codex_beside(world) + others


def expect_embedded(world: World, model: str) -> None:
    """Fails unless the server of embeddings was asked with this model, and without a key."""
    asked = world.embedder.requests
    expect("paths of embeddings", {path for path, _, _ in asked}, {"/v1/embeddings"})
    expect("models of embeddings", {body["model"] for _, _, body in asked}, {model})
    expect("keys of embeddings", [names & {"authorization", "x-api-key", "cookie"} for _, names, _ in asked], [set()] * len(asked))


def variables(text: str) -> dict[str, str]:
    """The variables of an environment file."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


class Report:
    """Prints the checks as they come, and counts."""

    def __init__(self) -> None:
        self.passes = 0
        self.failures = 0
        self.skips: list[str] = []

    def passed(self, app: str, what: str) -> None:
        self.passes += 1
        print(f"ok {app}: {what}", flush=True)

    def failed(self, app: str, what: str) -> None:
        self.failures += 1
        print(f"FAILED {app}: {what}", flush=True)

    def skipped(self, app: str, why: str) -> None:
        """Not a failure: an app that wants what this machine has not."""
        self.skips.append(app)
        print(f"skipped {app}: {why}", flush=True)

    def __str__(self) -> str:
        skips = f", skipped: {', '.join(self.skips)}" if self.skips else ""
        return f"{self.passes} checks passed, {self.failures} failed{skips}"


def expect(what: str, got: object, wanted: object) -> None:
    if got != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, got {got!r}")


def expect_in(what: str, part: str, whole: str) -> None:
    """Fails unless the text holds the part, however it is wrapped."""
    if " ".join(part.split()) not in " ".join(whole.split()):
        raise AssertionError(f"{what}: expected {part!r} in {whole[-2000:]!r}")
