"""A mock cloud, a daemon and a home, made for one app and ended with it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import OpenerDirector

from .embedder import Embedder
from .install import REPO

# Longer than anything that works takes, on a busy machine.
PATIENCE = 60.0
# For what starts slowly, with a database to make or a thousand files to read.
LONG_PATIENCE = 300.0

# The account of a cloud that is OpenAI Codex's.
ACCOUNT = "acc-0001"

# Loopback requests must not go through a proxy of the machine.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Programs:
    """The programs that are tested, and the mock cloud."""

    daemon: Path
    ctl: Path
    cloud: Path

    @classmethod
    def find(cls) -> Programs:
        """Those that HERMES_PROXYD, HERMESCTL and MOCK_CLOUD name; the others are built by Cargo."""
        names = {"hermes-proxyd": "HERMES_PROXYD", "hermesctl": "HERMESCTL", "mock-cloud": "MOCK_CLOUD"}
        named = {name: os.environ.get(variable) for name, variable in names.items()}
        found = {name: Path(path).resolve() for name, path in named.items() if path}
        if missing := [name for name in names if name not in found]:
            built = cls.build()
            found |= {name: built[name] for name in missing}
        return cls(found["hermes-proxyd"], found["hermesctl"], found["mock-cloud"])

    @staticmethod
    def build() -> dict[str, Path]:
        command = ["cargo", "build", "--workspace", "--bins", "--message-format=json-render-diagnostics"]
        done = subprocess.run(command, cwd=REPO, stdout=subprocess.PIPE, text=True, check=True)
        built = (json.loads(line).get("executable") for line in done.stdout.splitlines())
        return {Path(path).name: Path(path) for path in built if path}


class Cloud:
    """A mock of a provider's cloud, with one login."""

    def __init__(self, ready: Mapping[str, str]) -> None:
        self.portal = ready["portal_url"]
        self.inference = ready["inference_base_url"]
        self.codex = ready["codex_base_url"]
        self.access_token = ready["access_token"]

    def requests(self) -> list[dict[str, Any]]:
        """What it saw so far, but for what the daemon asks by itself."""
        seen = fetch(f"{self.portal}/_mock/requests")
        return [one for one in seen if not one["target"].endswith("/wham/usage")]


class World:
    """A cloud with one login, a daemon on a free port, and a scratch home that the app lives in.

    `config` is the daemon's configuration, or makes it of this world, whose clouds run by then. `account` makes the
    cloud one of OpenAI Codex, and `key_of` is an app whose client key the daemon starts with.
    """

    def __init__(
        self,
        programs: Programs,
        *,
        config: str | Callable[[World], str] = "",
        login: bool = True,
        account: str | None = None,
        key_of: str | None = None,
    ) -> None:
        self.programs = programs
        self.account = account
        self.key: str | None = None
        # Another provider's cloud, where the configuration needs one.
        self.other: Cloud
        # A server of embeddings, where it needs one.
        self.embedder: Embedder
        # Short, because a socket's path must be.
        self.home = Path(tempfile.mkdtemp(prefix="hp", dir="/tmp"))
        self.cleanup = contextlib.ExitStack()
        self._of_ours: set[int] = set()
        self.cleanup.callback(shutil.rmtree, self.home, ignore_errors=True)
        for folder in ("run", "tmp", ".config/hermes-proxyd"):
            (self.home / folder).mkdir(parents=True, mode=0o700)
        try:
            # Without a login, a home that nobody looks into.
            self.cloud = self.start_cloud(".hermes" if login else "elsewhere", account)
            text = config if isinstance(config, str) else config(self)
            (self.home / ".config/hermes-proxyd/config.toml").write_text(text)
            if key_of:
                self.key = self._new_key(key_of)
            self._start_daemon()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start_cloud(self, home: str, account: str | None = None) -> Cloud:
        """Another provider's cloud, which puts its login into this folder of the home."""
        of_codex = ["--codex", account] if account else []
        cloud = subprocess.Popen(
            [self.programs.cloud, "--home", self.home / home, *of_codex],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment(),
        )
        self.cleanup.callback(end, cloud)
        return Cloud(json.loads(cloud.stdout.readline()))

    def _new_key(self, app: str) -> str:
        code, output, errors = self.call([self.programs.ctl, "clients", "add", app], None, [])
        if code != 0:
            raise AssertionError(f"`hermesctl clients add` ended with {code}: {errors}")
        return output.strip()

    def _start_daemon(self) -> None:
        urls = {
            "NOUS_INFERENCE_BASE_URL": self.cloud.inference,
            "HERMES_PORTAL_BASE_URL": self.cloud.portal,
        }
        command = [self.programs.daemon, "--port", "0", "--log-format", "json"]
        daemon = self.spawn(command, "daemon.log", urls)
        lines = lambda: [line for line in self.log().splitlines() if '"listening"' in line]
        wait_until("the daemon listens", lines, daemon, self.log)
        self.base = json.loads(lines()[0])["url"]

    def environment(
        self, more: Mapping[str, str] | None = None, path: list[Path] | None = None
    ) -> dict[str, str]:
        """What an app finds in its environment: nothing of this machine's but PATH."""
        folders = [*map(str, path or []), os.environ["PATH"]]
        return {
            "PATH": ":".join(folders),
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "LANG": "C.UTF-8",
            **(more or {}),
        }

    def spawn(
        self,
        command: list[str | Path],
        log: str,
        env: Mapping[str, str] | None = None,
        path: list[Path] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a process that ends with this world; its output goes to a file of the home."""
        with (self.home / log).open("ab") as out:
            process = subprocess.Popen(
                command,
                cwd=self.home,
                env=self.environment(env, path),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # So that whatever it starts can be ended with it.
                start_new_session=True,
            )
        self.cleanup.callback(end, process, group=True)
        return process

    def call(
        self, command: Sequence[str | Path], env: Mapping[str, str] | None, path: list[Path]
    ) -> tuple[int, str, str]:
        """Runs a process to its end, with all that it starts; its code, output and errors."""
        process = subprocess.Popen(
            command,
            cwd=self.home,
            env=self.environment(env, path),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=LONG_PATIENCE)
        finally:
            end(process, group=True)
        return process.returncode, output, errors

    def log(self, name: str = "daemon.log") -> str:
        file = self.home / name
        return file.read_text(errors="replace") if file.exists() else ""

    def requests(self) -> list[dict[str, Any]]:
        """What the provider saw so far of the apps."""
        seen = self.cloud.requests()
        return [one for number, one in enumerate(seen) if number not in self._of_ours]

    @contextlib.contextmanager
    def by_ourselves(self) -> Iterator[None]:
        """What the provider sees meanwhile is no app's."""
        before = len(self.cloud.requests())
        try:
            yield
        finally:
            self._of_ours.update(range(before, len(self.cloud.requests())))

    def stop(self) -> None:
        self.cleanup.close()


def fetch(url: str, body: object = None, headers: Mapping[str, str] | None = None) -> Any:
    """The JSON that a URL answers, to a GET or to a POST of `body`."""
    return json.loads(fetch_text(url, body, headers))


def fetch_text(url: str, body: object = None, headers: Mapping[str, str] | None = None) -> str:
    """The same as text."""
    return ask(DIRECT, url, body, headers)


def ask(opener: OpenerDirector, url: str, body: object, headers: Mapping[str, str] | None) -> str:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})})
    try:
        with opener.open(request, timeout=PATIENCE) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        raise Refused(error.code, error.read().decode(errors="replace")) from None


class OnPage:
    """Somebody who is logged in to a server by its cookies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor()
        )

    def post(self, path: str, body: object) -> Any:
        return json.loads(ask(self.opener, self.url + path, body, None))


class Refused(OSError):
    """A server's answer that is an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text[:2000]}")
        self.status = status
        self.text = text


def free_port() -> int:
    """A port of 127.0.0.1 for a program that can't choose one itself."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until(
    what: str,
    condition: Callable[[], Any],
    process: subprocess.Popen[bytes],
    log: Callable[[], str],
    patience: float = LONG_PATIENCE,
) -> None:
    """Waits until the condition holds, as long as the process lives."""
    deadline = time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        if process.poll() is not None or time.monotonic() > deadline:
            end = "\n".join(log().splitlines()[-20:])
            state = (
                f"it ended with {process.returncode}" if process.poll() is not None else "it takes too long"
            )
            raise AssertionError(f"{what}: {state}; its log ends with:\n{end}")
        time.sleep(0.1)


def end(process: subprocess.Popen[Any], group: bool = False) -> None:
    """Ends a process that was started here: in order, then by force; of a group also what it left."""
    if process.stdin:
        process.stdin.close()
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if group:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
