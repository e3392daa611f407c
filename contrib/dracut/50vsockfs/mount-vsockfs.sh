#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Mounts root=vsockfs:SOURCE with rootflags=. Before the mount units and the mount hook, both of
# which find it done: systemd would make a unit with the wrong type of the command line.
# shellcheck disable=SC2154 # root and rflags are dracut's

type ismounted >/dev/null 2>&1 || . /lib/dracut-lib.sh

vsockfs_mount_root() {
	for vsockfs_module in fuse vmw_vsock_virtio_transport hv_sock vmw_vsock_vmci_transport; do
		modprobe -q "$vsockfs_module"
	done
	# The device may come late, and the host's server later: retry= counts minutes.
	vsockfs "${root#vsockfs:}" "$NEWROOT" -o "rootfs,retry=2${rflags:+,$rflags}" 2>&1 | vinfo
	ismounted "$NEWROOT" || die "vsockfs: ${root#vsockfs:} is not mounted"
	# At the end the machine returns here, so that the server hears of it. An image without systemd
	# forbids programs in /run, and then systemd does not find the one that it is to return to.
	need_shutdown
	mount -o remount,nosuid,nodev,exec /run
}

if [ "${root%%:*}" = vsockfs ] && ! ismounted "$NEWROOT"; then
	vsockfs_mount_root
fi
