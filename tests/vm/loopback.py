#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that mounts its own export over AF_VSOCK's loopback: vsockfs 1:/export /mnt."""

import os
import subprocess
import sys

from initramfs import Missing, find_program
from machine import Machine, build_static, parse_args
from tap import Tap

MODULES = ["vsock_loopback", "fuse", "nfsd", "ext4", "virtio_pci", "virtio_blk"]

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


def main():
    args = parse_args()
    tap = Tap()
    try:
        machine = Machine(args, "loopback", MODULES)
        machine.image.program(find_program("socat", "socat"), "/usr/bin/socat")
        disk = machine.disk("export.img", 16 << 30)
    except Missing as why:
        return tap.skip_all(why)
    add_static(tap, machine.image, args)
    try:
        machine.run(tap, disk)
    finally:
        os.unlink(os.path.join(args.work, "export.img"))
    return tap.plan()


if __name__ == "__main__":
    sys.exit(main())
