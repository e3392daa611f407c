#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carries byte streams from a Unix-domain or AF_VSOCK listener to a TCP port of 127.0.0.1.

    relay.py unix:/path/to/socket PORT
    relay.py vsock:CID:LISTENPORT PORT       CID is our own to listen on; -1 is any

SIGUSR1 cuts all streams that there are. This is how a server that speaks TCP only is mounted through the streams that vsockfs is made for.
Prints "ready" once it listens; ends on SIGTERM.
"""

import os
import signal
import socket
import sys
import threading

CHUNK = 1 << 20

streams = set()


def listen(where):
    kind, _, rest = where.partition(":")
    if kind == "vsock":
        s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        cid, _, port = rest.partition(":")
        s.bind((int(cid) & 0xffffffff, int(port)))
    elif kind == "unix":
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.unlink(rest)
        except FileNotFoundError:
            pass
        s.bind(rest)
        os.chmod(rest, 0o666)  # unprivileged users mount too
    else:
        raise SystemExit(f"relay: {where}: not unix:PATH or vsock:CID:PORT")
    s.listen(64)
    return s


def pump(source, sink):
    buffer = memoryview(bytearray(CHUNK))
    try:
        while n := source.recv_into(buffer):
            sink.sendall(buffer[:n])
    except OSError:
        pass
    for s, how in ((sink, socket.SHUT_WR), (source, socket.SHUT_RD)):
        try:
            s.shutdown(how)
        except OSError:
            pass


def carry(client, port):
    with client:
        try:
            server = socket.create_connection(("127.0.0.1", port))
        except OSError:
            return  # as a vsock that nobody listens on
        with server:
            streams.update((client, server))
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join()
            streams.difference_update((client, server))


def cut(*_):
    for s in list(streams):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main():
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    signal.signal(signal.SIGUSR1, cut)
    listener = listen(sys.argv[1])
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=carry, args=(client, int(sys.argv[2])), daemon=True).start()


if __name__ == "__main__":
    main()
