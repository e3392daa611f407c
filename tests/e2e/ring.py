# SPDX-License-Identifier: LGPL-2.1-or-later
"""FUSE over io_uring needs a parameter of the kernel's module, which is on while a mount is made.

A connection keeps what it had when it was made, so that other mounts of this machine notice
nothing of it.
"""

import contextlib
import fcntl
import os
import signal

from ganesha import Unavailable

PARAMETER = "/sys/module/fuse/parameters/enable_uring"


def check():
    if not os.path.exists(PARAMETER):
        raise Unavailable("this kernel has no FUSE over io_uring (Linux 6.14)")
    if not os.access(PARAMETER, os.W_OK):
        raise Unavailable("fuse.enable_uring cannot be set here")
    with contextlib.suppress(FileNotFoundError), open("/proc/sys/kernel/io_uring_disabled") as f:
        if f.read().strip() != "0":
            raise Unavailable("io_uring is switched off here")


def hold(ready, wanted):
    """Turns it on, says so, and puts it back when nobody wants it any more, however that ends."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    fd = os.open(PARAMETER, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX)
    before = os.pread(fd, 16, 0)
    os.pwrite(fd, b"Y", 0)
    os.write(ready, b"!")
    os.read(wanted, 1)
    os.pwrite(fd, before, 0)


held = False


@contextlib.contextmanager
def enabled():
    global held
    if held:
        yield
        return
    here, ready = os.pipe()
    wanted, keep = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(here)
        os.close(keep)
        try:
            hold(ready, wanted)
        finally:
            os._exit(0)
    os.close(ready)
    os.close(wanted)
    try:
        assert os.read(here, 1) == b"!", "fuse.enable_uring cannot be set"
        held = True
        yield
    finally:
        held = False
        os.close(here)
        os.close(keep)
        os.waitpid(pid, 0)
