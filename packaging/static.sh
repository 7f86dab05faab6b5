#!/usr/bin/env bash
# Programs for any Linux, without a library: a .tar.gz for x86_64 and one for aarch64.
# Usage: static.sh [x86_64] [aarch64]
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

need cargo-zigbuild "run \`pip install cargo-zigbuild ziglang\`"
packaging/files.sh
[ $# -gt 0 ] || set -- x86_64 aarch64
for architecture in "$@"; do
    target=$architecture-unknown-linux-musl
    step "$target"
    rustup target add "$target" >/dev/null 2>&1 || true
    CARGO_PROFILE_DEV_STRIP=true compile zigbuild --profile "$PROFILE" --locked --bins --target "$target"

    # shellcheck disable=SC2153
    name=$NAME-$VERSION-$architecture-linux
    folder=$OUT/work/$name
    rm -rf "$folder"
    install -D -m 755 -t "$folder/bin" "$BUILT/$target/$BUILT_IN/hermes-proxyd" "$BUILT/$target/$BUILT_IN/hermesctl"
    packaging/share.sh "$folder/share"
    install -D -m 644 -t "$folder/share/systemd/user" systemd/*
    pack "$OUT/$name.tar.gz" "$OUT/work" "$name"
done
