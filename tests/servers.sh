#!/bin/sh
# Bring Debian's Prometheus, Alertmanager, nginx and Caddy for the tests, unless the system has them: unpacked into
# .servers, so that nothing is installed and no daemon is started. Where that can't be done, the tests that need them say
# that they are skipped.
set -eu
cd "$(dirname "$0")/.."

missing=
for pair in prometheus:prometheus promtool:prometheus prometheus-alertmanager:prometheus-alertmanager nginx:nginx caddy:caddy
do
    command -v "${pair%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
[ -n "$missing" ] || exit 0

mkdir -p .servers
cd .servers
bring() {
    # shellcheck disable=SC2086 -- a list of words
    apt-get -qq download $(printf '%s\n' $missing | sort -u) && for package in *.deb; do dpkg-deb -x "$package" .; done
}
if bring 2>/dev/null || { apt-get -qq update && bring; }; then
    rm -f ./*.deb
else
    missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
    echo "make test: no ${missing}here, and apt-get can't bring it; tests that need it will be skipped" >&2
fi
