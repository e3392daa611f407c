#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guests with vsockfs, the gateway, and a real nfs-ganesha that vsockfs-exportfs has told about."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading

import hosts
import nfsraw
from fixture import BUILD, WAIT, eventually, program, run
from hosts import LIBRARY, disk, kernel_handle, need_server, read, write
from mounts import Mount, MountFailed, mountinfo
from nfsraw import Client, STALE

VSOCKFS = os.environ.get("VSOCKFS", os.path.join(BUILD, "src", "vsockfs"))


class Guest(Mount):
    """A mount that a test which failed does not wait for: its server may be gone."""

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.kill()
        elif mountinfo(self.point):
            self.umount()


class Host(hosts.Host):
    """With guests that mount."""

    def mount(self, guest, export):
        point = os.path.join(self.top, f"mnt-{guest}")
        mount = Guest(VSOCKFS, f"unix:{self.bench.path(guest)}_2049:{export}", point, "retry=0")
        return self.bench.stack.enter_context(mount)

    def refuses(self, guest, export):
        try:
            self.mount(guest, export)
        except MountFailed:
            return True
        return False


def own_exports_only(bench):
    """two guests see exactly their own exports, a third none, and a fourth is not let in"""
    host = Host(bench)
    a, b = host.mount("a", host.path("a")), host.mount("b", host.path("b"))
    assert read(os.path.join(a.point, "file")) == "of a"
    assert read(os.path.join(b.point, "file")) == "of b"
    write(os.path.join(a.point, "new"), "x" * 100000)
    assert read(host.path("a", "new")) == "x" * 100000
    for guest, export in (("a", "b"), ("b", "a"), ("c", "a"), ("c", "b")):
        assert host.client(guest).handle(*host.names_to(export)) is None
    assert host.refuses("c", host.path("a"))
    # not even the names of directories above
    assert host.client("a").handle("var", "tmp") and not host.client("c").handle("var")
    try:
        bench.connect("d")
        assert False, "a listener for a guest without a rule"
    except FileNotFoundError:
        pass


def forged_handles(bench):
    """a guest with another's handles, or handles of its own making, gets nothing"""
    host = Host(bench)
    a, b = host.client("a"), host.client("b")
    handle = a.handle(*host.names_to("a", "file"))
    of_b = b.handle(*host.names_to("b", "file"))
    assert a.read(handle) == b"of a"
    assert b.read(of_b) == b"of b"
    # another's, with its signature: the export is not ours
    assert isinstance(a.read(of_b), int)
    own = kernel_handle(host.path("a", "file"))
    assert own in handle
    for what in (("secret",), ("b", "file"), ("b",), ()):
        forged = handle.replace(own, kernel_handle(host.path(*what)))
        assert forged != handle
        assert a.read(forged) == STALE, what
    # into our export, with the signature of another file
    assert a.read(handle[:-8] + of_b[-8:]) == STALE
    swapped = handle.replace(own, kernel_handle(host.path("b", "file")))[:-8] + of_b[-8:]
    got = a.read(swapped)
    assert got in (b"of b", STALE) or isinstance(got, int)
    # every byte matters
    for i in range(len(handle)):
        changed = bytearray(handle)
        changed[i] ^= 0x40
        # bits without a meaning change nothing
        got = Client(bench.connect("a")).read(bytes(changed))
        assert got == b"of a" or isinstance(got, int), (i, got)
    assert a.read(handle) == b"of a"


def forged_owner(bench):
    """a guest that takes another's name as a client gets none of its files"""
    host = Host(bench)
    a, b = host.client("a"), host.client("b")
    of_b = b.handle(*host.names_to("b", "file"))
    assert b.become(b"the owner", b"verifier") == 0
    a.become(b"the owner", b"another!")  # refused, or the other's state is forgotten
    assert isinstance(a.read(of_b), int)
    assert a.handle(*host.names_to("b")) is None
    assert b.read(of_b) == b"of b"
    assert b.become(b"the owner", b"verifie2") == 0


class Wire:
    """Carries a guest's connections to its socket, and remembers what the guest has said."""

    def __init__(self, bench, guest):
        self.path = f"{bench.path(guest)}.wire"
        self.bench = bench
        self.guest = guest
        self.said = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        bench.stack.callback(self.listener.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                guest, server = self.listener.accept()[0], self.bench.connect(self.guest)
                server.settimeout(None)
                said = bytearray()
                self.said.append(said)
                for ends in ((guest, server, said), (server, guest, bytearray())):
                    threading.Thread(target=self.carry, args=ends, daemon=True).start()

    @staticmethod
    def carry(source, sink, said):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                said += data
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def calls(self, op):
        return [call for said in self.said for call in nfsraw.records(said)
                if (first := nfsraw.first_op(call)) and first[0] == op]


def guessed_owner(bench):
    """a guest that knows another's name as a client can disturb it, and nothing more"""
    host = Host(bench)
    wire = Wire(bench, "b")
    point = os.path.join(host.top, "mnt-wire")
    mount = bench.stack.enter_context(
        Guest(VSOCKFS, f"unix:{wire.path}:{host.path('b')}", point, "retry=0"))
    holder = Holder(bench, os.path.join(point, "kept"))
    assert holder.tell("one") == "ok"
    became = wire.calls(nfsraw.EXCHANGE_ID)
    a = host.client("a")
    assert a.pose(became[0], wire.calls(nfsraw.CREATE_SESSION)[0]) == 0
    # b's session is gone: it has to say who it is again, and goes on
    assert holder.tell(" two") == "ok"
    assert len(wire.calls(nfsraw.EXCHANGE_ID)) > len(became)
    assert read(host.path("b", "kept")) == "one two"
    of_b = host.client("b").handle(*host.names_to("b", "kept"))
    assert isinstance(a.read(of_b), int)
    assert a.handle(*host.names_to("b")) is None
    holder.close()
    mount.umount()


def unsigned_handles(bench):
    """without signatures a forged handle does read another's file: what the above rests on"""
    host = Host(bench, signed=False)
    a = host.client("a")
    handle = a.handle(*host.names_to("a", "file"))
    forged = handle.replace(kernel_handle(host.path("a", "file")),
                            kernel_handle(host.path("secret")))
    assert a.read(forged) == b"of the host"


class Holder:
    """A process that keeps a file of a mount open. It is one of its own: whoever starts a program
    closes what it inherits, and on a mount whose server is away that waits for the server."""

    SCRIPT = """import os, sys
with open(sys.argv[1], "a+") as f:
    for line in sys.stdin:
        if line == "read\\n":
            f.seek(0)
            print(f.read(), flush=True)
        else:
            f.write(line[:-1])
            f.flush()
            os.fsync(f.fileno())
            print("ok", flush=True)
"""

    def __init__(self, bench, path):
        self.process = subprocess.Popen(["/usr/bin/python3", "-c", self.SCRIPT, path], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        bench.stack.callback(self.close)

    def close(self):
        if self.process.returncode is None:
            self.process.stdin.close()
            self.process.wait(WAIT)
            self.process.stdout.close()

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")


class Told:
    """An nfs-ganesha whose configuration includes what vsockfs-exportfs writes."""

    def __init__(self, bench, guests):
        need_server()
        self.top = disk(bench)
        for name in ("etc", "run", "a", "b"):
            os.mkdir(os.path.join(self.top, name))
        for name in "ab":
            write(os.path.join(self.top, name, "file"), f"of {name}")
        write(os.path.join(self.top, "key"), "sixteen bytes...")
        write(os.path.join(self.top, "etc", "vsockfs.conf"), "")
        self.server = hosts.Told(self.top, f'%include "{self.top}/etc/vsockfs.conf"\n', self.top,
                                 os.path.join(self.top, "key"))
        bench.stack.callback(self.server.stop)
        self.server.start()
        self.rules = os.path.join(self.top, "rules")
        write(self.rules, bench.conf(type("Any", (), {"port": self.server.port}), *guests))
        write(os.path.join(self.top, "run", "ganesha.pid"), str(self.server.pid))
        shutil.copy(os.path.join(self.top, "ganesha.conf"), os.path.join(self.top, "etc"))

    def apply(self, exports):
        """As if the server were this machine's own; the program's end."""
        write(os.path.join(self.top, "exports"), exports)
        script = ('mount --bind "$1/etc" /etc/ganesha && mkdir -p /run/ganesha && '
                  'mount --bind "$1/run" /run/ganesha && shift && exec "$@"')
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", self.top, program("vsockfs-exportfs"),
             "-s", "ganesha", "-f", os.path.join(self.top, "exports"), "-c", self.rules],
            stderr=subprocess.PIPE, text=True)


def told_while_it_runs(bench):
    """vsockfs-exportfs tells a server that runs: what is new comes, what is gone goes, mounts stay"""
    told = Told(bench, (("a",), ("b",)))
    bench.gateway(read(told.rules))
    of = {n: f"{told.top}/{n} vsock:{bench.path(n)}(rw,insecure,no_root_squash)\n" for n in "ab"}

    def client_reads(guest, name):
        client = Client(bench.connect(guest))
        handle = client.handle(*f"{told.top}/{name}/file".strip("/").split("/"))
        return handle and client.read(handle)
    assert client_reads("a", "a") is None
    assert told.apply(of["a"]).returncode == 0
    eventually(lambda: client_reads("a", "a") == b"of a", "the first export")
    assert client_reads("b", "a") is None
    mount = bench.stack.enter_context(Guest(
        VSOCKFS, f"unix:{bench.path('a')}_2049:{told.top}/a", f"{told.top}/mnt", "retry=0"))
    holder = Holder(bench, f"{told.top}/mnt/kept")
    assert holder.tell("one") == "ok"
    done = told.apply(of["a"] + of["b"])
    assert done.returncode == 0, done.stderr
    eventually(lambda: client_reads("b", "b") == b"of b", "the second export")
    assert client_reads("a", "b") is None
    assert holder.tell(" two") == "ok"
    # an export of its own, seen by everybody: nothing is changed
    conf = f"{told.top}/etc/ganesha.conf"
    before = read(conf), read(f"{told.top}/etc/vsockfs.conf")
    write(conf, before[0] + "EXPORT { Export_Id = 1; Path = /; Pseudo = /all; }\n")
    done = told.apply(of["a"])
    assert done.returncode == 2 and "an export of its own" in done.stderr, done.stderr
    assert read(f"{told.top}/etc/vsockfs.conf") == before[1]
    write(conf, before[0])
    holder.close()
    mount.umount()
    assert told.apply(of["b"]).returncode == 0
    eventually(lambda: client_reads("a", "a") is None, "the end of the first export")
    assert client_reads("b", "b") == b"of b"


def server_restarts(bench):
    """a mount goes on after a restart of the server behind the gateway, and of the gateway"""
    host = Host(bench)
    a = host.mount("a", host.path("a"))
    holder = Holder(bench, os.path.join(a.point, "kept"))
    assert holder.tell("before") == "ok"
    port = host.server.port
    host.server.kill()
    host.server.start(port)
    assert holder.tell(" after") == "ok"
    host.gateway.stop()
    bench.gateway(read(host.gateway.conf))
    assert holder.tell(" again") == "ok"
    assert read(host.path("a", "kept")) == "before after again"
    holder.close()
    a.umount()


class Serving:
    """vsockfs-serve with these arguments, for the guest g."""

    def __init__(self, bench, directory, *args, env=None):
        self.process = subprocess.Popen(
            [program("vsockfs-serve"), "--unix", bench.path("g"), *args, directory],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=dict(os.environ, VSOCKFS_SIGNFH_LIBRARY=LIBRARY, **(env or {})))
        bench.stack.callback(self.process.stderr.close)
        bench.stack.callback(self.process.wait)
        bench.stack.callback(self.process.terminate)
        self.said = self.process.stderr.readline()

    def wait(self):
        return self.process.wait(WAIT)


def serve_mount(bench, top):
    return bench.stack.enter_context(Guest(
        VSOCKFS, f"unix:{bench.path('g')}_2049:/export", os.path.join(top, "mnt"), "retry=0"))


def serves(bench):
    """vsockfs-serve: edits on both sides, files are the owner's, forged handles are refused"""
    need_server()
    top = disk(bench)
    shared = os.path.join(top, "shared")
    os.mkdir(shared)
    os.chown(shared, 1234, 1235)
    write(os.path.join(shared, "file"), "one")
    write(os.path.join(top, "secret"), "of the host")
    serving = Serving(bench, shared)
    assert "is /export for guests" in serving.said, serving.said
    mount = serve_mount(bench, top)
    seen = os.path.join(mount.point, "file")
    assert read(seen) == "one"
    write(os.path.join(shared, "file"), "three, and longer")
    assert read(seen) == "three, and longer"
    write(os.path.join(mount.point, "made"), "by the guest's root")
    st = os.stat(os.path.join(shared, "made"))
    assert (st.st_uid, st.st_gid) == (1234, 1235), st
    connected = bench.connect("g")
    raw = Client(connected)
    assert raw.compound()[0] != 0, "NFSv4.0 has no sessions, and is not offered"
    # with the real network there is nothing
    listening = subprocess.run(["ss", "-Hltnp"], stdout=subprocess.PIPE, text=True).stdout \
        if os.path.exists("/usr/bin/ss") or os.path.exists("/bin/ss") else ""
    children = subprocess.run(["pgrep", "-P", str(serving.process.pid)], stdout=subprocess.PIPE,
                              text=True).stdout.split()
    assert len(children) == 1
    assert f"pid={children[0]}," not in listening
    mount.umount()
    serving.process.terminate()
    assert serving.wait() == 0
    assert not os.path.exists(f"/proc/{children[0]}")
    try:
        bench.connect("g")
        assert False, "somebody still listens"
    except (ConnectionRefusedError, FileNotFoundError):
        pass


def serves_again(bench):
    """a mount goes on when vsockfs-serve is started again: handles keep their signatures"""
    need_server()
    top = disk(bench)
    shared = os.path.join(top, "shared")
    os.mkdir(shared)
    write(os.path.join(shared, "file"), "one")
    first = Serving(bench, shared)
    mount = serve_mount(bench, top)
    holder = Holder(bench, os.path.join(mount.point, "file"))
    assert holder.tell("read") == "one"
    first.process.terminate()
    assert first.wait() == 0
    Serving(bench, shared)
    assert holder.tell(" two") == "ok"
    assert holder.tell("read") == "one two"
    assert read(os.path.join(shared, "file")) == "one two"
    holder.close()
    mount.umount()


def serves_read_only(bench):
    """vsockfs-serve --ro"""
    need_server()
    top = disk(bench)
    shared = os.path.join(top, "shared")
    os.mkdir(shared)
    Serving(bench, shared, "--ro")
    mount = serve_mount(bench, top)
    try:
        write(os.path.join(mount.point, "made"), "x")
        assert False, "written"
    except OSError as e:
        assert e.errno == 30, e


def serve_refuses(bench):
    """vsockfs-serve says what is missing, and leaves nothing behind"""
    need_server()
    top = disk(bench)
    for said, args, env in (
            ("No such file or directory", [top + "/none"], {}),
            ("Not a directory", ["/dev/null"], {}),
            ("refuses to export /proc", ["/proc"], {}),
            ("is not installed", [top], {"PATH": "/nonexistent"}),
            ("did not load /nonexistent.so", [top],
             {"VSOCKFS_SIGNFH_LIBRARY": "/nonexistent.so"})):
        env = dict(os.environ, VSOCKFS_SIGNFH_LIBRARY=LIBRARY, **env) if "PATH" in env else \
            {**os.environ, "VSOCKFS_SIGNFH_LIBRARY": LIBRARY, **env}
        done = subprocess.run([program("vsockfs-serve"), "--unix", bench.path("g"), *args],
                              env=env, stderr=subprocess.PIPE, text=True, timeout=WAIT * 2)
        assert done.returncode == 2, done
        assert said in done.stderr, done.stderr
        assert not os.path.exists(bench.path("g") + "_2049")
    done = subprocess.run([program("vsockfs-serve"), "--unix", bench.path("g"), top], user=65534,
                          stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "needs root" in done.stderr, done.stderr


TESTS = [own_exports_only, forged_handles, forged_owner, guessed_owner, unsigned_handles, told_while_it_runs, server_restarts, serves,
         serves_again, serves_read_only, serve_refuses]

if __name__ == "__main__":
    wanted = sys.argv[sys.argv.index("-k") + 1] if "-k" in sys.argv else ""
    run([t for t in TESTS if wanted in t.__name__])
