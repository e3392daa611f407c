# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same work by vsockfs and by others, on the same server and over the same stream.

Every piece of work begins on a fresh mount, with the server warm, and nothing but the work is timed. The
contenders take turns, so that what disturbs the machine meets them all.
"""

import collections
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import threading
import time

import rows
from mounts import Mount, mountinfo

MIB = 1 << 20
SFTP_SERVER = "/usr/lib/openssh/sftp-server"
RANDOM_SECONDS = 2

# stream: what floor takes; port: of TCP; export: the server's directory; root: what it is called there
Server = collections.namedtuple("Server", "stream port export root")


class Absent(Exception):
    """A contender that this machine has not got: the text says why."""


def need(program, package):
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not path:
        raise Absent(f"no {program} (Debian package {package})")
    return path


def quiet(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Absent(f"{command[0]}: {done.stderr.strip()}")


class Contender:
    """One way to the files; `mounted` gives the directory where `directory` of the export is."""

    def __init__(self, server, build, work, options):
        self.server, self.build, self.work, self.options = server, build, work, options
        self.point = f"{work}/{self.name}"
        os.makedirs(self.point, exist_ok=True)


class Vsockfs(Contender):
    name = "vsockfs"

    @contextlib.contextmanager
    def mounted(self, directory):
        source = f"{self.server.stream}:{self.server.root}/{directory}"
        if self.server.stream.startswith("tcp:"):
            source = f"tcp:127.0.0.1:{self.server.port}:{self.server.root}/{directory}"
        with Mount(os.path.join(self.build, "src", "vsockfs"), source, self.point, self.options):
            yield self.point


class Kernel(Contender):
    """The kernel's NFSv4.2 client, over TCP."""
    name = "kernel"

    @contextlib.contextmanager
    def mounted(self, directory):
        need("mount.nfs4", "nfs-common")
        subprocess.run(["modprobe", "-q", "nfsv4"], check=False)
        quiet("mount", "-t", "nfs4", "-o", f"vers=4.2,proto=tcp,port={self.server.port}",
              f"127.0.0.1:{self.server.root}/{directory}", self.point)
        try:
            yield self.point
        finally:
            quiet("umount", self.point)


class Sshfs(Contender):
    """sshfs without ssh: its protocol over TCP, to the sftp-server of OpenSSH."""
    name = "sshfs"

    def _serve(self, listener):
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            subprocess.run([SFTP_SERVER], stdin=connection, stdout=connection, check=False)

    @contextlib.contextmanager
    def mounted(self, directory):
        need("sshfs", "sshfs")
        need(SFTP_SERVER, "openssh-sftp-server")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=self._serve, args=(listener,), daemon=True).start()
            quiet("sshfs", "-o", f"directport={listener.getsockname()[1]}",
                  f"127.0.0.1:{self.server.export}/{directory}", self.point)
            try:
                yield self.point
            finally:
                quiet("umount", self.point)


class Libnfs(Contender):
    """libnfs's asynchronous API, NFSv4.0 over TCP: a program that has no mount."""
    name = "libnfs"

    def run(self, what, path, *more):
        """(operations, seconds)"""
        url = (f"nfs://127.0.0.1{self.server.root.rstrip('/') or '/'}?version=4"
               f"&nfsport={self.server.port}")
        done = subprocess.run([os.path.join(self.build, "bench", "libnfs_work"), url, what,
                               f"/{path}", *map(str, more)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise Absent(done.stderr.strip())
        operations, seconds = done.stdout.split()
        return int(operations), float(seconds)


class Floor(Contender):
    """bench/floor: a daemon that does nothing that can be left undone, for one file."""
    name = "floor"

    @contextlib.contextmanager
    def mounted(self, directory):
        program = [os.path.join(self.build, "bench", "floor"), self.server.stream,
                   f"{self.server.root.rstrip('/')}/{directory}/large", self.point]
        process = subprocess.Popen(program, stdin=subprocess.DEVNULL)
        while not mountinfo(self.point):
            if process.poll() is not None:
                raise Absent(f"floor ends with status {process.returncode}")
            time.sleep(0.01)
        with open(f"/sys/class/bdi/{mountinfo(self.point)[0]}/read_ahead_kb", "w") as f:
            f.write("1024")  # as vsockfs has it
        try:
            yield self.point
        finally:
            quiet("umount", self.point)
            process.wait()


CONTENDERS = [Vsockfs, Kernel, Libnfs, Sshfs, Floor]
SMALL = [Vsockfs, Kernel]


def seconds_of(action, *args, **named):
    start = time.monotonic()
    action(*args, **named)
    return time.monotonic() - start


def write_whole(path, size):
    block = bytes(MIB)
    with open(path, "r+b", buffering=0) as out:
        for _ in range(size // MIB):
            out.write(block)
        os.fsync(out.fileno())


def read_whole(path):
    with open(path, "rb", buffering=0) as f:
        while f.read(MIB):
            pass


def random_reads(path, depth):
    """4 KiB reads a second past the page cache."""
    need("fio", "fio")
    engine = ["--ioengine=psync"] if depth == 1 else ["--ioengine=libaio", f"--iodepth={depth}"]
    done = subprocess.run(
        ["fio", "--name=r", f"--filename={path}", "--rw=randread", "--bs=4k", "--direct=1", *engine,
         "--time_based", f"--runtime={RANDOM_SECONDS}", "--output-format=json"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Absent(f"fio: {done.stderr.strip()}")
    return json.loads(done.stdout)["jobs"][0]["read"]["iops"]


# Each row's measure(contender, area) does it once and returns a speed; `unit` is the speed's.
Row = collections.namedtuple("Row", "name unit kind measure")


class Area:
    """A directory of the export, made anew for each piece of work on the server's disk."""
    name = "area"

    def __init__(self, export, scratch, size):
        self.path, self.scratch, self.size = f"{export}/{self.name}", scratch, size
        os.mkdir(self.path)
        rows.make_tree(f"{self.path}/src")
        rows.make_tree(f"{self.path}/repo")
        with open(f"{self.path}/large", "wb") as out:
            for _ in range(size // MIB):
                out.write(os.urandom(MIB))
        rows.run("tar", "cf", f"{scratch}/side.tar", "-C", self.path, "src")

    def without(self, *names):
        for name in names:
            rows.run("rm", "-rf", f"{self.path}/{name}")


def sequential_write(contender, area):
    if isinstance(contender, Libnfs):
        return area.size / MIB / contender.run("write", f"{area.name}/large", 32)[1]
    with contender.mounted(area.name) as root:
        return area.size / MIB / seconds_of(write_whole, f"{root}/large", area.size)


def sequential_read(contender, area):
    if isinstance(contender, Libnfs):
        return area.size / MIB / contender.run("read", f"{area.name}/large")[1]
    with contender.mounted(area.name) as root:
        return area.size / MIB / seconds_of(read_whole, f"{root}/large")


def random_at(depth):
    def measure(contender, area):
        if isinstance(contender, Libnfs):
            done, seconds = contender.run("random", f"{area.name}/large", depth, RANDOM_SECONDS)
            return done / seconds
        with contender.mounted(area.name) as root:
            return random_reads(f"{root}/large", depth)
    return measure


def once(contender, area, *command, cwd=""):
    with contender.mounted(area.name) as root:
        os.listdir(root)
        words = [word.replace("@", root) for word in command]
        return 1 / seconds_of(rows.run, *words, cwd=f"{root}/{cwd}" if cwd else "/")


def untar(contender, area):
    area.without("tar")
    os.mkdir(f"{area.path}/tar")
    return once(contender, area, "tar", "xf", f"{area.scratch}/side.tar", "-C", "@/tar")


def copy(contender, area):
    area.without("dst")
    return once(contender, area, "cp", "-r", "@/src", "@/dst")


def grep(contender, area):
    if isinstance(contender, Libnfs):
        return 1 / contender.run("tree", f"{area.name}/src", 1)[1]
    return once(contender, area, "grep", "-rc", "-m1", "", "@/src")


def remove(contender, area):
    """What was copied by the same way just before, delegations and all."""
    area.without("dst")
    with contender.mounted(area.name) as root:
        rows.run("cp", "-r", f"{root}/src", f"{root}/dst")
        return 1 / seconds_of(rows.run, "rm", "-rf", f"{root}/dst")


def git_add(contender, area):
    area.without("repo/.git")
    rows.run("git", "init", "-q", cwd=f"{area.path}/repo")
    return once(contender, area, "git", "add", ".", cwd="repo")


def git_status(contender, area):
    """The first one makes the index know the inode numbers of this way to the files."""
    rows.run("git", "commit", "--allow-empty", "-qm", "all", cwd=f"{area.path}/repo")
    once(contender, area, "git", "status", cwd="repo")
    return once(contender, area, "git", "status", cwd="repo")


BYTES = [
    Row("sequential write", "MiB/s", "bytes", sequential_write),
    Row("sequential read", "MiB/s", "bytes", sequential_read),
    Row("random 4 KiB, depth 1", "1/s", "bytes", random_at(1)),
    Row("random 4 KiB, depth 32", "1/s", "bytes", random_at(32)),
]
# in an order in which each finds what the one before has left
FILES = [
    Row("untar", "1/s", "files", untar),
    Row("cp -r", "1/s", "files", copy),
    Row("rm -rf", "1/s", "files", remove),
    Row("cold grep -r", "1/s", "files", grep),
    Row("git add", "1/s", "files", git_add),
    Row("cold git status", "1/s", "files", git_status),
]


def takes_part(contender, row):
    if row.kind == "bytes":
        return True
    return contender.name != "floor" and (contender.name != "libnfs" or row.measure is grep)


def compare(server, build, work, options="", word="", repeat=5, size=256 * MIB, tell=print,
            small=False):
    """tell(row name, contender name, speeds) as it goes; tell(None, contender name, why) without.
    `small`: small files alone, of vsockfs and the kernel's client."""
    area = Area(server.export, work, MIB if small else size)
    contenders = [kind(server, build, work, options) for kind in (SMALL if small else CONTENDERS)]
    chosen = [row for row in (FILES if small else BYTES + FILES) if word in row.name]
    for row in chosen:
        speeds = {c.name: [] for c in contenders if takes_part(c, row)}
        for _ in range(repeat):
            for contender in [c for c in contenders if c.name in speeds]:
                try:
                    speeds[contender.name].append(row.measure(contender, area))
                except Absent as why:
                    tell(row.name, contender.name, str(why))
                    del speeds[contender.name]
        for name, found in speeds.items():
            tell(row.name, name, found)
    rows.run("rm", "-rf", area.path)


def typical(side, icount):
    """The median; by a clock that goes by instructions the fastest, since what makes the same work slower
    there is a wait for the machine outside, during which the clock jumps."""
    of = max if icount else statistics.median
    return {name: {who: of(speeds) for who, speeds in found.items()}
            for name, found in side.items()}


def show(side, title, icount):
    """The table: vsockfs's speed, and how many times as fast it is as each of the others."""
    found = typical(side, icount)
    others = [kind.name for kind in CONTENDERS[1:]]
    print(f"\n{title:<26}{'vsockfs':>12}" + "".join(f"{'/ ' + name:>10}" for name in others))
    for row in BYTES + FILES:
        speeds = found.get(row.name, {})
        if "vsockfs" not in speeds:
            continue
        own = speeds["vsockfs"]
        told = f"{own:.0f} {row.unit}" if row.kind == "bytes" else f"{1 / own:.3f} s"
        print(f"{row.name:<26}{told:>12}" + "".join(
            f"{own / speeds[name]:>10.2f}" if name in speeds else f"{'-':>10}" for name in others))
    for line in verdicts(found):
        print(line)


def verdicts(found):
    """Which of the goals hold."""
    def ratios(wanted, other):
        return {row.name: found[row.name]["vsockfs"] / found[row.name][other] for row in wanted
                if {"vsockfs", other} <= found.get(row.name, {}).keys()}

    def verdict(goal, told, limit):
        low = [f"{name} {ratio:.2f}" for name, ratio in told.items() if ratio < limit]
        if not told:
            return f"  not measured: {goal}"
        return f"  {'does not hold' if low else 'holds'}: {goal}" + (f" ({', '.join(low)})"
                                                                   if low else "")

    small = ratios(FILES, "kernel")
    twice = [name for name, ratio in small.items() if ratio >= 2]
    if any(row.name in found for row in BYTES):
        yield verdict("at least 0.9 of the floor", ratios(BYTES, "floor"), 0.9)
        yield verdict("sequential at least 0.9 of the kernel's client",
                      ratios(BYTES[:2], "kernel"), 0.9)
    yield verdict("small files at least as fast as the kernel's client", small, 1)
    if small:
        yield (f"  {'holds' if len(twice) >= 3 else 'does not hold'}: twice as fast on three of "
               f"them ({', '.join(twice) or 'none'})")
