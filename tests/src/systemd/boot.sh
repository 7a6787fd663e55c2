#!/bin/sh
# Makes a root of its own and becomes systemd in it: process 1 of new mount, UTS, IPC, cgroup and pid namespaces.
#
# $1 is an empty directory for the root, $2 a directory that is seen as /rig and has the unit files in `units`.
# Nothing of the host can be written to from in there: /usr, /sys and /proc/sys are read-only, the rest is in memory.
set -eu
root=$1 shared=$2

mount --make-rprivate /
mount -t tmpfs -o mode=755 rig "$root"
cd "$root"
mkdir -p etc/systemd/system etc/systemd/journald.conf.d old proc rig root run sys tmp usr var/log/journal var/tmp
ln -s ../run var/run
chmod 1777 tmp var/tmp

mount --rbind /usr usr
mount -o remount,bind,ro usr
for link in bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$link" ]; then cp -P "/$link" "$link"; fi
done
# Of the host's units the targets, the slices and the journal; nothing that loads a module or mounts a file system.
system=usr/lib/systemd/system
mkdir units
cp "$system"/*.target "$system"/*.slice "$system"/systemd-journald.* "$system"/systemd-journald-dev-log.socket units/
mount --bind units "$system"
mount -t tmpfs -o ro none usr/lib/systemd/system-generators
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount --bind "$shared" rig

mkdir dev
mount -t tmpfs -o mode=755 dev dev
mkdir dev/shm
ln -s /proc/self/fd dev/fd
for node in null zero full random urandom tty; do
    touch "dev/$node"
    mount --bind "/dev/$node" "dev/$node"
done

cp /etc/passwd /etc/group etc/
echo 'ID=rig' > etc/os-release
echo uninitialized > etc/machine-id
# The audit of the kernel is the host's.
printf '[Journal]\nAudit=no\nRateLimitBurst=0\n' > etc/systemd/journald.conf.d/rig.conf
cp -r rig/units/. etc/systemd/system/
cat > etc/systemd/system/rig.target <<'UNIT'
[Unit]
Description=The journal and nothing else
Requires=systemd-journald.service
After=systemd-journald.service
UNIT

pivot_root . old
umount -l old
export container=rig
exec /usr/lib/systemd/systemd --system --unit=rig.target --show-status=no
