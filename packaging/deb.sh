#!/usr/bin/env bash
# The .deb of this machine's architecture. packaging/debian has the files for dpkg.
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

need dpkg-deb "it comes with Debian and Ubuntu"
need dpkg-shlibdeps "run \`apt-get install dpkg-dev\`"
packaging/files.sh

files=$OUT/files
root=$OUT/work/deb
rm -rf "$root"
put() {
    local mode=$1 folder=$2
    shift 2
    install -D -m "$mode" -t "$root/$folder" "$@"
}
put 755 usr/bin "$files"/bin/*
put 644 usr/lib/systemd/user "$files"/units/*
put 644 usr/share/man/man1 "$files"/man/*.1.gz
put 644 usr/share/man/man5 "$files"/man/*.5.gz
put 644 usr/share/bash-completion/completions "$files"/completions/bash/*
put 644 usr/share/zsh/vendor-completions "$files"/completions/zsh/*
put 644 usr/share/fish/vendor_completions.d "$files"/completions/fish/*
put 644 "usr/share/$NAME" packaging/hermes-proxyd.schema.json
packaging/documents.sh "$root/usr/share/doc/$NAME"
put 644 "usr/share/doc/$NAME" packaging/debian/copyright "$files"/changelog*.gz

# The packages with the libraries that the programs need; dpkg-shlibdeps wants to stand in a source tree,
# and knows a package's folder by its DEBIAN.
mkdir "$root/DEBIAN"
source=$OUT/work/deb-source
programs=$(realpath "$root/usr/bin")
mkdir -p "$source/debian"
printf 'Source: %s\n\nPackage: %s\nArchitecture: any\n' "$NAME" "$NAME" >"$source/debian/control"
depends=$(cd "$source" && dpkg-shlibdeps -O "$programs"/*)

architecture=$(dpkg --print-architecture)
(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
sed -e "s|@VERSION@|$VERSION|" -e "s|@ARCHITECTURE@|$architecture|" -e "s|@AUTHOR@|$AUTHOR|" -e "s|@URL@|$URL|" \
    -e "s|@SIZE@|$(du -sk --apparent-size "$root/usr" | cut -f1)|" -e "s|@DEPENDS@|${depends#shlibs:Depends=}|" \
    packaging/debian/control >"$root/DEBIAN/control"
find "$root" -type d -exec chmod 755 {} +
# The programs with their debug symbols are large, and are not downloaded.
level=6
[ "$PROFILE" = dev ] && level=0
dpkg-deb --root-owner-group -z$level --build "$root" "$OUT/${NAME}_$VERSION-1_$architecture.deb" >&2
