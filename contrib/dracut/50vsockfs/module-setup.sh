#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# A dracut module: the root file system over a vsock stream, root=vsockfs:2:/export.
# See vsockfs.initrd(7).

check() {
	require_binaries vsockfs || return 1
	# An image for this machine alone has it if this machine runs from such a root.
	if [[ ${hostonly-} || ${mount_needs-} ]]; then
		[[ $(findmnt --noheadings --raw --output FSTYPE /) == fuse.vsockfs ]] || return 255
	fi
	return 0
}

depends() {
	echo base
}

installkernel() {
	hostonly='' instmods fuse vsock vmw_vsock_virtio_transport virtio_pci virtio_mmio hv_sock \
		vmw_vsock_vmci_transport
}

install() {
	inst_multiple vsockfs modprobe sleep
	# loaded when the first thread ends
	inst_libdir_file 'libgcc_s.so*'
	# shellcheck disable=SC2154 # moddir is dracut's
	inst_hook cmdline 95 "$moddir/parse-vsockfs.sh"
	inst_hook pre-mount 99 "$moddir/mount-vsockfs.sh"
	inst_hook shutdown 50 "$moddir/wait-vsockfs.sh"
}
