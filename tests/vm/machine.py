# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the guests have in common: the command line, the image, the kernel."""

import argparse
import contextlib
import os
import platform
import subprocess

from guest import Guest
from initramfs import Initramfs, Missing, find_program, newest_kernel
from tap import Tap

HERE = os.path.dirname(os.path.abspath(__file__))


def parse_args():
    parser = argparse.ArgumentParser()
    parser.add_argument("vsockfs")
    parser.add_argument("vsockfsctl")
    parser.add_argument("--work", required=True, help="directory for images and logs")
    parser.add_argument("--source", help="where to build the static programs from")
    parser.add_argument("--meson", default="meson")
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    return args


def main(run, *lacking):
    """Runs run(args, tap, stack) and returns the exit status; Missing and the exceptions `lacking` say
    why it cannot be run here."""
    args = parse_args()
    tap = Tap()
    try:
        with contextlib.ExitStack() as stack:
            run(args, tap, stack)
    except (Missing, *lacking) as why:
        return tap.skip_all(why)
    return tap.plan()


class Machine:
    """An image with the programs under test and SCRIPT, and a kernel that has MODULES."""

    def __init__(self, args, script, modules):
        if platform.machine() != "x86_64":
            raise Missing(f"guests are x86_64 machines, and this is {platform.machine()}")
        self.work = args.work
        self.script = script
        self.qemu = find_program("qemu-system-x86_64", "qemu-system-x86")
        self.kernel, release = newest_kernel(modules)
        self.release = release
        self.image = Initramfs()
        self.image.userland()
        self.image.modules(release, modules)
        self.image.program(args.vsockfs, "/usr/bin/vsockfs")
        self.image.program(args.vsockfsctl, "/usr/bin/vsockfsctl")
        for source, path in (("init", "/init"), ("lib.sh", "/lib.sh"), (script, "/test")):
            with open(os.path.join(HERE, "guest", source), "rb") as file:
                self.image.file(path, file.read(), 0o755)
        for name in ("dev", "mnt", "proc", "run", "sys"):
            self.image.directory(f"/{name}")

    def disk(self, name, size, system="ext4"):
        """A file system in a sparse file, as QEMU's arguments for a virtio disk."""
        make, package = {"ext4": ("mke2fs", "e2fsprogs"), "xfs": ("mkfs.xfs", "xfsprogs")}[system]
        options = ["-F", "-t", "ext4"] if system == "ext4" else []
        path = os.path.join(self.work, name)
        with open(path, "wb") as file:
            file.truncate(size)
        subprocess.run([find_program(make, package), "-q", *options, path],
                       check=True, stdin=subprocess.DEVNULL)
        return ["-drive", f"file={path},format=raw,if=none,id={system},cache=unsafe",
                "-device", f"virtio-blk-pci,drive={system}"]

    @contextlib.contextmanager
    def guest(self, devices=(), memory="1G", work=None):
        """`work` is a directory for its logs when there are several."""
        work = work or self.work
        os.makedirs(work, exist_ok=True)
        initramfs = os.path.join(work, "initramfs.cpio")
        self.image.write(initramfs)
        guest = Guest(self.qemu, self.kernel, initramfs, work, devices, memory)
        try:
            yield guest
        finally:
            guest.stop()
            os.unlink(initramfs)

    def run(self, tap, devices=(), answer=None):
        with self.guest(devices) as guest:
            guest.start(tap)
            guest.run(tap, answer)


def build_static(args):
    """Builds the static programs with meson: the paths of vsockfs and vsockfsctl."""
    build = os.path.join(args.work, "static")
    log = os.path.join(args.work, "static.log")
    commands = [[args.meson, "compile", "-C", build]]
    if not os.path.exists(os.path.join(build, "build.ninja")):
        commands.insert(0, [args.meson, "setup", build, args.source, "-Dstatic=true",
                            "-Dtests=disabled"])
    with open(log, "wb") as output:
        for command in commands:
            if subprocess.run(command, stdout=output, stderr=output).returncode:
                raise Missing(f"the static build fails: see {log}")
    return os.path.join(build, "src/vsockfs"), os.path.join(build, "src/ctl/vsockfsctl")
