#!/usr/bin/env bash
# The .deb of this machine's architecture. What is in it stands in Cargo.toml.
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

need cargo-deb "run \`cargo install cargo-deb --locked --version 3.8.0\`"
packaging/files.sh
cargo deb --no-build --no-strip --locked --output "$OUT/"
