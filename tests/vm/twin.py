#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
A guest is paused, for longer than its lease too, and then saved and restored twice: both write.

QEMU cannot save a guest with a vhost-user-vsock device, so the stream is TCP through QEMU's own
user network. What is above the stream is the same.
"""

import os
import sys
import tempfile
import threading
import time

from guest import Guest
from machine import HERE, Machine, main

E2E = os.path.join(os.path.dirname(HERE), "e2e")
sys.path.append(E2E)
from ganesha import Ganesha, Unavailable, check_handles  # noqa: E402

MODULES = ["virtio_net", "virtio_pci", "fuse"]
LEASE = 8
# ganesha looks for clients to end now and then only
LONG_PAUSE = 3 * LEASE
SAVE_SECONDS = 120
NAMES = ("first", "second")


class Shared:
    """A Tap that two guests use."""

    lock = threading.Lock()

    def __init__(self, tap):
        self.tap = tap

    def result(self, good, what):
        with self.lock:
            self.tap.result(good, what)

    def diag(self, text):
        with self.lock:
            self.tap.diag(text)


def pause(guest, word):
    qmp = guest.monitor_protocol
    qmp.execute("stop")
    time.sleep(LONG_PAUSE if word == "long" else int(word))
    qmp.execute("cont")
    return "done"


def answer(guest, word, *args):
    """None to the question that the twins answer."""
    return pause(guest, *args) if word == "pause" else None


def twin(guest, name, tap):
    guest.tell(name)
    guest.run(Shared(tap))


def read(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def wrong_files(export, name):
    return [i for i in range(1, 61)
            if not os.path.exists(os.path.join(export, f"{name}.{i}"))
            or read(export, f"{name}.{i}") != f"{i} of {name}\n"
            or os.path.exists(os.path.join(export, f"{name}-{i}"))]


def wrong_names(export, made):
    """Of the names that both wanted, those that do not belong to exactly the twin that won them.
    What was `made` when the guest was saved both may have been about to hear of."""
    won = {name: set(read(export, f"won-{name}").split()) - made for name in NAMES}
    wrong = [f"{i}: both" for i in won["first"] & won["second"]]
    for i in set(os.listdir(os.path.join(export, "race"))) - made:
        whose = read(export, "race", i).strip()
        # the name may be told between making the file and filling it
        if whose in NAMES and i not in won[whose]:
            wrong.append(f"{i}: {whose}, who was not told")
    for name in NAMES:
        wrong += [f"{i}: {name} was told, and it is not there" for i in won[name]
                  if not os.path.exists(os.path.join(export, "race", i))]
    return wrong, won


def check_disk(tap, export, made):
    for name in NAMES:
        wrong = wrong_files(export, name)
        tap.result(not wrong, f"the server has all files of the {name} twin")
        if wrong:
            tap.diag(f"not {wrong}")
    wrong, won = wrong_names(export, made)
    tap.result(not wrong, "of two that make one name exactly one is told that it did")
    if wrong:
        tap.diag("; ".join(wrong[:10]))
    tap.diag(f"names won: {', '.join(f'{len(won[n])} by the {n}' for n in NAMES)}")
    locks = [read(export, f"lock-{name}").strip() for name in NAMES]
    tap.result(locks.count("kept") <= 1, "a lock is one twin's at most")
    tap.diag(f"locks: {locks}")


def run(args, tap, stack):
    work = stack.enter_context(tempfile.TemporaryDirectory(prefix="vsockfs-vm-", dir="/var/tmp"))
    export = os.path.join(work, "export")
    os.mkdir(export)
    machine = Machine(args, "twin", MODULES)
    check_handles(export)
    Ganesha.check()
    server = Ganesha(work, export, nfsv4=f"Lease_Lifetime = {LEASE};")
    stack.callback(server.stop)
    server.start()
    machine.image.file("/source", f"tcp:10.0.2.2:{server.port}:/export\n")
    devices = ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
    guest = stack.enter_context(machine.guest(devices))
    guest.start(tap)
    guest.monitor_protocol = guest.qmp()
    guest.run(tap, lambda *words: answer(guest, *words))
    image = os.path.join(work, "saved")
    guest.monitor_protocol.save(image, SAVE_SECONDS)
    guest.monitor_protocol.execute("quit")
    made = set(os.listdir(os.path.join(export, "race")))
    tap.diag(f"saved: {os.path.getsize(image) >> 20} MiB")
    threads = []
    for name in NAMES:
        directory = os.path.join(args.work, name)
        os.makedirs(directory, exist_ok=True)
        other = Guest(machine.qemu, machine.kernel, guest.initramfs, directory, devices)
        stack.callback(other.stop)
        other.restore(image, guest.accel)
        threads.append(threading.Thread(target=twin, args=(other, name, tap)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if tap.failed:
        tap.diag(server.log_tail())
    else:
        check_disk(tap, export, made)


if __name__ == "__main__":
    sys.exit(main(run, Unavailable))
