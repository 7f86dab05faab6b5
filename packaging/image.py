"""Writes a container image as an OCI archive (image-spec 1.1), one layer for each architecture.

Made by hand because it is this little: no daemon, no base image, and the same bytes each time.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import tarfile
import time
from pathlib import Path

USER = 65532
HOME = "/home/hermes"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
NOW = int(os.environ["SOURCE_DATE_EPOCH"])
CREATED = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW))
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def entry(name: str, mode: int, owner: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.mode, made.uid, made.gid, made.mtime, made.type = mode, owner, owner, NOW, kind
    return made


def layer(programs: Path, authorities: Path) -> bytes:
    """The file system, as an uncompressed tar."""
    folders = {
        "etc": (0o755, 0),
        "etc/ssl": (0o755, 0),
        "etc/ssl/certs": (0o755, 0),
        "home": (0o755, 0),
        "home/hermes": (0o700, USER),
        "run": (0o755, 0),
        "run/hermes": (0o700, USER),
        "tmp": (0o1777, 0),
        "usr": (0o755, 0),
        "usr/bin": (0o755, 0),
    }
    files = {
        "etc/group": (0o644, f"root:x:0:\nhermes:x:{USER}:\n".encode()),
        "etc/passwd": (
            0o644,
            f"root:x:0:0:root:/:/none\nhermes:x:{USER}:{USER}::{HOME}:/none\n".encode(),
        ),
        "etc/ssl/certs/ca-certificates.crt": (0o644, authorities.read_bytes()),
        "usr/bin/hermes-proxyd": (0o755, (programs / "hermes-proxyd").read_bytes()),
        "usr/bin/hermesctl": (0o755, (programs / "hermesctl").read_bytes()),
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, (mode, owner) in folders.items():
            tar.addfile(entry(name, mode, owner, tarfile.DIRTYPE))
        for name, (mode, content) in files.items():
            made = entry(name, mode)
            made.size = len(content)
            tar.addfile(made, io.BytesIO(content))
    return buffer.getvalue()


def config(architecture: str, tree: bytes, labels: dict[str, str]) -> dict:
    return {
        "created": CREATED,
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Env": ["PATH=/usr/bin", f"HOME={HOME}", "XDG_RUNTIME_DIR=/run/hermes"],
            "Entrypoint": ["/usr/bin/hermes-proxyd"],
            "ExposedPorts": {"8645/tcp": {}},
            "WorkingDir": HOME,
            "StopSignal": "SIGTERM",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(tree)]},
        "history": [{"created": CREATED, "created_by": "packaging/image.sh"}],
    }


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


class Archive:
    """The archive's files, by their digests."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def add(self, kind: str, content: bytes | dict) -> dict:
        if isinstance(content, dict):
            content = json.dumps(content, sort_keys=True).encode()
        self.blobs[digest(content)] = content
        return {"mediaType": kind, "digest": digest(content), "size": len(content)}

    def write(self, file: Path, images: list[dict], name: str) -> None:
        index = self.add(INDEX, {"schemaVersion": 2, "mediaType": INDEX, "manifests": images})
        # The second is what containerd calls it, as Kubernetes does: `ctr images import`.
        index["annotations"] = {
            "org.opencontainers.image.ref.name": name,
            "io.containerd.image.name": f"docker.io/library/{name}",
        }
        top = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [index]}
        files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(top).encode()}
        files |= {"blobs/" + key.replace(":", "/"): content for key, content in self.blobs.items()}
        with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as tar:
            for folder in ("blobs", "blobs/sha256"):
                tar.addfile(entry(folder, 0o755, kind=tarfile.DIRTYPE))
            for name, content in sorted(files.items()):
                made = entry(name, 0o644)
                made.size = len(content)
                tar.addfile(made, io.BytesIO(content))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("architecture", nargs="+", choices=ARCHITECTURES)
    parser.add_argument("--version", required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--authorities", type=Path, required=True)
    parser.add_argument("--built", type=Path, required=True)
    parser.add_argument("--profile", default="dist")
    arguments = parser.parse_args()
    labels = {
        "org.opencontainers.image.title": "hermes-proxyd",
        "org.opencontainers.image.version": arguments.version,
        "org.opencontainers.image.url": arguments.url,
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
    }
    archive, images = Archive(), []
    for machine in arguments.architecture:
        programs = arguments.built / f"{machine}-unknown-linux-musl" / arguments.profile
        tree = layer(programs, arguments.authorities)
        name = ARCHITECTURES[machine]
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": archive.add(CONFIG, config(name, tree, labels)),
            "layers": [archive.add(LAYER, gzip.compress(tree, 9, mtime=0))],
        }
        image = archive.add(MANIFEST, manifest)
        images.append(image | {"platform": {"os": "linux", "architecture": name}})
    archive.write(arguments.archive, images, f"hermes-proxyd:{arguments.version}")


if __name__ == "__main__":
    main()
