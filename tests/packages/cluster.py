"""What packaging/kubernetes makes: as text, and as a pod."""

from __future__ import annotations

import os
from pathlib import Path

from places import BUILT, REPO, Skipped, need, need_root, say

HERE = Path(__file__).resolve().parent / "kubernetes"


def tools() -> Path:
    """The interpreter that has them; where they can't be installed, there is no network."""
    say([HERE / "setup"])
    place = os.environ.get("HERMES_TEST_ENV", REPO / "target/test-env")
    return Path(place) / "kubernetes/bin/python"


def kubernetes() -> str:
    need("kubectl")
    return say([tools(), HERE / "check.py"]).strip()


def kube_play() -> str:
    """The pod as it is, with a mock cloud as its portal, by tests/containers/pod."""
    need_root()
    need("kubectl", "podman", "runc", "catatonit", "iptables")
    if not (BUILT / "debug/mock-cloud").exists():
        raise Skipped("there is no mock cloud: run `cargo build --workspace --bins`")
    made = say([tools(), HERE / "check.py", "--pod"])
    said = say([REPO / "tests/containers/pod"], input=made)
    lines = [line.removeprefix("ok").strip() for line in said.splitlines()]
    return "; ".join(lines)
