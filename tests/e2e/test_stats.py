#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""vsockfsctl's counters against the wire, and what a mount costs."""

import json
import os
import re
import signal
import subprocess
import time
from collections import Counter

from ganesha import rpc_null
from harness import Skip, Suite, build_path, need
from test_basic import read, write

suite = Suite(transport="tcp")
CALL, REPLY = "0", "1"
COMPOUND = "1"


def vsockfsctl():
    return os.environ.get("VSOCKFSCTL", build_path("src", "ctl", "vsockfsctl"))


def stats(env, point):
    return json.loads(env.run([vsockfsctl(), "stats", "--json", point]))


class Capture:
    """tshark's view of one TCP port of the loopback interface."""

    def __init__(self, env):
        need("tshark", "dumpcap")
        self.env = env
        self.file = env.scratch("capture.pcapng")
        self.process = subprocess.Popen(
            ["dumpcap", "-q", "-B", "64", "-i", "lo", "-f", f"tcp port {env.port}", "-w",
             self.file], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        words = ""
        while "File:" not in words:
            line = self.process.stderr.readline()
            if not line:
                raise Skip(f"dumpcap cannot capture: {words.strip()}")
            words += line
        # the file is open a little before packets come in
        self.env.eventually(lambda: rpc_null(env.port) and self.packets(), within=10,
                            what="a captured packet")

    def packets(self):
        return os.path.getsize(self.file) > 1000

    def stop(self):
        before = os.path.getsize(self.file)
        rpc_null(self.env.port)  # a last packet, after which all others are in the file
        self.env.eventually(lambda: os.path.getsize(self.file) > before, within=10,
                            what="the last packet")
        self.process.send_signal(signal.SIGINT)
        self.process.wait(10)

    def fields(self, display_filter, *names):
        """For each packet one list of values (which may be several) for each field."""
        words = ["tshark", "-r", self.file, "-d", f"tcp.port=={self.env.port},rpc", "-Y",
                 display_filter, "-T", "fields", "-E", "occurrence=a"]
        for name in names:
            words += ["-e", name]
        # what else it prints is a warning that it runs as root
        return [[field.split(",") for field in line.split("\t")]
                for line in self.env.run(words).splitlines() if line.count("\t") == len(names) - 1]

    def compounds(self, kind):
        """(stream, xid) of every COMPOUND call or reply of NFSv4."""
        found = []
        for streams, kinds, xids, procedures in self.fields(
                "rpc", "tcp.stream", "rpc.msgtyp", "rpc.xid", "rpc.procedure"):
            found += [(streams[0], xid) for k, xid, procedure in zip(kinds, xids, procedures)
                      if (k, procedure) == (kind, COMPOUND)]
        return found

    def payload(self, direction, streams):
        """Bytes of these streams to ("dst") or from ("src") the server."""
        return sum(int(lengths[0]) for stream, lengths in self.fields(
            f"tcp.{direction}port=={self.env.port} && tcp.len>0 && !tcp.analysis.retransmission",
            "tcp.stream", "tcp.len") if stream[0] in streams)


def settled(env, point):
    """The counters once nothing is under way any more."""
    while True:
        before = stats(env, point)
        time.sleep(0.3)
        after = stats(env, point)
        if before["total"] == after["total"] and after["total"]["rpcs"] == \
                after["total"]["replies"]:
            return after


def work(root):
    os.mkdir(f"{root}/d")
    for i in range(50):
        write(f"{root}/d/f{i}", b"x" * i * 1000)
    for i in range(50):
        assert len(read(f"{root}/d/f{i}")) == i * 1000
        os.rename(f"{root}/d/f{i}", f"{root}/d/g{i}")
    write(f"{root}/large", os.urandom(5_000_000))
    read(f"{root}/large")
    os.listdir(f"{root}/d")
    os.symlink("x", f"{root}/l")
    for i in range(50):
        os.stat(f"{root}/d/g{i}")
        os.unlink(f"{root}/d/g{i}")
    os.rmdir(f"{root}/d")


def exact(env, options):
    capture = Capture(env)
    with suite.new_mount(os.path.join(env.work, f"{env.name}-counted"), options) as mount:
        work(os.path.join(mount.point, env.name))
        told = settled(env, mount.point)
        capture.stop()
    calls, replies = capture.compounds(CALL), capture.compounds(REPLY)
    total = told["total"]
    assert total["rpcs"] == len(calls), (total["rpcs"], len(calls))
    assert total["replies"] == len(replies), (total["replies"], len(replies))
    assert sum(op["rpcs"] for op in told["operations"].values()) == len(calls)
    assert len(set(calls)) == len(calls), "an xid was used twice"
    assert total["retransmissions"] == 0 and told["reconnects"] == 0, told
    streams = {stream for stream, _ in calls}
    assert told["connects"] == len(streams), (told["connects"], streams)
    assert total["bytes_out"] == capture.payload("dst", streams)
    assert total["bytes_in"] == capture.payload("src", streams)


@suite.test("RPCs and replies that vsockfsctl counts are those on the wire", timeout=90)
def one_connection(env):
    exact(env, "nconnect=1")


@suite.test("the same over four connections", timeout=90)
def four_connections(env):
    exact(env, "nconnect=4")


@suite.test("stats are printed for people, as JSON and as mountstats, and only of a vsockfs mount")
def forms(env):
    work(env.mnt)
    table = env.run([vsockfsctl(), "stats", env.root])
    assert "LOOKUP" in table and "total" in table
    told = stats(env, env.root)
    assert told["source"] == suite.source() and told["mountpoint"] == env.root
    assert {"OPEN", "READ", "WRITE", "REMOVE"} <= told["operations"].keys(), told["operations"]
    assert "per-op statistics" in env.run([vsockfsctl(), "stats", "--mountstats", env.root])
    for place, word in ((env.work, "not a mount point"), ("/proc", "not of vsockfs")):
        done = subprocess.run([vsockfsctl(), "stats", place], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
        assert done.returncode != 0 and word in done.stderr.decode(), done


def rpcs_of(env, action):
    before = settled(env, env.root)["operations"]
    action()
    after = settled(env, env.root)["operations"]
    counts = {name: after[name]["rpcs"] - before.get(name, {"rpcs": 0})["rpcs"] for name in after}
    return {name: n for name, n in counts.items() if n}


@suite.test("what is cached costs no round trip: stat and open twice, reread, missing names")
def cached(env):
    write(env.path("f"), b"x" * 200_000)
    read(env.path("f"))

    def again():
        for _ in range(50):
            os.stat(env.path("f"))
            assert not os.path.exists(env.path("missing"))
    os.path.exists(env.path("missing"))
    os.stat(env.path("f"))
    told = rpcs_of(env, again)
    assert sum(told.values()) <= 6, told  # the second's end may fall in between
    told = rpcs_of(env, lambda: [read(env.path("f")) for _ in range(10)])
    assert told.get("READ", 0) <= 1, f"data was fetched again: {told}"


def polls(env, mount):
    told = stats(env, mount.point)
    assert told["busy_polls_found"] <= told["busy_polls"], told
    return told["busy_polls"]


def ask(mount, times):
    for _ in range(times):
        os.stat(mount.point)


def slept(pid):
    """How often the daemon's threads have gone to sleep, or had to wait for a CPU."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as f:
            total += sum(map(int, re.findall(r"ctxt_switches:\s*(\d+)", f.read())))
    return total


@suite.test("workers look for events before they sleep, and an idle mount does not")
def busy_polls(env):
    if len(os.sched_getaffinity(0)) < 2:
        raise Skip("there is only one CPU")
    with suite.new_mount(env.scratch("polls"), "actimeo=0,fuse_uring=off") as mount:
        ask(mount, 500)
        if stats(env, mount.point)["loop"] != "io_uring":
            raise Skip("there is no io_uring here")
        time.sleep(2.5)  # timers of what was used run out
        before, switches = polls(env, mount), slept(mount.process.pid)
        time.sleep(3)
        told, switched = polls(env, mount), slept(mount.process.pid)
    assert before > 0, before
    assert told == before, (before, told)
    assert switched - switches < 60, switched - switches


@suite.test("busy_poll=0, one CPU, poll(2): workers sleep at once")
def no_busy_polls(env):
    for options, cpus in (("busy_poll=0", 2), ("io=poll", 2), ("", 1)):
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, sorted(allowed)[:cpus])
        try:
            with suite.new_mount(env.scratch("none"), f"actimeo=0,{options}".rstrip(",")) as mount:
                ask(mount, 200)
                assert polls(env, mount) == 0, options
        finally:
            os.sched_setaffinity(0, allowed)


@suite.test("an idle mount takes less than 16 MiB")
def memory(env):
    if env.slowness() > 1:
        raise Skip("sanitizers need memory of their own")
    with suite.new_mount(os.path.join(env.work, f"{env.name}-idle")) as mount:
        os.listdir(mount.point)
        with open(f"/proc/{mount.process.pid}/status") as f:
            kib = int(re.search(r"VmRSS:\s*(\d+)", f.read())[1])
    assert kib < 16 * 1024, f"{kib} KiB"


if __name__ == "__main__":
    suite.main()
