#!/usr/bin/env bash
# What is text: the sources, install.sh, the Homebrew formula, the PKGBUILD, the compose examples.
# Templates hold @URL@, @VERSION@ and @SHA256@, the sum of the sources.
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

sources=$NAME-$VERSION.tar.gz
need git "install Git"
git archive --format=tar --prefix="$NAME-$VERSION/" HEAD | gzip -9n >"$OUT/$sources"
sum=$(sha256sum "$OUT/$sources" | cut -d' ' -f1)

fill() { sed -e "s|@URL@|$URL|g" -e "s|@VERSION@|$VERSION|g" -e "s|@SHA256@|$sum|g" "$1" >"$2"; }
fill packaging/templates/hermes-proxyd.rb "$OUT/hermes-proxyd.rb"
fill packaging/templates/PKGBUILD "$OUT/PKGBUILD"
fill packaging/templates/install.sh "$OUT/install.sh"
chmod +x "$OUT/install.sh"
for example in packaging/compose/*.yaml; do
    fill "$example" "$OUT/compose-$(basename "$example")"
done
