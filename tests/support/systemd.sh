#!/bin/sh
# Run a real systemd as process 1 of new namespaces, for tests/support/systemd.py. It uses this machine's root directory
# without changing it: writes go to memory. It has the rights of a container, and starts journald and the units of a
# test, but no others. Prints the process id of systemd, and exits when standard input is closed.
#
#     systemd.sh PROGRAM DIRECTORY [FROM TO]...
#
# PROGRAM is systemd, and DIRECTORY an empty directory to mount on. Each path FROM is mounted read-only at TO, because a
# mistake in a test that deletes files must not reach this machine's own. Needs root.
set -eu

outside() {
    directory=$2
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$directory"
    mkdir "$directory/cgroups" "$directory/up" "$directory/work" "$directory/root"
    mount -t cgroup2 cgroup2 "$directory/cgroups"
    group=$directory/cgroups/smtpeter-exporter-tests-$$
    mkdir "$group"
    (
        # shellcheck disable=SC2016 # the inner shell must expand $$, which is its own process id
        exec sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$group" \
            unshare --pid --mount --cgroup --uts --ipc --fork --kill-child sh "$0" --inside "$@" </dev/null
    ) &
    unshared=$!
    init=
    while [ -z "$init" ] && kill -0 $unshared 2>/dev/null; do
        read -r init <"/proc/$unshared/task/$unshared/children" || :
    done
    echo "$init"
    read -r _ || :
    kill -9 $unshared 2>/dev/null || :
    wait $unshared 2>/dev/null || :
    while [ -d "$group" ]; do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || :; done
}

inside() {
    program=$1 directory=$2
    shift 2
    root=$directory/root
    mount -t overlay -o "lowerdir=/,upperdir=$directory/up,workdir=$directory/work" overlay "$root"
    while [ $# -gt 1 ]; do
        mkdir -p "$root$2"
        mount --bind "$1" "$root$2"
        mount -o remount,bind,ro "$root$2"
        shift 2
    done
    mount -t proc proc "$root/proc"
    mount --bind "$root/proc/sys" "$root/proc/sys"
    mount -o remount,bind,ro "$root/proc/sys"
    mount -t sysfs -o ro sysfs "$root/sys"
    mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
    for place in dev run tmp etc/systemd/system usr/lib/systemd/system-generators; do
        mount -t tmpfs -o mode=755 tmpfs "$root/$place"
    done
    for wanted in "$root"/usr/lib/systemd/system/*.wants; do
        mount -t tmpfs tmpfs "$wanted"
    done
    chmod 1777 "$root/tmp"
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    ln -s /proc/self/fd "$root/dev/fd"
    for device in null zero full random urandom tty; do
        : >"$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    printf '[Unit]\nWants=systemd-journald.service\n' >"$root/etc/systemd/system/tests.target"
    cd "$root"
    mkdir -p .before
    pivot_root . .before
    umount -l .before
    mount --make-rshared / # as on a normal system, so that a service sees what systemd mounts for it
    capabilities=-all,+chown,+dac_override,+dac_read_search,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+setfcap
    capabilities=$capabilities,+net_bind_service,+sys_chroot,+sys_ptrace,+sys_admin,+sys_resource,+audit_write
    exec env -i container=tests PATH=/usr/sbin:/usr/bin:/sbin:/bin setpriv --bounding-set=$capabilities \
        "$program" --system --unit=tests.target --log-target=journal --show-status=no
}

case $1 in
--inside) shift && inside "$@" ;;
--outside) shift && outside "$@" ;;
*) exec unshare --mount sh "$0" --outside "$@" ;;
esac
