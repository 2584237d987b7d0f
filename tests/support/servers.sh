#!/bin/sh
# Download Debian's Prometheus, Alertmanager, nginx, Caddy, systemd-analyze and libfaketime for the tests, unless they
# are installed.
# The packages are only unpacked into .servers, so nothing is installed and no daemon starts. Without them, the tests
# that need them are skipped.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PWD/.servers/usr/bin:$PWD/.servers/usr/sbin:$PATH

missing() {
    for pair in prometheus:prometheus promtool:prometheus prometheus-alertmanager:prometheus-alertmanager \
        nginx:nginx caddy:caddy faketime:faketime,libfaketime \
        systemd-analyze:systemd,libsystemd-shared,libapparmor1,libip4tc2,libkmod2; do
        command -v "${pair%:*}" >/dev/null 2>&1 || echo "${pair#*:}"
    done | tr , '\n' | sort -u
}
download() {
    for package in $(missing); do
        apt-get -qq download "$package" && dpkg-deb -x "$package"_*.deb .
    done
    rm -f ./*.deb
}
[ -n "$(missing)" ] || exit 0

mkdir -p .servers
cd .servers
download 2>/dev/null || :
[ -z "$(missing)" ] || { apt-get -qq update && download; } || :
left=$(missing | tr '\n' ' ')
[ -z "$left" ] ||
    echo "servers.sh: missing: ${left}(apt-get can't download it). Tests that need it are skipped." >&2
