"""Where the programs of a package run, and whether they answer there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tests/apps"))

from harness.world import DIRECT, PATIENCE, end, wait_until  # noqa: E402

BUILT = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")).resolve()
PACKAGES = BUILT / "packages"
# What every package brings, wherever its manager puts it. A page may be compressed.
FILES = (
    "bin/hermes-proxyd",
    "bin/hermesctl",
    "man1/hermes-proxyd.1",
    "man1/hermesctl.1",
    "man5/hermes-proxyd.toml.5",
    "/_hermesctl",
    "/_hermes-proxyd",
    "fish/vendor_completions.d/hermesctl.fish",
    "fish/vendor_completions.d/hermes-proxyd.fish",
    "share/hermes-proxyd/hermes-proxyd.schema.json",
    "doc/hermes-proxyd/README.md",
    "doc/hermes-proxyd/config.example.toml",
)
# What comes on top on Linux.
LINUX = (
    "systemd/user/hermes-proxyd.service",
    "systemd/user/hermes-proxyd.socket",
    "bash-completion/completions/hermesctl",
    "bash-completion/completions/hermes-proxyd",
)


class Skipped(Exception):
    """This machine lacks what the proof needs."""


def need(*programs: str) -> None:
    """A program that is missing could be installed: where HERMES_TEST_STRICT is set, that is a failure."""
    for program in programs:
        if not shutil.which(program):
            kind = AssertionError if os.environ.get("HERMES_TEST_STRICT") else Skipped
            raise kind(f"{program} is not installed")


def need_root() -> None:
    if os.geteuid() != 0:
        raise Skipped("it takes root")


def package(pattern: str) -> Path:
    """The newest package of this name."""
    found = sorted(PACKAGES.glob(pattern), key=lambda file: file.stat().st_mtime)
    if not found:
        raise Skipped(f"there is no {pattern}: run `just package` or packaging/all.sh")
    return found[-1]


def say(command: Sequence[str | Path], **more: object) -> str:
    """What a command says, which has to succeed."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace", **more)
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def read() -> list[str]:
    """What the README leads to, page by page: all of it has to be there to be read."""
    found, pages = set(), ["README.md"]
    for page in pages:
        text = (REPO / page).read_text()
        links = (link.split("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link)
        targets = {os.path.normpath(Path(page).parent / link) for link in links if link}
        pages += [target for target in sorted(targets - found) if target.endswith(".md") and target not in pages]
        found |= targets
    if len(found) < 15:
        raise AssertionError(f"the README leads to no more than {sorted(found)}")
    return [f"doc/hermes-proxyd/{file}" for file in sorted(found)]


def has_all(files: str, *more: str) -> None:
    more = (*more, *read())
    if missing := [file for file in (*FILES, *more) if file not in files]:
        raise AssertionError(f"it lacks {missing}")


@contextlib.contextmanager
def scratch(inside: Path | None = None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hp", dir=inside or "/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def copy_of_this_machine() -> Iterator[Path]:
    """A root that starts as this machine's, and whose changes are thrown away."""
    need_root()
    with scratch() as folder:
        code = subprocess.call(["mount", "-t", "tmpfs", "none", folder], stderr=subprocess.DEVNULL)
        if code != 0:
            raise Skipped("nothing can be mounted here")
        try:
            for name in ("upper", "work", "root"):
                (folder / name).mkdir()
            layers = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
            root = folder / "root"
            command = ["mount", "-t", "overlay", "overlay", "-o", layers, root]
            if subprocess.call(command, stderr=subprocess.DEVNULL) != 0:
                raise Skipped("there is no overlayfs here")
            try:
                for name in ("proc", "dev", "sys"):
                    say(["mount", "--rbind", f"/{name}", root / name])
                yield root
            finally:
                subprocess.call(["umount", "-R", root])
        finally:
            subprocess.call(["umount", folder])


@dataclass
class Place:
    """Where programs run, and what stands before their names."""

    daemon: str
    ctl: str
    before: list[str] = field(default_factory=list)
    # The folder that the programs take for /.
    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=dict)
    # Whose the home is.
    owner: int | None = None
    config: str = ""

    def command(self, *command: str) -> list[str]:
        return [*self.before, *command]


def answers(place: Place) -> str:
    """Starts a daemon before a mock cloud, streams an answer through it, and asks for its status."""
    (place.root / "tmp").mkdir(mode=0o1777, exist_ok=True)
    with scratch(place.root / "tmp") as home, contextlib.ExitStack() as running:
        (home / "run").mkdir(mode=0o700)
        login, urls = start_cloud(home / ".hermes", running)
        folder = home / ".config/hermes-proxyd"
        folder.mkdir(mode=0o700, parents=True)
        (folder / "config.toml").write_text(place.config)
        (folder / "config.toml").chmod(0o600)
        own_all(home, place.owner)
        within = "/" + str(home.relative_to(place.root)) if place.root != Path("/") else str(home)
        environment = {
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": within,
            "XDG_RUNTIME_DIR": f"{within}/run",
            **urls,
            **place.environment,
        }
        environment = {name: value.replace("@HOME@", within) for name, value in environment.items()}
        log = home / "daemon.log"
        command = place.command(place.daemon, "--port", "0", "--log-format", "json")
        base = start_daemon(command, environment, log, running)
        pieces = stream(base)
        said = ask(place.command(place.ctl, "proxy", "status"), environment)
        status = json.loads(ask(place.command(place.ctl, "proxy", "status", "--json"), environment))
        if base not in said or "ready" not in said:
            raise AssertionError(f"the status does not tell that all is well:\n{said}")
        if login in said or login in json.dumps(status) or login in log.read_text(errors="replace"):
            raise AssertionError("a token is told")
        return f"{pieces} events streamed; {said.splitlines()[0]}"


def start_cloud(home: Path, running: contextlib.ExitStack) -> tuple[str, dict[str, str]]:
    """A mock cloud with a login in `home`: its token, and the variables that lead there."""
    program = Path(os.environ.get("MOCK_CLOUD", BUILT / "debug/mock-cloud"))
    if not program.exists():
        raise Skipped("there is no mock cloud: run `cargo build --workspace --bins`")
    cloud = subprocess.Popen(
        [program, "--home", home], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    running.callback(end, cloud)
    ready = json.loads(cloud.stdout.readline())
    urls = {
        "NOUS_INFERENCE_BASE_URL": ready["inference_base_url"],
        "HERMES_PORTAL_BASE_URL": ready["portal_url"],
    }
    return ready["access_token"], urls


def own_all(folder: Path, owner: int | None) -> None:
    if owner is not None:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, owner, owner)


def start_daemon(
    command: list[str], environment: Mapping[str, str], log: Path, running: contextlib.ExitStack
) -> str:
    """Starts a daemon that ends with `running`, and waits for it. Its base URL."""
    with log.open("ab") as out:
        daemon = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    running.callback(end, daemon, group=True)
    text = lambda: log.read_text(errors="replace")
    lines = lambda: [line for line in text().splitlines() if '"listening"' in line]
    wait_until("the daemon listens", lines, daemon, text)
    return json.loads(lines()[0])["url"]


def stream(base: str) -> int:
    """Streams one answer; how many events came."""
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer anything"}
    request = urllib.request.Request(f"{base}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with DIRECT.open(request, timeout=PATIENCE) as answer:
            lines = [line.decode().strip() for line in answer if line.startswith(b"data:")]
    except urllib.error.HTTPError as refused:
        text = refused.read().decode(errors="replace")
        raise AssertionError(f"the answer is {refused.code}: {text}") from refused
    if len(lines) < 3 or lines[-1] != "data: [DONE]":
        raise AssertionError(f"the answer was not streamed to its end: {lines}")
    return len(lines)


def ask(command: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE,
    )
    if done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def run_all(
    proofs: Mapping[str, Callable[[], str]], names: Sequence[str], *, strict: bool = False
) -> int:
    """Runs the named proofs, or all; 1 when one failed."""
    # So that a run that is ended from outside ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = False
    for name in names or proofs:
        try:
            verdict = f"ok: {proofs[name]()}"
        except Skipped as reason:
            failed = failed or strict
            verdict = f"skipped: {reason}"
        except (AssertionError, OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            failed = True
            verdict = f"FAILED: {error}"
        print(f"{name}: {verdict}", flush=True)
    return 1 if failed else 0
