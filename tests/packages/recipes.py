"""The recipes that build from the sources: the PKGBUILD, Homebrew's formula and the Nix flake.

Each is run as its package manager would, but for the compiler: a `cargo` that only puts the programs that
packaging/ built where a build would. So what is shown is what the recipe asks of cargo, and what it packs.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from places import (
    LINUX,
    PACKAGES,
    REPO,
    Place,
    answers,
    copy_of_this_machine,
    has_all,
    need,
    own_all,
    package,
    say,
    scratch,
)

HERE = Path(__file__).resolve().parent
# makepkg does not run as root.
NOBODY = 65534


def cargo(folder: Path) -> Path:
    """A folder with a `cargo` that has built everything already."""
    programs = PACKAGES / "files/bin"
    bin = folder / "cargo-bin"
    bin.mkdir()
    (bin / "programs").mkdir()
    for program in programs.iterdir():
        shutil.copy(program, bin / "programs")
    (bin / "cargo").write_text(CARGO)
    (bin / "cargo").chmod(0o755)
    return bin


# Fails on what it does not know. A recipe that forgot --locked, and its kin, would build with other versions
# than were tested.
CARGO = """#!/bin/sh
set -eu
programs=$(dirname "$0")/programs
command=$1
shift
test -f Cargo.toml
case "$command $*" in
"fetch --locked") ;;
"build --frozen --profile dist --bins") into=${CARGO_TARGET_DIR:-target}/dist ;;
"install --profile dist --locked --root "*" --path .") into=$5/bin ;;
*) echo "cargo: $command $* is not what was expected" >&2; exit 1 ;;
esac
[ "$command" = fetch ] || { mkdir -p "$into" && cp "$programs"/* "$into"; }
"""


def pkgbuild() -> str:
    """makepkg makes the package, and pacman installs it over a copy of this machine."""
    need("makepkg", "pacman", "fakeroot", "bsdtar")
    recipe, sources = package("PKGBUILD"), package("hermes-proxyd-*[0-9].tar.gz")
    with copy_of_this_machine() as root, scratch(root / "tmp") as folder:
        folder.chmod(0o755)
        for file in (recipe, sources):
            # makepkg takes a source that lies beside the recipe, and compares its sum.
            shutil.copy(file, folder)
        environment = {
            "PATH": f"{cargo(folder)}:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(folder),
            "PKGEXT": ".pkg.tar.gz",
            "SOURCE_DATE_EPOCH": "1",
        }
        own_all(folder, NOBODY if os.geteuid() == 0 else None)
        user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        say([*user, "makepkg", "--nodeps", "--noconfirm"], cwd=folder, env=environment)
        (made,) = folder.glob("*.pkg.tar.gz")
        names = say(["bsdtar", "-tf", made])
        has_all(names, *LINUX, "usr/share/licenses/hermes-proxyd/LICENSE-MIT")
        (root / "var/lib/pacman").mkdir(parents=True, exist_ok=True)
        pacman = ["pacman", "--noconfirm", "--root", root]
        say([*pacman, "-U", "--nodeps", "--nodeps", made])
        say([*pacman, "-Qk", "hermes-proxyd"])
        unit = (root / "usr/lib/systemd/user/hermes-proxyd.service").read_text()
        if "ExecStart=/usr/bin/hermes-proxyd" not in unit or "%h" in unit:
            raise AssertionError("the unit starts something else")
        place = Place("/usr/bin/hermes-proxyd", "/usr/bin/hermesctl", ["chroot", str(root)], root)
        said = answers(place)
        say([*pacman, "-R", "hermes-proxyd"])
        if (root / "usr/bin/hermesctl").exists():
            raise AssertionError("it can't be removed")
        return f"{made.name}; {said}"


def homebrew() -> str:
    """The formula's `install` and `test` under a stand-in for Homebrew, tests/packages/formula.rb."""
    need("ruby")
    recipe, sources = package("hermes-proxyd.rb"), package("hermes-proxyd-*[0-9].tar.gz")
    with scratch() as folder:
        prefix = folder / "prefix"
        environment = {"PATH": f"{cargo(folder)}:{os.environ['PATH']}", "HOME": str(folder)}
        said = say(["ruby", HERE / "formula.rb", recipe, sources, prefix], env=environment)
        files = "\n".join(str(file) for file in prefix.rglob("*") if file.is_file())
        has_all(files, "etc/bash_completion.d/hermesctl", "etc/bash_completion.d/hermes-proxyd")
        return said.strip()


def nix() -> str:
    """The flake's package for each system with a stand-in for nixpkgs; its `postInstall` is run."""
    need("nix-instantiate", "git")
    command = ["nix-instantiate", "--eval", "--strict", "--json", "--store", "dummy://"]
    expression = f"import {HERE}/flake.nix {{ flake = {REPO}/flake.nix; }}"
    made = json.loads(say([*command, "--expr", expression], cwd=REPO))
    with scratch() as folder:
        sources = folder / "sources"
        sources.mkdir()
        tree = subprocess.run(["git", "archive", "HEAD"], cwd=REPO, stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", sources], input=tree.stdout, check=True)
        out = folder / "out"
        shutil.copytree(PACKAGES / "files/bin", out / "bin")
        (package_,) = {json.dumps(package_, sort_keys=True) for package_ in made.values()}
        script = SETUP + json.loads(package_)["postInstall"]
        say(["bash", "-euc", script], cwd=sources, env={"PATH": os.environ["PATH"], "out": str(out)})
        files = "\n".join(str(file) for file in out.rglob("*") if file.is_file())
        has_all(files, *LINUX)
        unit = (out / "lib/systemd/user/hermes-proxyd.service").read_text()
        if f"ExecStart={out}/bin/hermes-proxyd" not in unit or "%h/.local" in unit:
            raise AssertionError("the unit starts something else")
    return f"the same package for {', '.join(made)}"


# What nixpkgs' installShellFiles and stdenv bring, as they document it.
SETUP = """
installManPage() {
    for page in "$@"; do install -Dm644 -t "$out/share/man/man${page##*.}" "$page"; done
}
installShellCompletion() {
    local shell=$1 folder
    shift
    case $shell in
    --bash) folder=bash-completion/completions ;;
    --zsh) folder=zsh/site-functions ;;
    --fish) folder=fish/vendor_completions.d ;;
    esac
    install -Dm644 -t "$out/share/$folder" "$@"
}
substituteInPlace() {
    local file=$1
    [ "$2" = --replace-fail ] && [ $# = 4 ] && grep -qF "$3" "$file"
    sed -i "s|$3|$4|g" "$file"
}
"""
