# Read by the other scripts: where things lie, and what they are called.
# shellcheck shell=bash disable=SC2034
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

field() { sed -n "/^\[package\]/,/^\[lib\]/s/^$1 = \"\(.*\)\"/\1/p" Cargo.toml; }

NAME=$(field name)
VERSION=$(field version)
URL=$(field homepage)
AUTHOR=$(sed -n 's/^authors = \["\(.*\)"\]$/\1/p' Cargo.toml)
BUILT=${CARGO_TARGET_DIR:-target}
OUT=$BUILT/packages
# The lines of the sources, one file for each program of the .deb and the .rpm: kept, not offered for download.
DEBUG=$OUT/debug
# `PROFILE=dev` packs what the tests have built anyway, to try the packages out.
PROFILE=${PROFILE:-dist}
BUILT_IN=$PROFILE
[ "$PROFILE" = dev ] && BUILT_IN=debug
# The time of everything that is packed, so that the same sources make the same files.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
mkdir -p "$OUT"

step() { printf '\n== %s\n' "$*" >&2; }

# Ends the script when a program is missing, with what brings it.
need() {
    if ! command -v "$1" >/dev/null; then
        echo "packaging: $1 is missing: $2" >&2
        exit 3
    fi
}

# Cargo without SOURCE_DATE_EPOCH, since each value would rebuild aws-lc-sys and everything that needs it.
# The programs hold no time.
compile() { env -u SOURCE_DATE_EPOCH cargo "$@"; }

# A tar archive that does not depend on who made it, and when.
pack() {
    local archive=$1 folder=$2
    shift 2
    tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" \
        -C "$folder" -cf - "$@" | gzip -9n >"$archive"
}
