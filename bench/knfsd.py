# SPDX-License-Identifier: LGPL-2.1-or-later
"""The kernel's NFS server of the machine that this runs on: a guest, never one that serves others."""

import contextlib
import os
import subprocess
import time

FOREVER = 2147483647
# of linux/nfsd/export.h: INSECURE_PORT, ASYNC, NOSUBTREECHECK, FSID
FLAGS = 0x2 | 0x10 | 0x400 | 0x2000
PORT = 2049


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def end_grace(path):
    """Newer kernels refuse to end it by hand, and say Y when it is over."""
    while True:
        with contextlib.suppress(OSError):
            write(path, "Y\n")
        with open(path) as f:
            if f.read().startswith("Y"):
                return
        time.sleep(0.2)


class Knfsd:
    """Serves an ext4 file system in a sparse file of `work`, as root of the export.

    Without exportfs and mountd: what they would answer is written into the kernel's caches.
    """

    def __init__(self, work, gigabytes=3):
        self.image = f"{work}/export.img"
        self.export = f"{work}/export"
        self.size = gigabytes << 30
        self.port = PORT

    def start(self):
        for module in ("loop", "ext4", "nfsd", "fuse"):
            run("modprobe", module)
        os.makedirs(self.export)
        with open(self.image, "wb") as f:
            f.truncate(self.size)
        run("mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0",
            self.image)
        run("mount", "-o", "loop", self.image, self.export)
        self._serve()
        return self

    def _serve(self):
        if not os.path.exists("/proc/fs/nfsd/threads"):
            run("mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd")
        os.makedirs("/var/lib/nfs/v4recovery", exist_ok=True)
        rpc, nfsd = "/proc/net/rpc", "/proc/fs/nfsd"
        write(f"{rpc}/auth.unix.ip/channel", f"nfsd 127.0.0.1 {FOREVER} bench\n")
        write(f"{rpc}/nfsd.export/channel",
              f"bench {self.export} {FOREVER} {FLAGS} 65534 65534 0\n")
        write(f"{rpc}/nfsd.fh/channel", f"bench 1 \\x00000000 {FOREVER} {self.export}\n")
        write(f"{nfsd}/nfsv4gracetime", "10\n")
        write(f"{nfsd}/max_block_size", "1048576\n")
        write(f"{nfsd}/versions", "-2 -3 +4 +4.1 +4.2\n")
        write(f"{nfsd}/portlist", f"tcp {PORT}\n")
        write(f"{nfsd}/threads", "8\n")
        end_grace(f"{nfsd}/v4_end_grace")

    def stop(self):
        write("/proc/fs/nfsd/threads", "0\n")
        run("umount", self.export)


def calls():
    """RPCs that the server has had in its life."""
    with open("/proc/net/rpc/nfsd") as f:
        for line in f:
            if line.startswith("rpc "):
                return int(line.split()[1])
    raise RuntimeError("no rpc line in /proc/net/rpc/nfsd")
