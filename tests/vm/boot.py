#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Debian boots from the share: root=vsockfs:2:/export, with dracut (with and without systemd in its
image) and with initramfs-tools; the server restarts meanwhile, and the machine ends well. Then it
boots from a disk, and mounts what the host announces.

The device is as in virtio.py. Where there is none, the stream is TCP through QEMU's user network.
"""

import base64
import contextlib
import hashlib
import os
import platform
import sys
import tempfile
import time

from guest import Guest
from initramfs import Missing, find_program, module_files, newest_kernel
from machine import HERE, main
from roottree import MODULES, RootTree
from virtio import add_device, find_device

E2E = os.path.join(os.path.dirname(HERE), "e2e")
sys.path.append(E2E)
from ganesha import Ganesha, Unavailable, check_handles  # noqa: E402

AWAY = 3  # seconds without a server
END_SECONDS = 240
TEST = "/usr/local/lib/vm-test"
GENERATOR = "contrib/systemd/vsockfs-generator"

HELLO = """[Unit]
DefaultDependencies=no
Before=sysinit.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'stty -F /dev/ttyS1 raw -echo && echo hello >/dev/ttyS1'
"""
RUN = f"""[Unit]
After=systemd-user-sessions.service
[Service]
ExecStart={TEST}/run
"""

SYSTEMD = "systemd systemd-initrd dracut-systemd udev-rules base shutdown vsockfs"
UNMOUNTED = "Unmounted /oldroot."
PLAIN = "udev-rules base shutdown vsockfs"


ADDRESS = "10.0.2.15"  # in QEMU's user network
NETWORK = f"""[Unit]
DefaultDependencies=no
After=systemd-udevd.service
Before=local-fs-pre.target
Wants=local-fs-pre.target
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'modprobe virtio_net && ip link set eth0 up && ip addr add {ADDRESS}/24 dev eth0'
"""
FIRMWARE = "{source} /mnt/firmware fuse.vsockfs nofail"
# the second line is wrong
CREDENTIAL = """{source} /mnt/credential fuse.vsockfs nofail
{source} /mnt/../etc
"""
COMMAND_LINE = "vsockfs.mount={source},/mnt/command\\040line,nofail,ro"
FSTAB = "{source} /srv/share fuse.vsockfs nofail,x-systemd.automount 0 0\n"


class Kind:
    def __init__(self, what, image, ending, restarts=True, says=None, announces=""):
        self.what = what
        self.image = image
        self.ending = ending  # what the guest's systemctl is told
        self.expected = {"poweroff": "guest-shutdown", "reboot": "guest-reset"}[ending]
        self.restarts = restarts  # of the server, while the guest boots
        self.says = says  # what the console shows at the end
        self.announces = announces  # a share, by the firmware's configuration


class Host:
    """Answers the guest from the exported tree, and restarts the server under it."""

    def __init__(self, server, tree, kind):
        self.server = server
        self.tree = tree
        self.kind = kind

    def restart(self):
        """Not from another thread, with which the server would end."""
        self.server.kill()
        time.sleep(AWAY)
        self.server.start(self.server.port)
        return "good"

    def answer(self, word, *args):
        if word == "restart":
            return self.restart()
        if word == "ending":
            return self.kind.ending
        if word == "announced":
            return "yes" if self.kind.announces else "no"
        with open(self.tree.inside(args[0]), "rb") as f:
            return hashlib.sha256(f.read()).hexdigest()


class Boots:
    """The tree, its server, and what every guest needs."""

    def __init__(self, args, stack):
        if platform.machine() != "x86_64":
            raise Missing(f"guests are x86_64 machines, and this is {platform.machine()}")
        self.qemu = find_program("qemu-system-x86_64", "qemu-system-x86")
        self.kernel, release = newest_kernel(MODULES)
        self.args = args
        # sockets want short paths, and ganesha a disk that has file handles
        self.work = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="vsockfs-vm-", dir="/var/tmp"))
        check_handles(self.work)
        Ganesha.check()
        self.program = self.find_device()
        self.tree = RootTree(args.work, os.path.join(self.work, "root"), release)
        self.fill_tree()
        self.server = Ganesha(self.work, self.tree.path, nfsv4="Lease_Lifetime = 10;")
        stack.callback(self.server.stop)
        self.server.start()

    @staticmethod
    def find_device():
        """As in virtio.py; None: there is none, or $VSOCKFS_VM_TCP is set."""
        try:
            return None if os.environ.get("VSOCKFS_VM_TCP") else find_device()
        except Missing:
            return None

    def fill_tree(self):
        tree = self.tree
        tree.settle()
        tree.install(self.args.vsockfs, self.args.vsockfsctl,
                     os.path.join(os.environ["VSOCKFS_BUILD"], GENERATOR))
        tree.copy_modules(module_files(tree.release, MODULES))
        tree.unit("vm-hello.service", HELLO, "sysinit.target")
        tree.unit("vm-test.service", RUN, "multi-user.target")
        for source, name in (("systemd-run", "run"), ("lib.sh", "lib.sh")):
            tree.copy(os.path.join(HERE, "guest", source), f"{TEST}/{name}")
        self.use_script("boot")
        if not self.program:
            tree.network_for_dracut(ADDRESS)

    def use_script(self, name):
        self.tree.copy(os.path.join(HERE, "guest", name), f"{TEST}/test")

    def dracut(self, image, modules):
        self.tree.dracut(image, modules + ("" if self.program else " vmnet"))

    def source(self):
        return "2:/export" if self.program else f"tcp:10.0.2.2:{self.server.port}:/export"

    def add_device(self, stack):
        """QEMU's arguments, and words for the kernel."""
        if self.program:
            return add_device(stack, self.work, self.program, self.server.port)[0], ""
        return (["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="],
                f"net.ifnames=0 ip={ADDRESS}::10.0.2.2:255.255.255.0::eth0:off ")

    def boot(self, tap, kind, root, more_devices=()):
        tap = Named(tap, kind.what)
        log = os.path.join(self.args.work, kind.what.replace(" ", "-"))
        os.makedirs(log, exist_ok=True)
        with contextlib.ExitStack() as stack:
            devices, words = self.add_device(stack)
            if kind.announces:
                devices += ["-fw_cfg", "name=opt/io.systemd.credentials/vsockfs.fstab,"
                            f"string={kind.announces}"]
            guest = Guest(self.qemu, self.kernel, self.tree.inside(kind.image), log,
                          [*devices, *more_devices],
                          append=f"{words}{root} rw rd.shell=0 rd.emergency=reboot")
            stack.callback(guest.stop)
            host = Host(self.server, self.tree, kind)
            start = time.monotonic()
            guest.start(tap)
            qmp = guest.qmp()
            if kind.restarts:
                host.restart()
            guest.run(tap, host.answer)
            reason = "not asked to end" if tap.broken else guest.wait_end(qmp, END_SECONDS)
            tap.result(reason == kind.expected, f"the machine ends well: {kind.ending}")
            tap.diag(f"{time.monotonic() - start:.0f} s, {reason}")
            if kind.says:
                with open(guest.console, errors="replace") as console:
                    tap.result(kind.says in console.read(), "the root is unmounted before")
            if tap.failed:
                guest.show_logs(tap)


class Named:
    """A Tap for one of several guests."""

    def __init__(self, tap, what):
        self.tap = tap
        self.what = what
        self.failed = 0
        self.broken = False  # it did not run to its end

    def result(self, good, what):
        self.failed += not good
        self.broken |= not good and what == "the guest runs to its end"
        self.tap.result(good, f"{self.what}: {what}")

    def diag(self, text):
        self.tap.diag(text)


def boot_from_share(boots, tap):
    root = f"root=vsockfs:{boots.source()}"
    # where a guest looks for the image to which it returns at its end
    image = f"/boot/initrd.img-{boots.tree.release}"
    boots.dracut(image, SYSTEMD)
    boots.boot(tap, Kind("dracut with systemd", image, "poweroff", says=UNMOUNTED), root)
    boots.dracut(image, PLAIN)
    boots.boot(tap, Kind("dracut", image, "reboot", says=UNMOUNTED,
                         announces=FIRMWARE.format(source=boots.source())), root)
    boots.tree.initramfs_tools(image)
    boots.boot(tap, Kind("initramfs-tools", image, "poweroff"), root)


def boot_announced(boots, tap):
    image = f"/boot/initrd.img-{boots.tree.release}"
    source = boots.source()
    boots.use_script("announced")
    boots.tree.write("/etc/fstab", FSTAB.format(source=source))
    if not boots.program:
        boots.tree.unit("vm-network.service", NETWORK, "sysinit.target")
    disk = boots.tree.disk(os.path.join(boots.work, "disk"), 600)
    told = base64.b64encode(CREDENTIAL.format(source=source).encode()).decode()
    announce = ["-smbios", f"type=11,value=io.systemd.credential.binary:vsockfs.fstab={told}"]
    boots.boot(tap, Kind("announced", image, "reboot", restarts=False),
               f"root=/dev/vda {COMMAND_LINE.format(source=source)}", [*disk, *announce])


def run(args, tap, stack):
    boots = Boots(args, stack)
    tap.diag(f"the stream is {'vsock' if boots.program else 'TCP'}")
    boot_from_share(boots, tap)
    boot_announced(boots, tap)


if __name__ == "__main__":
    sys.exit(main(run, Unavailable))
