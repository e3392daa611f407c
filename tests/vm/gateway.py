#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
Guests over virtio-vsock devices, the gateway, and an nfs-ganesha that vsockfs-exportfs told who may
see what: a and b have an export each, c has none, and d is not known. They run at the same time.

The devices are as in virtio.py.
"""

import base64
import concurrent.futures
import os
import socket
import subprocess
import sys

from initramfs import find_program
from machine import HERE, Machine, main
from virtio import KERNEL_DEVICE, find_device, start_device

sys.path.append(os.path.join(os.path.dirname(HERE), "gateway"))
from fixture import WAIT, Bench, Skip, program  # noqa: E402
from hosts import LIBRARY, Host, kernel_handle, read  # noqa: E402
from nfsraw import STALE, Client  # noqa: E402

MODULES = ["vmw_vsock_virtio_transport", "virtio_pci", "virtio_console", "fuse"]
MEMORY = "256M"
GUESTS = "abcd"


class Machines:
    """The guests by name. A command goes to one with tell()."""

    def __init__(self, args, stack, bench, cids, device):
        self.bench = bench
        self.cids = cids
        self.hybrid = device != KERNEL_DEVICE
        self.machine = Machine(args, "gateway", MODULES)
        self.machine.image.program(find_program("socat", "socat"), "/usr/bin/socat")
        self.guests = {name: self.prepare(stack, name, cids[name], device) for name in GUESTS}

    def prepare(self, stack, name, cid, device):
        devices = start_device(stack, self.bench.path(name), device, cid, MEMORY)
        devices += ["-device", "virtio-serial-pci",
                    "-chardev", f"socket,id=raw,path={self.bench.path(name)}.raw,server=on,wait=off",
                    "-device", "virtserialport,chardev=raw"]
        work = os.path.join(self.machine.work, name)
        return stack.enter_context(self.machine.guest(devices, MEMORY, work))

    def boot(self, tap):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda guest: guest.start(tap), self.guests.values()))

    def tell(self, name, line):
        """(status, output)"""
        guest = self.guests[name]
        guest.tell(line)
        status, _, output = guest.hear().partition(" ")
        return int(status), base64.b64decode(output).decode(errors="replace")

    def does(self, name, line, output):
        """That it succeeds and prints this."""
        got = self.tell(name, line)
        assert got == (0, output), (name, line, got)

    def raw(self, name):
        """NFS by hand from inside this guest."""
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(WAIT * 4)
        s.connect(f"{self.bench.path(name)}.raw")
        self.bench.stack.callback(s.close)
        assert self.tell(name, "raw")[0] == 0
        return Client(s)


def own_exports(host, guests):
    """each of two guests has its own export"""
    for name in "ab":
        status, said = guests.tell(name, f"timeout 60 vsockfs 2:{host.path(name)} /mnt")
        assert status == 0, said
        guests.does(name, "cat /mnt/file", f"of {name}")
        status, said = guests.tell(name, "dd if=/dev/urandom of=/mnt/new bs=1M count=2 && sum /mnt/new")
        assert status == 0, said
        assert os.path.getsize(host.path(name, "new")) == 2 << 20


def no_others(host, guests):
    """none of them mounts another's, and above its own it sees nothing else"""
    for name, path in (("a", host.path("b")), ("b", host.path("a")), ("c", host.path("a")),
                       ("c", "/"), ("d", host.path("a"))):
        status, said = guests.tell(name, f"timeout 60 vsockfs 2:{path} /mnt2 -o retry=0"
                                   " && find /mnt2 -mindepth 1")
        assert status == 32 or not said, (name, path, status, said)
        guests.tell(name, "umount /mnt2")
    guests.does("a", f"timeout 60 vsockfs 2:{host.top} /mnt2 && ls /mnt2 && umount /mnt2", "a\n")


def forged_handles(host, guests):
    """another's handles, and handles of a guest's own making, open nothing"""
    a, b = guests.raw("a"), guests.raw("b")
    handle, of_b = (c.handle(*host.names_to(n, "file")) for c, n in ((a, "a"), (b, "b")))
    assert a.read(handle) == b"of a" and b.read(of_b) == b"of b"
    assert isinstance(a.read(of_b), int)
    own = kernel_handle(host.path("a", "file"))
    for what in (("secret",), ("b", "file"), ()):
        assert a.read(handle.replace(own, kernel_handle(host.path(*what)))) == STALE, what
    guests.clients = a, b, handle, of_b


def forged_owner(host, guests):
    """another's name as a client gives none of its files"""
    a, b, handle, of_b = guests.clients
    assert b.become(b"the owner", b"verifier") == 0
    a.become(b"the owner", b"another!")
    assert isinstance(a.read(of_b), int)
    assert a.handle(*host.names_to("b", "file")) is None
    assert b.read(of_b) == b"of b" and a.read(handle) == b"of a"


def forged_address(host, guests):
    """a guest cannot take another's CID, nor an address of the host"""
    status, said = guests.tell("a", "socat -u /dev/null VSOCK-CONNECT:2:2049,bind=77:1000")
    assert status != 0 and "assign requested address" in said, (status, said)
    for name in "ab":
        guests.does(name, "cat /mnt/file", f"of {name}")
        guests.does(name, "umount /mnt", "")
    # vhost-device-vsock 0.3 leaves some streams open that its guest has closed
    assert host.gateway.stop() == 0
    carried = [line for line in host.gateway.log().splitlines() if " bytes in, " in line]
    for name in "abc":
        lines = [line for line in carried if host.names[name] in line]
        assert lines, f"no connection of {name}"
        assert all(f": from {host.address(name)} port" in line for line in lines), lines


def serves(host, guests):
    """vsockfs-serve shows a directory to the guest that nobody knew"""
    whom = ["--unix", guests.bench.path("d")] if guests.hybrid else ["--cid", str(guests.cids["d"])]
    with subprocess.Popen([program("vsockfs-serve"), *whom, host.path("a")], stderr=subprocess.PIPE,
                          env=dict(os.environ, VSOCKFS_SIGNFH_LIBRARY=LIBRARY), text=True) as serve:
        try:
            assert "is /export for guests" in (said := serve.stderr.readline()), said
            guests.does("d", "timeout 60 vsockfs 2:/export /mnt", "")
            guests.does("d", "cat /mnt/file && echo made >/mnt/by-d && umount /mnt", "of a")
            assert read(host.path("a", "by-d")) == "made\n"
        finally:
            serve.terminate()


TESTS = [own_exports, no_others, forged_handles, forged_owner, forged_address, serves]


def run(args, tap, stack):
    device = find_device()
    bench = Bench(stack, [])
    cids = {name: 0x10000 + 4 * os.getpid() + i for i, name in enumerate(GUESTS)}
    names = {n: f"vsock:{cids[n]}" for n in "abc"} if device == KERNEL_DEVICE else None
    host = Host(bench, names=names)
    guests = Machines(args, stack, bench, cids, device)
    guests.boot(tap)
    for test in TESTS:
        try:
            test(host, guests)
            tap.result(True, test.__doc__)
        except Exception as why:
            tap.result(False, test.__doc__)
            tap.diag(f"{type(why).__name__}: {why}\n{host.gateway.log()}{host.server.log_tail()}")
            break
    for name in GUESTS:
        guests.guests[name].tell("end")


if __name__ == "__main__":
    sys.exit(main(run, Skip))
