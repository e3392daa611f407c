#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The part of bench/run that works in a guest, whose server is its own knfsd, over TCP.

Arguments: one JSON object, as bench/run writes it. Prints what it finds as lines "@ JSON", and
other lines for whoever waits.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[1:1] = [HERE, os.path.join(os.path.dirname(HERE), "tests", "e2e")]
sys.dont_write_bytecode = True

import knfsd  # noqa: E402
import later  # noqa: E402
import rows  # noqa: E402
import side  # noqa: E402
from mounts import Mount  # noqa: E402


def tell(kind, **what):
    print("@", json.dumps({"kind": kind, **what}), flush=True)


def breathe():
    """A guest that says nothing for minutes counts as dead, and its clock may be a slow one."""
    while True:
        time.sleep(2)
        print("...", flush=True)


def fuse_over_io_uring():
    """Has it from now on, where the kernel can."""
    knfsd.run("modprobe", "fuse")
    try:
        knfsd.write("/sys/module/fuse/parameters/enable_uring", "Y")
    except OSError:
        return False
    return True


def call_us(times=20000):
    """Of a system call: what a client in user space pays many times for each request."""
    start = time.monotonic()
    for _ in range(times):
        os.getppid()
    return (time.monotonic() - start) / times * 1e6


def switch_us(times=5000):
    """Of two changes of process: what FUSE costs besides the work."""
    there, back = os.pipe(), os.pipe()
    if (child := os.fork()) == 0:
        for _ in range(times):
            os.read(there[0], 1)
            os.write(back[1], b"x")
        os._exit(0)
    start = time.monotonic()
    for _ in range(times):
        os.write(there[1], b"x")
        os.read(back[0], 1)
    seconds = time.monotonic() - start
    os.waitpid(child, 0)
    for end in there + back:
        os.close(end)
    return seconds / times * 1e6


class KernelClient:
    """The kernel's own NFSv4.2 client on a directory of the export."""

    def __init__(self, directory, point):
        self.source = f"127.0.0.1:/{directory}"
        self.point = point

    def __enter__(self):
        os.makedirs(self.point, exist_ok=True)
        knfsd.run("modprobe", "nfsv4")
        knfsd.run("mount", "-t", "nfs4", "-o", "vers=4.2,proto=tcp", self.source, self.point)
        return self

    def __exit__(self, *_):
        knfsd.run("umount", self.point)


def settled_calls():
    before = None
    while (after := knfsd.calls()) != before:
        before = after
        time.sleep(0.4)
    return after


def counted_by_server(_, action):
    before = settled_calls()
    start = time.monotonic()
    action()
    seconds = time.monotonic() - start
    return {"RPC": settled_calls() - before}, seconds


def clients(args, work):
    """name: (context manager for one mount, counter)."""
    ctl = os.path.join(args["build"], "src", "ctl", "vsockfsctl")
    program = os.path.join(args["build"], "src", "vsockfs")
    return {
        "vsockfs": (lambda point: Mount(program, "tcp:127.0.0.1:/vsockfs", point,
                                        rows.options(args["options"])),
                    lambda root, action: rows.count(ctl, root, action)),
        "kernel": (lambda point: KernelClient("kernel", point), counted_by_server),
    }


def count_rows(args, work, server):
    for name, (mount, counted) in clients(args, work).items():
        export = f"{server.export}/{name}"
        os.mkdir(export)
        scratch = f"{work}/{name}.scratch"
        os.mkdir(scratch)
        rows.prepare(export, scratch)

        @contextlib.contextmanager
        def new_mount(number):
            with mount(f"{work}/{name}{number}") as mounted:
                yield mounted.point

        try:
            for row, told, seconds in rows.measure(args["word"], new_mount, counted, scratch):
                tell("count", client=name, row=row.name, operations=told, seconds=seconds)
        except subprocess.CalledProcessError as e:
            tell("absent", client=name, why=str(e))
        rows.run("rm", "-rf", export)


def compare(args, work, server, part):
    """The same once for each distance of the server."""
    for usec in args["rtt"]:
        try:
            with later.by(usec, server.port) as null_us:
                tell("distance", part=part, rtt=usec, null_us=null_us)
                side.compare(
                    side.Server(f"tcp:{server.port}", server.port, server.export, "/"),
                    args["build"], work, args["options"], args["word"], args["repeat"], args["size"],
                    lambda row, who, found: tell(part, row=row, client=who, found=found, rtt=usec),
                    part == "small")
        except later.NoDelay as why:
            tell("skipped", why=f"{part} with {usec} us more: {why}")


def main():
    args = json.loads(sys.argv[1])
    threading.Thread(target=breathe, daemon=True).start()
    os.chdir("/")
    work = tempfile.mkdtemp(prefix="bench-", dir="/dev/shm")
    uring = fuse_over_io_uring()
    server = knfsd.Knfsd(work).start()
    tell("guest", kernel=os.uname().release, cpus=os.cpu_count(), call_us=call_us(),
         switch_us=switch_us(), uring=uring)
    for part in args["parts"]:
        if part == "knfsd":
            count_rows(args, work, server)
        else:
            compare(args, work, server, part)
    server.stop()
    tell("end")


if __name__ == "__main__":
    main()
