#!/usr/bin/env bash
# The container image for x86_64 and aarch64, from nothing but both static programs and the CA bundle:
# an OCI archive that `podman load` and `skopeo copy oci-archive:` take.
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

need python3 "install Python 3"
authorities=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ ! -s "$authorities" ]; then
    echo "packaging: $authorities is missing: run \`apt-get install ca-certificates\`" >&2
    exit 3
fi
found=
for architecture in x86_64 aarch64; do
    [ -x "$BUILT/$architecture-unknown-linux-musl/$BUILT_IN/hermes-proxyd" ] && found="$found $architecture"
done
if [ -z "$found" ]; then
    echo "packaging: the static programs are missing: run packaging/static.sh first" >&2
    exit 3
fi
# shellcheck disable=SC2086
python3 packaging/image.py "$OUT/$NAME-$VERSION-oci.tar" --version "$VERSION" --url "$URL" \
    --authorities "$authorities" --built "$BUILT" --profile "$BUILT_IN" $found
