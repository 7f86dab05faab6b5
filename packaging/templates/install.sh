#!/bin/sh
# Installs hermes-proxyd and hermesctl for this user: into ~/.local, without root.
#
#   sh install.sh
#
# Takes the archive and SHA256SUMS from this script's own folder, where `just package` puts them, else from the
# project's release address.
#
# HERMES_PROXYD_URL      download from this address instead
# HERMES_PROXYD_VERSION  install this version instead of the one that this script came with
# HERMES_PROXYD_PREFIX   the folder that gets bin/ and share/, ~/.local by default
#
# The archive is compared with SHA256SUMS, which comes from the same place: that finds a damaged
# download, not a compromised server.
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

    if [ -z "${HERMES_PROXYD_URL:-}" ] && is_here "$archive"; then
        echo "Installing $HERE/$archive"
        cp "$HERE/$archive" "$HERE/SHA256SUMS" "$work"
    else
        has_address
        echo "Downloading $archive"
        download "$URL/v$VERSION/$archive" "$work/$archive"
        download "$URL/v$VERSION/SHA256SUMS" "$work/SHA256SUMS"
    fi
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

# Whether the archive is in the script's own folder; a script that is read from a pipe has none.
is_here() {
    case $0 in
        *install.sh) HERE=$(dirname "$0") ;;
        *) return 1 ;;
    esac
    [ -f "$HERE/$1" ] && [ -f "$HERE/SHA256SUMS" ]
}

# Names that end in .example are reserved (RFC 2606): no server ever has one.
has_address() {
    case $URL in
        *.example | *.example/*)
            fail "this build has no release address. Put $archive and SHA256SUMS beside this script (\`just package\` builds them), or set HERMES_PROXYD_URL"
            ;;
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

# A running program can be replaced, but not overwritten.
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
