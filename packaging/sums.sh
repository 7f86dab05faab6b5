#!/usr/bin/env bash
# SHA256SUMS of everything that is offered for download.
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

cd "$OUT" || exit
rm -f SHA256SUMS
sums=$(find . -maxdepth 1 -type f -printf '%f\n' | LC_ALL=C sort | xargs -r sha256sum)
printf '%s\n' "$sums" >SHA256SUMS
