#!/bin/sh
# Copies what is there to be read into a folder, so that every link between the pages leads somewhere:
# documents.sh FOLDER
set -eu

mkdir -p "$1/docs/decisions" "$1/packaging/compose" "$1/packaging/grafana" "$1/packaging/prometheus"
into=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
put() {
    folder=$1
    shift
    install -m 644 "$@" "$into/$folder"
}
put . README.md ARCHITECTURE.md CONTRIBUTING.md config.example.toml
put docs docs/*.md docs/*.svg docs/*.png
put docs/decisions docs/decisions/*.md
put packaging/grafana packaging/grafana/*.json
put packaging/prometheus packaging/prometheus/*.yml
version=$(sed -n '/^\[package\]/,/^\[lib\]/s/^version = "\(.*\)"/\1/p' Cargo.toml)
for example in packaging/compose/*.yaml; do
    sed "s|@VERSION@|$version|g" "$example" >"$into/$example"
    chmod 644 "$into/$example"
done
