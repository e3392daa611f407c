# SPDX-License-Identifier: LGPL-2.1-or-later
"""A host with an nfs-ganesha that vsockfs-exportfs has told about guests, and a gateway."""

import ctypes
import os
import struct
import subprocess
import tempfile

from fixture import BUILD, Skip, program
from ganesha import Ganesha, Unavailable
from nfsraw import Client

LIBRARY = os.path.join(BUILD, "src", "gateway", "libvsockfs-signfh.so")


def disk(bench):
    """A directory on a real disk: ganesha needs file handles."""
    work = bench.stack.enter_context(
        tempfile.TemporaryDirectory(prefix="vsockfs-gw-", dir="/var/tmp"))
    os.chmod(work, 0o755)
    return work


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def read(path):
    with open(path) as f:
        return f.read()


def kernel_handle(path):
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) + bytes(128))
    mount = ctypes.c_int()
    assert libc.name_to_handle_at(-100, os.fsencode(path), buffer, ctypes.byref(mount), 0) == 0
    return buffer.raw[8:8 + struct.unpack_from("=I", buffer.raw)[0]]


class Told(Ganesha):
    """nfs-ganesha with the EXPORT blocks that vsockfs-exportfs prints."""

    def __init__(self, directory, blocks, probe, key):
        super().__init__(directory, probe)
        self.exports_text = blocks
        self.key = key

    def _start_once(self):
        # the fixture's own exports are replaced in the moment before the server reads them
        popen = subprocess.Popen

        def start(command, **more):
            conf = command[command.index("-f") + 1]
            text = read(conf)
            at = text.index("EXPORT {")
            write(conf, text[:at] + self.exports_text + text[text.index("LOG {"):])
            if self.key:
                more["env"] = dict(more["env"], LD_PRELOAD=LIBRARY, VSOCKFS_SIGNFH_KEY=self.key)
            return popen(command, **more)
        subprocess.Popen = start
        try:
            return super()._start_once()
        finally:
            subprocess.Popen = popen


def need_server():
    try:
        Ganesha.check()
    except Unavailable as why:
        raise Skip(str(why))


class Host:
    """
    Directories a and b on one file system, for the guests a and b; c is let in and sees nothing.
    `names` and `port`: what the rules call the guests and where they connect, if not the Unix
    sockets of the bench.
    """

    def __init__(self, bench, signed=True, names=None, port=2049):
        need_server()
        self.bench = bench
        self.top = disk(bench)
        self.names = names or {n: f"vsock:{bench.path(n)}" for n in "abc"}
        for name in "ab":
            os.mkdir(self.path(name))
            write(self.path(name, "file"), f"of {name}")
        write(self.path("secret"), "of the host")
        self.key = self.path("key")
        with open(self.key, "wb") as f:
            f.write(os.urandom(16))
        exports = self.path("exports")
        write(exports, "".join(f"{self.path(n)} {self.names[n]}(rw,insecure,no_root_squash)\n"
                               for n in "ab"))
        rules = self.path("rules")
        write(rules, self.rules(2049, port))
        blocks = subprocess.run(
            [program("vsockfs-exportfs"), "-n", "-s", "ganesha", "--signed", "-f", exports,
             "-c", rules], stdout=subprocess.PIPE, check=True, text=True).stdout
        self.server = Told(self.top, blocks, self.path("a"), self.key if signed else None)
        bench.stack.callback(self.server.stop)
        self.server.start()
        self.gateway = bench.gateway(self.rules(self.server.port, port))

    def rules(self, server_port, port):
        return f"server 127.0.0.1:{server_port}\nport {port}\n" + "".join(
            f"guest {name} address={self.address(guest)}\n" for guest, name in self.names.items())

    @staticmethod
    def address(guest):
        return f"127.0.1.{ord(guest) - ord('a') + 1}"

    def path(self, *parts):
        return os.path.join(self.top, *parts)

    def names_to(self, *parts):
        """Of each directory on the way from the server's root."""
        return self.path(*parts).strip("/").split("/")

    def client(self, guest, uid=0):
        return Client(self.bench.connect(guest), uid)
