#!/usr/bin/env bash
# What the .deb and the .rpm hold: the programs, man pages, completions, units.
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

cargo build --profile "$PROFILE" --locked --bins
files=$OUT/files
rm -rf "$files"
mkdir -p "$files/bin" "$files/units"
for program in hermes-proxyd hermesctl; do
    strip -o "$files/bin/$program" "$BUILT/$BUILT_IN/$program"
done

ctl=$files/bin/hermesctl
"$ctl" man --dir "$files/man" >/dev/null
gzip -9n "$files"/man/*
"$ctl" completions --dir "$files/completions" >/dev/null
for unit in systemd/*; do
    sed 's|%h/.local/bin/|/usr/bin/|' "$unit" >"$files/units/$(basename "$unit")"
done
gzip -9nc CHANGELOG.md >"$files/changelog.gz"
