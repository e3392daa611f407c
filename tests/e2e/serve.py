#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server to try vsockfs against, until SIGTERM.

    serve.py DIR

Exports DIR/export by nfs-ganesha, over AF_VSOCK where this machine can connect to itself, else over
the Unix socket DIR/sock. DIR/source says what to mount, DIR/over by what stream that is, and
DIR/pid, written last, whom to stop.
"""

import os
import signal
import socket
import subprocess
import sys

from ganesha import Ganesha, Unavailable
from harness import start_relay

NFS_PORT = 2049
LOCAL = 1  # VMADDR_CID_LOCAL


def vsock_relay(tcp_port):
    """(relay, None) when a connection to ourselves comes through, else (None, why not)."""
    subprocess.run(["modprobe", "-q", "vsock_loopback"], check=False)
    relay = None
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as s:
            s.bind((LOCAL, NFS_PORT))  # for the reason, which the relay keeps to itself
        relay = start_relay(f"vsock:{LOCAL}:{NFS_PORT}", tcp_port)
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as s:
            s.settimeout(2)
            s.connect((LOCAL, NFS_PORT))
        return relay, None
    except (OSError, RuntimeError) as e:
        if relay:
            relay.kill()
        return None, getattr(e, "strerror", None) or str(e)


def write(directory, name, text):
    with open(os.path.join(directory, name), "w") as f:
        f.write(text + "\n")


def main():
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    directory = os.path.abspath(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = Ganesha(directory, os.path.join(directory, "export"))
    relay = None
    try:
        server.start()
        relay, why = vsock_relay(server.port)
        if relay:
            write(directory, "source", f"{LOCAL}:/export")
            write(directory, "over", "AF_VSOCK, through vsock_loopback")
        else:
            relay = start_relay(f"unix:{directory}/sock", server.port)
            write(directory, "source", f"unix:{directory}/sock:/export")
            write(directory, "over", f"a Unix socket, as there is no vsock loopback here: {why}")
        write(directory, "pid", str(os.getpid()))
        signal.pause()
    except (Unavailable, RuntimeError) as e:
        raise SystemExit(f"serve: {e}")
    finally:
        if relay:
            relay.kill()
        server.stop()


if __name__ == "__main__":
    main()
