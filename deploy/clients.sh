#!/usr/bin/env bash
# Unpacks Debian's Alertmanager and amtool into a folder, without installing or starting a service.
set -euo pipefail

target=$1
package=prometheus-alertmanager

if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    echo "tests/clients need Debian's $package, and this is not a Debian: they will be skipped"
    exit 0
fi

echo "fetching Debian's $package for tests/clients"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt downloads as a user of its own

fetch() { (cd "$work" && apt-get -qq download "$package" 2>"$work/errors"); }

# The package lists may be missing or old; only root can renew them.
if ! fetch; then
    if [ "$(id -u)" = 0 ]; then
        apt-get -qq update
    fi
    fetch || { cat "$work/errors" >&2; echo "run: apt-get update" >&2; exit 1; }
fi
mkdir -p "$target"
dpkg -x "$work"/*.deb "$target"
touch "$target/usr/bin/$package"
