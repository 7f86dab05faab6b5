#!/usr/bin/env bash
# What the .deb and the .rpm hold: the programs, man pages, completions, units.
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

if [ "$PROFILE" = dev ]; then
    # As the tests have built it, so that nothing is built twice: with one of them asked for, the crates'
    # features are the same ones.
    compile build --locked --workspace --bins --test docs
else
    # Unstripped: the lines of the sources go into a file beside each program.
    CARGO_PROFILE_DIST_STRIP=none compile build --profile "$PROFILE" --locked --package "$NAME" --bins
fi
files=$OUT/files
rm -rf "$files" "$DEBUG"
mkdir -p "$files/bin" "$files/units" "$DEBUG"
for program in hermes-proxyd hermesctl; do
    built=$BUILT/$BUILT_IN/$program
    strip -o "$files/bin/$program" "$built"
    objcopy --only-keep-debug "$built" "$DEBUG/$program.debug"
    objcopy --add-gnu-debuglink="$DEBUG/$program.debug" "$files/bin/$program"
done

ctl=$files/bin/hermesctl
"$ctl" man --dir "$files/man" >/dev/null
gzip -9n "$files"/man/*
"$ctl" completions --dir "$files/completions" >/dev/null
for unit in systemd/*; do
    sed 's|%h/.local/bin/|/usr/bin/|' "$unit" >"$files/units/$(basename "$unit")"
done
gzip -9nc CHANGELOG.md >"$files/changelog.gz"
# Debian wants one of the packaging beside that; there is nothing to tell but the version.
gzip -9nc >"$files/changelog.Debian.gz" <<TEXT
$NAME ($VERSION-1) unstable; urgency=medium

  * New version; changelog.gz lists the changes.

 -- $AUTHOR  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
TEXT
