#!/bin/sh
# Installs hermes-proxyd and hermesctl for this user: into ~/.local, without root.
#
#   sh install.sh                       the version that this script came with
#
# HERMES_PROXYD_URL      where the releases are
# HERMES_PROXYD_VERSION  which one
# HERMES_PROXYD_PREFIX   the folder that gets bin/ and share/, ~/.local by default
#
# The download is compared with SHA256SUMS, which comes from the same place: that finds a broken
# download, not a place that was taken over.
set -eu

URL=${HERMES_PROXYD_URL:-@URL@/releases}
VERSION=${HERMES_PROXYD_VERSION:-@VERSION@}
PREFIX=${HERMES_PROXYD_PREFIX:-${HOME:?HOME is not set}/.local}

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

# The folder that is worked in; global, because it is removed when the script ends.
work=

main() {
    archive=hermes-proxyd-$VERSION-$(machine)-linux.tar.gz
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM

    echo "Downloading $archive"
    download "$URL/v$VERSION/$archive" "$work/$archive"
    download "$URL/v$VERSION/SHA256SUMS" "$work/SHA256SUMS"
    verify "$archive"
    tar -xzf "$work/$archive" -C "$work"
    place "$work/${archive%.tar.gz}"
    say_next
}

machine() {
    [ "$(uname -s)" = Linux ] || fail "downloads are only for Linux; on macOS use Homebrew, or build it with cargo"
    case $(uname -m) in
        x86_64 | amd64) echo x86_64 ;;
        aarch64 | arm64) echo aarch64 ;;
        *) fail "there is no download for $(uname -m); build it with cargo" ;;
    esac
}

# Over https, and never led away from it. Plain http is for a mirror on this machine.
download() {
    case $URL in
        https://*) way='=https' ;;
        http://127.0.0.1[:/]* | http://localhost[:/]*) way='=https,http' ;;
        *) fail "HERMES_PROXYD_URL must start with https://" ;;
    esac
    if command -v curl >/dev/null; then
        curl -fsSL --proto "$way" --proto-redir "$way" -o "$2" "$1" || fail "$1 can't be downloaded"
    elif command -v wget >/dev/null; then
        if [ "$way" = '=https' ]; then
            # wget has no option for it: what would go over plain http goes to a proxy that is not there.
            http_proxy=http://127.0.0.1:9 no_proxy='' wget -q -O "$2" "$1" || fail "$1 can't be downloaded"
        else
            wget -q -O "$2" "$1" || fail "$1 can't be downloaded"
        fi
    else
        fail "curl or wget is needed"
    fi
}

verify() {
    wanted=$(awk -v name="$1" '$2 == name { print $1 }' "$work/SHA256SUMS")
    [ -n "$wanted" ] || fail "SHA256SUMS does not name $1"
    if command -v sha256sum >/dev/null; then
        got=$(sha256sum "$work/$1")
    else
        got=$(shasum -a 256 "$work/$1")
    fi
    [ "${got%% *}" = "$wanted" ] || fail "$1 does not match SHA256SUMS: it is damaged or was modified. Nothing was installed"
}

# A running program can't be written over, but replaced.
place() {
    (cd "$1" && find . -type f) | while read -r file; do
        mkdir -p "$PREFIX/$(dirname "$file")"
        cp "$1/$file" "$PREFIX/$file.new"
        mv -f "$PREFIX/$file.new" "$PREFIX/$file"
    done
    "$PREFIX/bin/hermesctl" --version >/dev/null || fail "the programs in $PREFIX/bin don't run on this machine"
}

say_next() {
    echo "Installed in $PREFIX: $("$PREFIX/bin/hermesctl" --version)"
    case ":$PATH:" in
        *":$PREFIX/bin:"*) next=hermesctl ;;
        *)
            next=$PREFIX/bin/hermesctl
            echo "$PREFIX/bin is not in your PATH yet; add it in your shell's profile."
            ;;
    esac
    echo "Next: $next setup"
}

# At the end, so that half a script does nothing.
main
