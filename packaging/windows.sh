#!/usr/bin/env bash
# The programs for Windows on x86_64, as a .zip.
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

need x86_64-w64-mingw32-gcc "run \`apt-get install gcc-mingw-w64-x86-64\`"
need python3 "install Python 3"
target=x86_64-pc-windows-gnu
rustup target add $target >/dev/null 2>&1 || true
# The linker would put the time of the build into each program.
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUSTFLAGS=-Clink-arg=-Wl,--no-insert-timestamp
CARGO_PROFILE_DEV_STRIP=true compile build --profile "$PROFILE" --locked --package "$NAME" \
    --package hermes-proxyd-hidden --bins --target $target
documents=$OUT/work/windows
rm -rf "$documents"
packaging/documents.sh "$documents"
python3 packaging/zip.py "$OUT/$NAME-$VERSION-x86_64-windows.zip" "$NAME-$VERSION" \
    "$BUILT/$target/$BUILT_IN/hermes-proxyd.exe" "$BUILT/$target/$BUILT_IN/hermesctl.exe" \
    "$BUILT/$target/$BUILT_IN/hermes-proxyd-hidden.exe" \
    "$documents" CHANGELOG.md LICENSE-APACHE LICENSE-MIT
