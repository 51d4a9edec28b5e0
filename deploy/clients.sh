#!/usr/bin/env bash
# Unpacks Debian's Alertmanager, amtool and Prometheus into a folder, without installing or starting
# a service.
set -euo pipefail

target=$1
packages=(prometheus-alertmanager prometheus)

if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "tests/clients need Debian's ${packages[*]}, and this is not a Debian: they will be skipped"
    exit 0
fi

echo "fetching Debian's ${packages[*]} for tests/clients"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt downloads as a user of its own

fetch() { (cd "$work" && apt-get -qq download "${packages[@]}" 2>"$work/errors"); }

# The package lists may be missing or old; only root can renew them.
if ! fetch; then
    if [ "$(id -u)" = 0 ]; then
        apt-get -qq update
    fi
    fetch || { cat "$work/errors" >&2; echo "run: apt-get update" >&2; exit 1; }
fi
mkdir -p "$target"
for package in "$work"/*.deb; do
    dpkg -x "$package" "$target"
done
for package in "${packages[@]}"; do
    touch "$target/usr/bin/$package"
done
