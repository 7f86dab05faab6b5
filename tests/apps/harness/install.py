"""Installing pinned packages below one folder, once."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import inspect
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

REPO = Path(__file__).resolve().parents[3]
APPS = REPO / "tests" / "apps"
CLIENTS = REPO / "tests" / "clients"


class CannotInstall(Exception):
    """Why an app can't be installed, and what helps."""


class NotHere(Exception):
    """What an app needs that this machine lacks."""


class Installation(Protocol):
    def version(self) -> str:
        """The pinned version."""

    def install(self) -> str:
        """Installs what is missing; says what was done."""

    def bin(self) -> list[Path]:
        """The folders with its programs, for PATH."""

    def folder(self) -> Path:
        """Where it lies."""


def test_env() -> Path:
    """The folder below which everything is installed; it is shared with tests/clients/setup."""
    return Path(os.environ.get("HERMES_TEST_ENV") or REPO / "target" / "test-env").resolve()


def requirement(file: Path, package: str) -> str:
    """The version of a package in a `pip freeze`."""
    pin = re.search(rf"(?m)^{re.escape(package)}==(\S+)$", file.read_text())
    if not pin:
        raise CannotInstall(f"{file} has no line `{package}==VERSION`")
    return pin[1]


def locked(file: Path, package: str) -> str:
    """The version of a package in a package-lock.json."""
    return json.loads(file.read_text())["packages"][f"node_modules/{package}"]["version"]


def call(argv: list[str | Path], log: Path, **options: object) -> None:
    """Runs a step of an installation; its output is shown when it fails."""
    # What is downloaded stays out of the home.
    cache = test_env() / "cache"
    caches = {"PIP_CACHE_DIR": str(cache / "pip"), "npm_config_cache": str(cache / "npm")}
    options["env"] = {**(options.get("env") or os.environ), **caches}
    with log.open("ab") as out:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **options)
    if done.returncode:
        end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise CannotInstall(f"`{Path(argv[0]).name}` ended with {done.returncode}; {log} ends with:\n{end}")


@contextlib.contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Waits while another run installs the same app."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Stamped:
    """A folder that is installed anew when anything that it depends on has changed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.source = APPS / name

    def folder(self) -> Path:
        return test_env() / "apps" / self.name

    def inputs(self) -> Iterator[bytes]:
        yield inspect.getsource(type(self).fill).encode()
        yield f"{self.folder()} {platform.platform(terse=True)} {platform.machine()}".encode()

    def fill(self, log: Path) -> None:
        raise NotImplementedError

    def install(self) -> str:
        stamp = self.folder() / ".stamp"
        log = self.folder().with_suffix(".log")
        with only_one(self.folder().with_suffix(".lock")):
            wanted = hashlib.sha256(b"\0".join(self.inputs())).hexdigest()
            if stamp.is_file() and stamp.read_text() == wanted:
                return "up to date"
            started = time.monotonic()
            shutil.rmtree(self.folder(), ignore_errors=True)
            log.unlink(missing_ok=True)
            self.fill(log)
            stamp.write_text(wanted)
        return f"installed in {time.monotonic() - started:.0f} s"


class PythonPackages(Stamped):
    """An environment with the packages of `requirements.txt`, which names all of them.

    Those whose versions the documentation tells are named. `newest` is the newest Python, as (3, 12), that they run
    on; 3.11 is the oldest.
    """

    def __init__(self, name: str, *packages: str, newest: tuple[int, int] = (3, 13)) -> None:
        super().__init__(name)
        self.packages = packages
        self.newest = newest
        self.requirements = self.source / "requirements.txt"

    def version(self) -> str:
        return ", ".join(requirement(self.requirements, package) for package in self.packages)

    def bin(self) -> list[Path]:
        return [self.folder() / "bin"]

    def python(self) -> str:
        named = os.environ.get("PYTHON")
        candidates = [named] if named else [sys.executable, "python3.12", "python3.11", "python3.13"]
        for candidate in candidates:
            code = (
                f"import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= {self.newest})"
            )
            with contextlib.suppress(OSError):
                done = subprocess.run([candidate, "-c", code], capture_output=True)
                if done.returncode == 0:
                    return candidate
        newest = ".".join(map(str, self.newest))
        raise NotHere(f"needs a Python from 3.11 to {newest} with venv (PYTHON can name one)")

    def inputs(self) -> Iterator[bytes]:
        yield from super().inputs()
        yield self.requirements.read_bytes()
        python = self.python()
        yield python.encode() + subprocess.run([python, "--version"], capture_output=True).stdout

    def fill(self, log: Path) -> None:
        self.folder().parent.mkdir(parents=True, exist_ok=True)
        call([self.python(), "-m", "venv", self.folder()], log)
        pip = [self.folder() / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input"]
        options = ["--disable-pip-version-check", "--no-compile", "--no-deps", "--prefer-binary"]
        call([*pip, *options, "--requirement", self.requirements], log)


class NodePackages(Stamped):
    """The packages of `package-lock.json`, run by the Node of tests/clients.

    No package's script runs, but those of `build` have to compile something, with the Node's headers.
    """

    def __init__(self, name: str, package: str, build: tuple[str, ...] = ()) -> None:
        super().__init__(name)
        self.package = package
        self.build = build
        self.node = TestClients("node")
        self.files = [self.source / name for name in ("package.json", "package-lock.json", ".npmrc")]

    def version(self) -> str:
        return locked(self.source / "package-lock.json", self.package)

    def bin(self) -> list[Path]:
        return [self.folder() / "node_modules" / ".bin", *self.node.bin()]

    def inputs(self) -> Iterator[bytes]:
        yield from super().inputs()
        yield from (file.read_bytes() for file in self.files)
        node = self.node.bin()[0] / "node"
        yield subprocess.run([node, "--version"], capture_output=True, check=True).stdout

    def install(self) -> str:
        self.node.install()
        return super().install()

    def fill(self, log: Path) -> None:
        self.folder().mkdir(parents=True)
        for file in self.files:
            shutil.copy(file, self.folder())
        node = self.node.bin()[0]
        env = os.environ | {"PATH": f"{node}:{os.environ['PATH']}"}
        quiet = ["--no-audit", "--no-fund", "--loglevel=error"]
        install = ["npm", "ci", "--ignore-scripts", "--engine-strict=false", "--prefer-offline"]
        call([*install, *quiet], log, cwd=self.folder(), env=env)
        if self.build:
            headers = (node / "node").resolve().parents[1]
            call(
                ["npm", "rebuild", *self.build, f"--nodedir={headers}", *quiet],
                log,
                cwd=self.folder(),
                env=env,
            )


class TestClients:
    """A part of what tests/clients/setup installs for the tests: `python` or `node`, with OpenAI's SDK."""

    def __init__(self, part: str) -> None:
        self.part = part

    def version(self) -> str:
        if self.part == "python":
            return requirement(CLIENTS / "python" / "requirements.txt", "openai")
        return locked(CLIENTS / "node" / "package-lock.json", "openai")

    def folder(self) -> Path:
        return test_env() / self.part

    def bin(self) -> list[Path]:
        return [self.folder() / "bin"]

    def install(self) -> str:
        done = subprocess.run([CLIENTS / "setup", self.part], capture_output=True, text=True)
        if done.returncode:
            raise CannotInstall(done.stderr.strip())
        return done.stdout.strip().removeprefix(f"{self.part}: ")
