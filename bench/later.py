# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server that is further away: what goes over the loopback device arrives later, in both directions.

For guests alone: this machine's own device may serve others.
"""

import contextlib
import socket
import struct
import subprocess
import time

# a NULL call of NFSv4 with its record mark, and the length of what answers it
NULL_CALL = struct.pack(">11I", 0x80000000 | 40, 1, 0, 2, 100003, 4, 0, 0, 0, 0, 0)
NULL_REPLY = 28
WARM, TIMES = 50, 500
PACKETS = 100000  # under way at once: none is dropped


class NoDelay(Exception):
    """The round trip does not take longer here: the text says why."""


def null_us(port):
    """Of a NULL call: what the server is away, with the processor's time."""
    with socket.create_connection(("127.0.0.1", port)) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(WARM + TIMES):
            if number == WARM:
                start = time.monotonic()
            stream.sendall(NULL_CALL)
            if len(stream.recv(NULL_REPLY, socket.MSG_WAITALL)) < NULL_REPLY:
                raise RuntimeError("no answer to a NULL call")
        return (time.monotonic() - start) / TIMES * 1e6


def tc(*words):
    try:
        done = subprocess.run(["tc", "qdisc", *words], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    except FileNotFoundError as why:
        raise NoDelay("no tc (Debian package iproute2)") from why
    if done.returncode != 0:
        raise NoDelay(f"tc: {done.stdout.strip()}")


@contextlib.contextmanager
def by(usec, port):
    """Gives what a NULL call to the port takes while each round trip waits usec more, half of it each way.
    Order is kept, and any number of packets is under way at the same time."""
    direct = null_us(port)
    if usec == 0:
        yield direct
        return
    subprocess.run(["modprobe", "-q", "sch_netem"], check=False)  # it may be built in
    tc("add", "dev", "lo", "root", "netem", "delay", f"{usec / 2}us", "limit", str(PACKETS))
    try:
        # one waits while the processor is still busy with having sent
        if (waited := null_us(port)) < direct + usec / 4:
            raise NoDelay(f"{usec} us make a NULL call take {waited:.0f} us instead of {direct:.0f}")
        yield waited
    finally:
        tc("del", "dev", "lo", "root")
