#!/usr/bin/env bash
# Puts what packaging/files.sh made where programs in /usr/local or ~/.local look for it: share.sh FOLDER
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

share=$1
files=$OUT/files
for page in "$files"/man/*.gz; do
    section=${page%.gz}
    install -D -m 644 "$page" "$share/man/man${section##*.}/$(basename "$page")"
done
for program in hermes-proxyd hermesctl; do
    install -D -m 644 "$files/completions/bash/$program" "$share/bash-completion/completions/$program"
    install -D -m 644 "$files/completions/zsh/_$program" "$share/zsh/site-functions/_$program"
    install -D -m 644 "$files/completions/fish/$program.fish" "$share/fish/vendor_completions.d/$program.fish"
done
install -D -m 644 -t "$share/$NAME" packaging/hermes-proxyd.schema.json
packaging/documents.sh "$share/doc/$NAME"
install -D -m 644 -t "$share/doc/$NAME" CHANGELOG.md LICENSE-APACHE LICENSE-MIT
