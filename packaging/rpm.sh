#!/usr/bin/env bash
# The .rpm of this machine's architecture. packaging/hermes-proxyd.spec has its contents.
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

need rpmbuild "run \`apt-get install rpm\` or \`dnf install rpm-build\`"
packaging/files.sh
out=$(realpath "$OUT")
rpmbuild -bb --quiet packaging/hermes-proxyd.spec \
    --define "_topdir $out/work/rpm" \
    --define "_rpmdir $out" \
    --define "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm" \
    --define "sources $PWD" \
    --define "packed $out/files" \
    --define "its_version $VERSION" \
    --define "its_url $URL"
