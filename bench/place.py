# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests that run bench/inside.py: one of our own, or what a command of the user's makes."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.join(os.path.dirname(HERE), "tests", "vm"))

from guest import Died  # noqa: E402
from initramfs import Missing  # noqa: E402
from machine import Machine  # noqa: E402

INSIDE = os.path.join(HERE, "inside.py")
MODULES = ["9p", "9pnet_virtio", "virtio_pci", "fuse", "loop", "ext4", "nfsd", "nfsv4"]


class Unable(Exception):
    """No guest: the text says why."""


def by_command(command, args):
    """Lines that inside.py prints where `COMMAND SCRIPT` runs a script in a guest with our files."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh", dir="/var/tmp") as script:
        script.write(f"exec /usr/bin/python3 {INSIDE} {shlex.quote(json.dumps(args))}\n")
        script.flush()
        os.chmod(script.name, 0o755)
        process = subprocess.Popen([*shlex.split(command), script.name], text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        with process.stdout:
            yield from (line.rstrip("\n") for line in process.stdout)
        if process.wait() != 0:
            raise Unable(f"{command} ends with status {process.returncode}")


class Quiet:
    """Hears what a guest of tests/vm has to say about its boot."""

    @staticmethod
    def diag(text):
        print(f"bench/run: {text}", file=sys.stderr)


def by_qemu(args):
    """The same from a guest with a kernel of this machine's, whose root is ours by 9p, read-only."""
    share = ["-fsdev", "local,id=tree,path=/,security_model=none,readonly=on,multidevs=remap",
             "-device", "virtio-9p-pci,fsdev=tree,mount_tag=tree"]
    with tempfile.TemporaryDirectory(prefix="vsockfs-bench-", dir="/var/tmp") as work:
        programs = argparse.Namespace(vsockfs=os.path.join(args["build"], "src/vsockfs"),
                                      vsockfsctl=os.path.join(args["build"], "src/ctl/vsockfsctl"),
                                      work=work)
        try:
            machine = Machine(programs, os.path.join(HERE, "guest"), MODULES)
        except Missing as why:
            raise Unable(str(why)) from why
        machine.image.file("/command", f"/usr/bin/python3 {INSIDE} {shlex.quote(json.dumps(args))}\n")
        with machine.guest(share, "4G") as guest:
            if args["icount"]:
                guest.count_instructions()
            try:
                guest.start(Quiet)
                while (line := guest.hear()) != "end":
                    yield line
            except Died as why:
                with open(guest.console, errors="replace") as console:
                    Quiet.diag(console.read()[-3000:])
                raise Unable(f"the guest ends early: {why}") from why


def found(command, args):
    """What inside.py found, as it comes: the objects after its @."""
    for line in by_command(command, args) if command else by_qemu(args):
        if line.startswith("@ "):
            yield json.loads(line[2:])
        elif not line.startswith("..."):
            print(f"guest: {line}", file=sys.stderr)
