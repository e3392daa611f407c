#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""copy_file_range(2): copied by a server that can, by the kernel where it cannot; whatever the server
says, a program is told of no byte that is not there."""

import errno
import fcntl
import os
import random
import signal
import subprocess

import nfsreply as nfs
from copying import OTHER_VERIFIER, Copying
from harness import Suite
from mounts import Mount
from proxy import CLOSE
from test_basic import read, write
from test_closes import requests
from test_stats import stats

suite = Suite()
KIB, MIB = 1 << 10, 1 << 20
DATA = random.Random(11).randbytes(9 * MIB)
SMALL = MIB + 5  # copied before it is answered; all of DATA is not
WITHIN = 60
FICLONE = 0x40049409


class Copier:
    """A mount whose server copies from `from` to `to`."""

    def __init__(self, env, size, options="nconnect=1,noac"):
        env.mount_count += 1
        point = os.path.join(env.work, f"{env.name}-copier{env.mount_count}")
        self.env, self.data = env, DATA[:size]
        write(env.on_disk("from"), self.data)
        write(env.on_disk("to"), b"old" * 1000)
        self.proxy = Copying(point + ".sock", env.port, env.on_disk("from"), env.on_disk("to"))
        env.stack.callback(self.proxy.stop)
        self.mount = env.stack.enter_context(
            Mount(env.suite.program(), f"unix:{self.proxy.path}:/export", point, options))
        self.dir = os.path.join(point, env.name)
        self.source = os.open(os.path.join(self.dir, "from"), os.O_RDONLY)
        self.target = os.open(os.path.join(self.dir, "to"), os.O_RDWR)

    def calls(self, *ops):
        told = stats(self.env, self.mount.point)["operations"]
        return [told.get(op, {"rpcs": 0})["rpcs"] for op in ops]

    def all_calls(self):
        """Those that keep a connection alive come when they like."""
        told = stats(self.env, self.mount.point)["operations"]
        return sum(told[op]["rpcs"] for op in told if op not in ("NULL", "SEQUENCE"))

    def copy(self, start=0, to=0, count=None):
        return os.copy_file_range(self.source, self.target, count or len(self.data), start, to)

    def whole(self, copied=True):
        """Copies all of it, and says whether the server did."""
        before = self.calls("READ", "WRITE") if copied else None
        done = self.copy()
        assert done == len(self.data), done
        if copied:
            assert self.calls("READ", "WRITE") == before
        # A child closes it while this process, in which the proxy is, stands still.
        os.fsync(self.target)
        assert read(self.env.on_disk("to")) == self.data
        assert os.pread(self.target, len(self.data) + 1, 0) == self.data


@suite.test("a small file is copied in one round trip")
def small(env):
    c = Copier(env, SMALL)
    before = sum(c.calls("COPY", "CLONE", "COMMIT", "OFFLOAD_STATUS"))
    c.whole()
    # CLONE is tried once
    assert sum(c.calls("COPY", "CLONE", "COMMIT", "OFFLOAD_STATUS")) == before + 2
    before = c.all_calls()
    assert c.copy(7, 100, 1000) == 1000
    assert c.all_calls() == before + 1
    assert c.calls("CLONE") == [1]
    assert c.proxy.copies == [(0, 0, SMALL, True), (7, 100, 1000, True)]
    assert os.pread(c.target, 1000, 100) == DATA[7:1007]


@suite.test("a whole small file is not: it has come with its open, and goes with what else it is given")
def with_the_open(env):
    c = Copier(env, 60 * KIB, "nconnect=1")
    before = c.calls("COPY", "CLONE")
    c.whole(copied=False)
    assert c.calls("COPY", "CLONE") == before
    assert c.copy(KIB, 0, KIB) == KIB
    assert len(c.proxy.copies) == 1


@suite.test("the data of a whole small file does not go through the kernel, which is given it when it is read")
def not_through_the_kernel(env):
    data = DATA[:50 * KIB]
    write(env.on_disk("from"), data)
    mount = env.mount("actimeo=60")
    top = os.path.join(mount.point, env.name)
    with requests(env, mount.point) as found:
        subprocess.run(["cp", f"{top}/from", f"{top}/to"], check=True)
    assert "COPY_FILE_RANGE" in found and "READ" not in found, found
    # what was gathered
    assert found.count("WRITE") == 1, found
    assert read(env.on_disk("to")) == data
    told = stats(env, mount.point)["operations"]
    assert "READ" not in told and "COPY" not in told, told
    assert read(f"{top}/from") == data and read(f"{top}/to") == data
    assert "READ" not in stats(env, mount.point)["operations"], "it did not come with the open"


@suite.test("a small file is copied to where it is to be")
def placed(env):
    data = DATA[:50 * KIB]
    for name in ("from", "to"):
        write(env.on_disk(name), data)
    mount = env.mount()
    top = os.path.join(mount.point, env.name)
    source, target = os.open(f"{top}/from", os.O_RDONLY), os.open(f"{top}/to", os.O_RDWR)
    assert os.copy_file_range(source, target, 1 << 30, 0, 4097) == len(data)
    os.close(target)
    assert read(env.on_disk("to")) == data[:4097] + data


@suite.test("what was written to a small file since its open is copied")
def written_since(env):
    data = DATA[:50 * KIB]
    expected = data[:1000] + b"new" + data[1003:]
    mount = env.mount("actimeo=60")
    top = os.path.join(mount.point, env.name)
    for synced in (False, True):
        name = f"from{synced}"
        write(env.on_disk(name), data)
        source = os.open(f"{top}/{name}", os.O_RDONLY)
        target = os.open(f"{top}/to", os.O_RDWR | os.O_CREAT)
        writer = os.open(f"{top}/{name}", os.O_WRONLY)
        os.pwrite(writer, b"new", 1000)
        if synced:
            os.fsync(writer)
        assert os.copy_file_range(source, target, 1 << 30, 0, 0) == len(data)
        os.close(target)
        assert read(env.on_disk("to")) == expected


@suite.test("a server that copies less than it is asked to is asked for the rest")
def short(env):
    c = Copier(env, SMALL)
    c.proxy.most = 300 * KIB
    c.whole()
    assert len(c.proxy.copies) == 4, c.proxy.copies


@suite.test("a large one goes on behind the answer, until the server calls")
def offloaded(env):
    c = Copier(env, len(DATA))
    for when in ("after", "before"):
        c.proxy.calls_back = when
        c.whole()
    assert c.proxy.copies == [(0, 0, len(DATA), False)] * 2
    assert c.proxy.polls == 0 and len(c.proxy.callback_replies) == 2
    # without saying of which copy: it is asked at once, and commits at the same time
    c.proxy.calls_back = "nameless"
    c.whole()
    assert c.proxy.polls == 1 and len(c.proxy.commits) == 1


@suite.test("a server that does not call is asked", timeout=120)
def polled(env):
    c = Copier(env, len(DATA))
    c.proxy.calls_back = None
    c.whole()
    assert c.proxy.polls == 2, c.proxy.polls
    assert len(c.proxy.copies) == 1


@suite.test("a server that calls and answers at once is asked no more", timeout=120)
def hinted(env):
    c = Copier(env, len(DATA))
    c.proxy.calls_back, c.proxy.calls_late = None, True
    c.whole()
    # once whether it is done, and once to commit
    assert c.proxy.polls == 2 and c.proxy.callbacks == 1, (c.proxy.polls, c.proxy.callbacks)


@suite.test("a server that cannot be asked is told to stop, and copies before it answers from then on",
            timeout=120)
def silent(env):
    c = Copier(env, len(DATA))
    c.proxy.calls_back, c.proxy.poll_answer = None, nfs.NOTSUPP
    c.whole()
    c.whole()
    assert (c.proxy.polls, c.proxy.cancels) == (1, 1), (c.proxy.polls, c.proxy.cancels)
    assert [copy[3] for copy in c.proxy.copies] == [False, True, True], c.proxy.copies


@suite.test("a copy that goes on may fail: the kernel sees what there is of it")
def failing(env):
    c = Copier(env, len(DATA), "nconnect=1,actimeo=600")
    os.ftruncate(c.target, len(DATA))
    assert os.pread(c.target, MIB, 6 * MIB) == bytes(MIB)
    # SERVERFAULT of the second piece, of which the kernel hears nothing
    c.proxy.most, c.proxy.results = 4 * MIB + 1, [0, 10006]
    assert c.copy() == c.proxy.most
    assert len(c.proxy.copies) == 2
    env.eventually(lambda: os.pread(c.target, MIB, 6 * MIB) == DATA[6 * MIB:7 * MIB], within=WITHIN)
    c.proxy.most = len(DATA)
    c.proxy.results = [10006]
    c.whole(copied=False)
    c.proxy.results = [28]
    env.fails(errno.ENOSPC, c.copy)


@suite.test("what the server has forgotten is copied again, and answered when that is done",
            timeout=120)
def forgotten(env):
    c = Copier(env, len(DATA))
    c.proxy.calls_back, c.proxy.poll_answer = None, nfs.BAD_STATEID
    c.whole()
    assert [copy[3] for copy in c.proxy.copies] == [False, True], c.proxy.copies


@suite.test("what a restart of the server took is copied again; always: EIO")
def lost(env):
    c = Copier(env, SMALL)
    c.proxy.verifiers = [OTHER_VERIFIER] * 2
    c.whole()
    assert len(c.proxy.copies) == 3
    c.proxy.verifiers = [OTHER_VERIFIER] * 100
    env.fails(errno.EIO, c.copy)
    # nobody need write what is there
    c.proxy.stable = 2
    c.whole()


@suite.test("errors of a full disk are told; what COPY cannot do the kernel does")
def errors(env):
    c = Copier(env, SMALL)
    for status, number in ((28, errno.ENOSPC), (69, errno.EDQUOT), (27, errno.EFBIG),
                           (5, errno.EIO)):
        c.proxy.statuses = [status]
        env.fails(number, c.copy)
    # INVAL, ACCESS, SERVERFAULT, OFFLOAD_DENIED: for this time
    for status in (22, 13, 10006, 10091):
        c.proxy.statuses = [status]
        c.whole(copied=False)
    c.whole()
    # after a part is there that is told
    c.proxy.most, c.proxy.statuses = 300 * KIB, [0, 28]
    assert c.copy() == 300 * KIB
    # for ever
    c.proxy.statuses = [nfs.NOTSUPP]
    before = len(c.proxy.copies)
    for _ in range(3):
        c.whole(copied=False)
    assert len(c.proxy.copies) == before + 1


@suite.test("a server that only copies before it answers is asked to")
def synchronous(env):
    c = Copier(env, len(DATA))
    c.proxy.asynchronous, c.proxy.statuses = "no", [nfs.OFFLOAD_NO_REQS]
    c.whole()
    assert [copy[3] for copy in c.proxy.copies] == [False, True]
    # or does so unasked
    c.proxy.asynchronous = False
    c.whole()
    assert [copy[3] for copy in c.proxy.copies[2:]] == [False]


@suite.test("a server that has copied more than it was asked to is not believed")
def liar(env):
    c = Copier(env, len(DATA))
    c.proxy.lies = 1
    env.fails(errno.EIO, c.copy)
    c.proxy.lies = 1 << 40
    env.fails(errno.EIO, c.copy)
    c.proxy.lies = 0
    c.whole()


@suite.test("a copy without end is cancelled when its program is killed", timeout=120)
def killed(env):
    c = Copier(env, len(DATA))
    c.proxy.calls_back, c.proxy.complete = None, False
    child = env.child(c.copy)
    env.eventually(lambda: c.proxy.polls > 0, within=WITHIN)
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    env.eventually(lambda: c.proxy.cancels == 1, within=WITHIN)
    c.proxy.calls_back = "after"
    c.whole()


@suite.test("nobody sees what was there before a copy whose program was killed", timeout=120)
def killed_at_the_end(env):
    c = Copier(env, SMALL, "nconnect=1,actimeo=600")
    assert os.pread(c.target, 3, 0) == b"old"
    c.proxy.free.clear()
    child = env.child(c.copy)
    env.eventually(lambda: c.proxy.copies, within=WITHIN)
    os.kill(child.pid, signal.SIGKILL)
    os.waitpid(child.pid, 0)
    c.proxy.free.set()
    env.eventually(lambda: read(env.on_disk("to")) == c.data, within=WITHIN)
    env.eventually(lambda: os.pread(c.target, SMALL, 0) == c.data, within=WITHIN)


@suite.test("a copy is as good when the stream breaks under it, or the session is lost", timeout=120)
def broken(env):
    small, large = (Copier(env, size) for size in (SMALL, len(DATA)))
    for c in (small, large):
        c.proxy.breaks = [CLOSE, CLOSE]
        c.whole()
        c.proxy.breaks = ["session"]
        c.whole()
    # what has become of a copy whose name was lost nobody knows
    assert [copy[3] for copy in large.proxy.copies] == [False] * 4 + [True]


@suite.test("whole blocks are cloned, the rest is copied")
def cloned(env):
    c = Copier(env, SMALL)
    c.proxy.clones = []
    c.whole()
    assert c.proxy.clones == [(0, 0, SMALL)] and not c.proxy.copies
    before = c.all_calls()
    assert c.copy(8 * KIB, 4 * KIB, 5 * KIB) == 4 * KIB
    assert c.all_calls() == before + 1
    assert c.copy(12 * KIB, 8 * KIB, KIB) == KIB
    assert c.copy(1, 4 * KIB, 4 * KIB) == 4 * KIB
    assert c.proxy.clones[1:] == [(8 * KIB, 4 * KIB, 4 * KIB)]
    assert c.proxy.copies == [(12 * KIB, 8 * KIB, KIB, True), (1, 4 * KIB, 4 * KIB, True)]
    assert os.pread(c.target, 5 * KIB, 4 * KIB) == DATA[1:4 * KIB + 1] + DATA[12 * KIB:13 * KIB]


@suite.test("cp has the server copy, and cannot insist on shared blocks")
def coreutils(env):
    c = Copier(env, SMALL)
    c.proxy.clones = []
    names = [os.path.join(c.dir, name) for name in ("from", "to")]
    before = c.calls("READ", "WRITE")
    subprocess.run(["cp", *names], check=True)
    assert c.calls("READ", "WRITE") == before
    assert read(env.on_disk("to")) == c.data
    assert len(c.proxy.clones) == 1, c.proxy.clones
    env.fails(errno.EOPNOTSUPP, fcntl.ioctl, c.target, FICLONE, c.source)


@suite.test("what was written and not sent is copied, and does not come back in the copy")
def gathered(env):
    for options in ("nconnect=1", "nconnect=1,noac"):
        c = Copier(env, SMALL, options)
        fd = os.open(os.path.join(c.dir, "from"), os.O_WRONLY)
        os.pwrite(fd, b"new", 10)
        os.pwrite(c.target, b"older", 0)
        c.data = DATA[:10] + b"new" + DATA[13:SMALL]
        assert c.copy() == SMALL
        assert len(c.proxy.copies) == 1
        # at once
        assert read(env.on_disk("to")) == c.data
        os.fsync(c.target)
        assert read(env.on_disk("to")) == c.data
        os.close(fd)


@suite.test("without COPY on the server, and within one file, the kernel copies")
def fallback(env):
    write(env.path("from"), DATA)
    source = os.open(env.path("from"), os.O_RDWR)
    target = os.open(env.path("to"), os.O_RDWR | os.O_CREAT)
    assert os.copy_file_range(source, target, len(DATA), 0, 0) == len(DATA)
    assert os.copy_file_range(source, target, 100, len(DATA), 0) == 0
    assert os.copy_file_range(source, source, 1000, 0, 5000) == 1000
    env.fails(errno.EINVAL, os.copy_file_range, source, source, 1000, 0, 500)
    assert os.pread(source, 1000, 5000) == DATA[:1000]
    for fd in (source, target):
        os.close(fd)
    assert read(env.on_disk("to")) == DATA
    # nor does the server between two mounts
    write(env.path("other"), DATA)
    c = Copier(env, len(DATA))
    c.source = os.open(env.path("other"), os.O_RDONLY)
    c.whole(copied=False)
    assert not c.proxy.copies
    for op in ("COPY", "CLONE"):
        assert stats(env, env.daemon.point)["operations"].get(op, {"rpcs": 0})["rpcs"] <= 1, op


if __name__ == "__main__":
    suite.main()
