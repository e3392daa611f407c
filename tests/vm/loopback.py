#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that mounts its own export over AF_VSOCK's loopback: vsockfs 1:/export /mnt."""

import glob
import os
import re
import subprocess
import sys

from initramfs import Missing, find_program, module_files
from machine import HERE, Machine, build_static, parse_args
from tap import Tap

sys.path += [os.path.join(os.path.dirname(HERE), name) for name in ("matrix", "e2e")]
import matrix  # noqa: E402
from certificates import Certificates  # noqa: E402

MODULES = ["vsock_loopback", "fuse", "nfsd", "ext4", "virtio_pci", "virtio_blk"]

KERBEROS = (("krb5kdc", "krb5-kdc"), ("kdb5_util", "krb5-kdc"), ("kadmin.local", "krb5-admin-server"),
            ("kinit", "krb5-user"), ("rpc.svcgssd", "nfs-common"), ("rpc.gssd", "nfs-common"),
            ("setpriv", "util-linux"))

UNITS = os.path.join(HERE, "..", "..", "contrib", "systemd")


def is_static(program):
    shown = subprocess.run(["ldd", program], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, env={**os.environ, "LC_ALL": "C"}).stdout
    return "not a dynamic executable" in shown or "statically linked" in shown


def add_static(tap, image, args):
    """A tree for chroot(8) with the static programs and busybox in it, and nothing else."""
    try:
        programs = build_static(args)
    except Missing as why:
        tap.skip("static programs", why)
        return
    for program in programs:
        name = os.path.basename(program)
        tap.result(is_static(program), f"static: {name} is")
        image.copy(program, f"/bare/bin/{name}")
    image.copy(find_program("busybox", "busybox-static"), "/bare/bin/busybox")
    for name in ("dev", "proc", "run", "mnt"):
        image.directory(f"/bare/{name}")


def add_gateway(tap, image):
    """Where it was built; with systemd, to start its units, and with knfsd's helpers."""
    build = os.environ.get("VSOCKFS_BUILD", "")
    program = os.path.join(build, "src/gateway/vsockfs-gateway")
    if not os.path.exists(program):
        return
    with open(os.path.join(HERE, "guest", "host"), "rb") as file:
        image.file("/host", file.read())
    image.program(program, "/usr/sbin/vsockfs-gateway")
    image.program(os.path.join(build, "src/gateway/vsockfs-exportfs"), "/usr/sbin/vsockfs-exportfs")
    for what, package, names in (("units of the gateway", "systemd", ("systemd", "systemctl")),
                                 ("exports", "nfs-kernel-server", ("exportfs", "rpc.mountd"))):
        try:
            for name in names:
                path = find_program(name, package)
                image.program(path, "/usr/lib/systemd/systemd" if name == "systemd" else path)
        except Missing as why:
            tap.skip(what, why)
    for directory in (os.path.join(build, "contrib/systemd"), UNITS):
        for name in os.listdir(directory):
            if name.startswith("vsockfs-gateway") and name.endswith((".service", ".socket")):
                with open(os.path.join(directory, name)) as file:
                    text = re.sub(r"=\S*/vsockfs-gateway\b", "=/usr/sbin/vsockfs-gateway", file.read())
                image.file(f"/usr/lib/systemd/system/{name}", text)


def add_counts(image):
    """The programs whose round trips are counted: busybox asks for other things."""
    for script in ("counts", "directories"):
        with open(os.path.join(HERE, "guest", script), "rb") as file:
            image.file(f"/{script}", file.read())
    for name, package in (("cat", "coreutils"), ("cp", "coreutils"), ("dd", "coreutils"),
                          ("find", "findutils"), ("rm", "coreutils"), ("tar", "tar")):
        image.program(find_program(name, package), f"/gnu/{name}")


def add_matrix(machine):
    """What works on a knfsd, and what the manual says of the knfsd of this kernel."""
    program = os.path.join(os.environ.get("VSOCKFS_BUILD", ""), "tests", "matrix", "matrix")
    if not os.path.exists(program):
        return
    machine.image.program(program, "/usr/bin/matrix")
    if matrix.COLUMNS["knfsd"].startswith(f"knfsd {'.'.join(machine.release.split('.')[:2])},"):
        machine.image.file("/said", matrix.text(matrix.tried("knfsd")))
        machine.image.file("/apart", matrix.text(matrix.apart("knfsd")))


def add_copies(tap, machine):
    """What knfsd copies, beside what the kernel's own client has it copy: the disk for that."""
    modules = ["xfs", "nfsv4"]
    try:
        if module_files(machine.release, modules) is None:
            raise Missing(f"Linux {machine.release} comes without {' or '.join(modules)}")
        machine.image.program(find_program("xfs_io", "xfsprogs"), "/usr/sbin/xfs_io")
        disk = machine.disk("xfs.img", 1 << 30, "xfs")
    except Missing as why:
        tap.skip("copies by knfsd", why)
        return []
    machine.image.modules(machine.release, modules)
    with open(os.path.join(HERE, "guest", "copies"), "rb") as file:
        machine.image.file("/copies", file.read())
    return disk


def add_users(image):
    image.file("/etc/passwd", "root:x:0:0::/:/bin/sh\ndaemon:x:1:1::/:/bin/sh\nbin:x:2:2::/:/bin/sh\n"
               "nobody:x:65534:65534::/:/bin/sh\n")
    image.file("/etc/group", "root:x:0:\ndaemon:x:1:\nbin:x:2:\nnogroup:x:65534:\n")


def add_kerberos(tap, machine):
    """A KDC, knfsd's helper and that of the kernel's client."""
    modules = ["rpcsec_gss_krb5", "cts", "nfsv4"]
    try:
        if module_files(machine.release, modules) is None:
            raise Missing(f"Linux {machine.release} comes without {' or '.join(modules)}")
        for name, package in KERBEROS:
            machine.image.program(find_program(name, package))
        # what these load by themselves
        for name in ("krb5/plugins/kdb/db2.so", "libverto-*.so.1", "libnfsidmap/nsswitch.so"):
            found = glob.glob(f"/usr/lib/*/{name}")
            if not found:
                raise Missing(f"no {name} (Debian packages krb5-kdc, libnfsidmap1)")
            machine.image.program(found[0])
        machine.image.copy("/etc/netconfig")
        with open(os.path.join(HERE, "guest", "kerberos"), "rb") as file:
            script = file.read()
    except (Missing, OSError) as why:
        tap.skip("Kerberos on knfsd", why)
        return
    machine.image.modules(machine.release, modules)
    machine.image.file("/kerberos", script)
    machine.image.file("/etc/hosts", "127.0.0.1 localhost server.test guest.test\n")
    machine.image.file("/etc/idmapd.conf", "[General]\nDomain = test.vsockfs\n"
                       "Local-Realms = TEST.VSOCKFS\n[Translation]\nMethod = nsswitch\n")


def add_authority(machine):
    """For a mount that asks for TLS."""
    find_program("openssl", "openssl")
    made = Certificates(os.path.join(machine.work, "tls"))
    made.authority("ca")
    machine.image.copy(made["ca.pem"], "/ca.pem")


def remove_disks(work):
    for name in ("export.img", "xfs.img"):
        path = os.path.join(work, name)
        if os.path.exists(path):
            os.unlink(path)


def main():
    args = parse_args()
    tap = Tap()
    try:
        machine = Machine(args, "loopback", MODULES)
        machine.image.program(find_program("socat", "socat"), "/usr/bin/socat")
        add_matrix(machine)
        for name, package in (("getfattr", "attr"), ("setfattr", "attr"),
                              ("nfs4_getfacl", "nfs4-acl-tools"), ("nfs4_setfacl", "nfs4-acl-tools"),
                              ("perl", "perl-base")):
            machine.image.program(find_program(name, package), f"/usr/bin/{name}")
        add_counts(machine.image)
        add_authority(machine)
        for script in ("referrals", "moves"):
            with open(os.path.join(HERE, "guest", script), "rb") as file:
                machine.image.file(f"/{script}", file.read())
        disk = machine.disk("export.img", 16 << 30)
    except Missing as why:
        return tap.skip_all(why)
    disk += add_copies(tap, machine)
    add_static(tap, machine.image, args)
    add_users(machine.image)
    add_gateway(tap, machine.image)
    add_kerberos(tap, machine)
    try:
        machine.run(tap, disk)
    finally:
        remove_disks(args.work)
    return tap.plan()


if __name__ == "__main__":
    sys.exit(main())
