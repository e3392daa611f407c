#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
A guest that mounts this machine's nfs-ganesha over a virtio-vsock device: vsockfs 2:/export /mnt.

The device is the kernel's (/dev/vhost-vsock), or vhost-device-vsock from $VHOST_DEVICE_VSOCK or
the PATH.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from initramfs import Missing
from machine import HERE, Machine, main

E2E = os.path.join(os.path.dirname(HERE), "e2e")
sys.path.append(E2E)
from ganesha import Ganesha, Unavailable, check_handles, die_with_parent  # noqa: E402

MODULES = ["vmw_vsock_virtio_transport", "virtio_pci", "fuse"]
PORT = 2049
LEASE = 5  # seconds; the guest is paused for four times as long
KERNEL_DEVICE = "/dev/vhost-vsock"


class Host:
    """Answers the guest's questions from the exported directory itself, and does things to it."""

    def __init__(self, export, relay, qmp):
        self.export = export
        self.relay = relay
        self.qmp = qmp

    def path(self, name):
        return os.path.join(self.export, name)

    def sum(self, name):
        with open(self.path(name), "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def text(self, name):
        with open(self.path(name)) as file:
            return file.readline().rstrip("\n")

    def names(self, name):
        """Sum of what `find . | LC_ALL=C sort` prints there."""
        top = os.fsencode(self.path(name))
        found = [b"."]
        for directory, directories, files in os.walk(top):
            base = b"." + directory[len(top):]
            found += [base + b"/" + entry for entry in directories + files]
        return hashlib.sha256(b"".join(entry + b"\n" for entry in sorted(found))).hexdigest()

    def edit(self, name, text):
        with open(self.path(name), "w") as file:
            file.write(text + "\n")
        return "good"

    def remove(self, name):
        os.unlink(self.path(name))
        return "good"

    def reset(self):
        """The device resets the guest's streams."""
        self.relay.send_signal(signal.SIGUSR1)
        return "good"

    def pause(self, seconds):
        self.qmp.execute("stop")
        time.sleep(int(seconds))
        self.qmp.execute("cont")
        return "good"

    def answer(self, word, *args):
        try:
            return {"sum": self.sum, "text": self.text, "names": self.names, "edit": self.edit,
                    "remove": self.remove, "reset": self.reset, "pause": self.pause}[word](*args)
        except OSError as why:
            return f"the host's answer: {why}"


def stop_process(process):
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_process(stack, command, log):
    with open(log, "wb") as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=errors, preexec_fn=die_with_parent)
    stack.callback(process.stdout.close)
    stack.callback(stop_process, process)
    return process


def start_relay(stack, work, where, port):
    log = os.path.join(work, "relay.log")
    relay = start_process(stack, [sys.executable, os.path.join(E2E, "relay.py"), where, str(port)],
                          log)
    if relay.stdout.readline() != b"ready\n":
        with open(log) as file:
            raise Missing(f"cannot listen on {where}: {file.read().strip().splitlines()[-1]}")
    return relay


def find_device():
    """What makes the device: the kernel's, or the path of a program."""
    if os.access(KERNEL_DEVICE, os.R_OK | os.W_OK):
        return KERNEL_DEVICE
    program = os.environ.get("VHOST_DEVICE_VSOCK") or shutil.which("vhost-device-vsock")
    if not program:
        raise Missing(f"no {KERNEL_DEVICE}, and no vhost-device-vsock in PATH or $VHOST_DEVICE_VSOCK "
                      "(CONTRIBUTING.md, Guests)")
    return program


def start_device(stack, path, program, cid, memory="1G"):
    """Arguments that give QEMU a device with this CID. Without the kernel's, the guest's connections
    to CID 2 port N come out at the Unix socket PATH_N."""
    if program == KERNEL_DEVICE:
        return ["-device", f"vhost-vsock-pci,guest-cid={cid}"]
    control = f"{path}.device"
    start_process(stack, [program, "--guest-cid", str(cid), "--socket", control, "--uds-path", path],
                  f"{path}.log")
    deadline = time.monotonic() + 10
    while not os.path.exists(control):
        if time.monotonic() > deadline:
            raise Missing(f"{program} does not start: see {path}.log")
        time.sleep(0.02)
    return ["-object", f"memory-backend-memfd,id=mem,size={memory},share=on",
            "-chardev", f"socket,id=vsock,path={control}",
            "-device", "vhost-user-vsock-pci,chardev=vsock"]


def add_device(stack, work, program, server_port):
    """The device's arguments; and the relay to the server behind CID 2 port 2049."""
    where = f"vsock:{PORT}" if program == KERNEL_DEVICE else f"unix:{work}/vsock_{PORT}"
    relay = start_relay(stack, work, where, server_port)
    return start_device(stack, f"{work}/vsock", program, 0x10000 + os.getpid()), relay


def run(args, tap, stack):
    program = find_device()
    # sockets want short paths, and ganesha a disk that has file handles
    work = stack.enter_context(tempfile.TemporaryDirectory(prefix="vsockfs-vm-", dir="/var/tmp"))
    export = os.path.join(work, "export")
    os.mkdir(export)
    with open(os.path.join(export, "made-by-host"), "wb") as file:
        file.write(os.urandom(8 << 20))
    machine = Machine(args, "virtio", MODULES)
    check_handles(export)
    Ganesha.check()
    server = Ganesha(work, export, nfsv4=f"Lease_Lifetime = {LEASE};")
    stack.callback(server.stop)
    server.start()
    device, relay = add_device(stack, work, program, server.port)
    with machine.guest(device) as guest:
        guest.start(tap)
        guest.run(tap, Host(export, relay, guest.qmp()).answer)
    if tap.failed:
        tap.diag(server.log_tail())


if __name__ == "__main__":
    sys.exit(main(run, Unavailable))
