#!/usr/bin/env bash
# Builds every package that this machine can build, into target/packages. Those that lack a tool are
# named at the end; with --strict that is a failure.
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

strict=
[ "${1:-}" = --strict ] && strict=yes
lacking=
for part in deb rpm static windows image texts; do
    step "$part"
    code=0
    "packaging/$part.sh" || code=$?
    case $code in
        0) ;;
        3) lacking="$lacking $part" ;;
        *) exit "$code" ;;
    esac
done
packaging/sums.sh
step "built"
(cd "$OUT" && find . -maxdepth 1 -type f -print0 | sort -z | xargs -0 ls -l) >&2
if [ -n "$lacking" ]; then
    echo "not built, since a tool is missing:$lacking" >&2
    [ -z "$strict" ]
fi
