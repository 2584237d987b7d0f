#!/bin/sh
# Bring Debian's Prometheus, Alertmanager, nginx, Caddy and systemd-analyze for the tests, unless the system has them:
# unpacked into .servers, so that nothing is installed and no daemon is started. Where that can't be done, the tests that
# need them say that they are skipped.
set -eu
cd "$(dirname "$0")/../.."
PATH=$PWD/.servers/usr/bin:$PWD/.servers/usr/sbin:$PATH

missing() {
    for pair in prometheus:prometheus promtool:prometheus prometheus-alertmanager:prometheus-alertmanager \
        nginx:nginx caddy:caddy systemd-analyze:systemd,libsystemd-shared,libapparmor1,libip4tc2,libkmod2; do
        command -v "${pair%:*}" >/dev/null 2>&1 || echo "${pair#*:}"
    done | tr , '\n' | sort -u
}
bring() {
    for package in $(missing); do
        apt-get -qq download "$package" && dpkg-deb -x "$package"_*.deb .
    done
    rm -f ./*.deb
}
[ -n "$(missing)" ] || exit 0

mkdir -p .servers
cd .servers
bring 2>/dev/null || :
[ -z "$(missing)" ] || { apt-get -qq update && bring; } || :
left=$(missing | tr '\n' ' ')
[ -z "$left" ] ||
    echo "make test: no ${left}here, and apt-get can't bring it; tests that need it will be skipped" >&2
