#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What vsockfsctl shows of a mount at work: status, slow requests, captures, rates."""

import contextlib
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time

from harness import Suite, build_path, need
from mounts import mountinfo
from test_basic import read, write

suite = Suite()
SECRET = b"what is in a file is nobody else's business. "


def vsockfsctl():
    return os.environ.get("VSOCKFSCTL", build_path("src", "ctl", "vsockfsctl"))


def ctl(env, *words, point=None):
    return env.run([vsockfsctl(), *words, point or env.root])


def status(env, point=None):
    return json.loads(ctl(env, "status", "--json", point=point))


@contextlib.contextmanager
def silence(env):
    """The server says nothing meanwhile."""
    os.kill(env.suite.relay.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(env.suite.relay.pid, signal.SIGCONT)


def await_control(env, point):
    """The control socket is there a little after the mount."""
    env.eventually(lambda: subprocess.run([vsockfsctl(), "status", point], stdin=subprocess.DEVNULL,
                                          stdout=subprocess.DEVNULL,
                                          stderr=subprocess.DEVNULL).returncode == 0,
                   within=20, what="the control socket")


def capture(env, action, *options, point=None):
    """The file that holds what went over the wire during action()."""
    path = env.scratch("capture.pcapng")
    await_control(env, point or env.root)
    ctl(env, "capture", *options, path, point=point)
    action()
    ctl(env, "capture", "stop", point=point)
    return path


def dissect(env, path, display_filter, *fields):
    """tshark's fields of each packet, after it has read all of them once."""
    words = ["tshark", "-2", "-r", path, "-Y", display_filter, "-T", "fields", "-E",
             "occurrence=a"]
    for field in fields:
        words += ["-e", field]
    # what else it prints is a warning that it runs as root
    return [line.split("\t") for line in env.run(words).splitlines()
            if line.count("\t") == len(fields) - 1 and "Running as user" not in line]


def work(env, root):
    os.mkdir(f"{root}/d")
    for i in range(10):
        write(f"{root}/d/f{i}", SECRET * (i + 1))
        os.rename(f"{root}/d/f{i}", f"{root}/d/g{i}")
    write(f"{root}/large", SECRET * 60_000)
    ctl(env, "drop", point=env.root)
    assert read(f"{root}/large") == SECRET * 60_000
    assert read(f"{root}/d/g3") == SECRET * 4
    os.listdir(f"{root}/d")


@suite.test("status tells of session, connections, open files, locks and options, in both forms")
def tells_status(env):
    write(env.path("f"), b"x")
    with open(env.path("f"), "r+b") as f:
        fcntl.lockf(f, fcntl.LOCK_EX, 10)
        told = status(env)
        people = ctl(env, "status")
    assert told["mountpoint"] == env.root and told["source"] == suite.source()
    assert told["client"]["state"] == "ready" and told["client"]["session_alive"]
    assert re.fullmatch("[0-9a-f]{32}", told["client"]["session"])
    assert told["pid"] == env.daemon.process.pid, told
    assert all(c["state"] == "up" for c in told["connections"]), told
    assert told["opens"]["all"] >= 1 and told["locks"] == {
        "owners": 1, "ranges": 1, "stale": 0, "lost": 0}, told
    assert "hard" in told["options"].split(",") and told["inodes"] >= 2
    assert told["requests"]["count"] == 0 and told["log"] == "info"
    assert "1 ranges of 1 owners" in people and told["client"]["session"] in people, people
    ctl(env, "log", "debug")
    assert status(env)["log"] == "debug"
    ctl(env, "log", "info")
    assert status(env)["log"] == "info"


@suite.test("while the server is silent status says so, and trace tells of the request afterwards")
def silent(env):
    write(env.path("f"), b"x")
    with silence(env):
        trace = subprocess.Popen([vsockfsctl(), "trace", "--slower", "300", env.root],
                                 stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        time.sleep(0.5)  # until it has asked for the first time
        child = env.child(os.mkdir, env.path("slow one"))
        env.eventually(lambda: status(env)["requests"]["oldest_ns"] > 1e9, within=20,
                       what="an old request")
        told = status(env)
    assert told["requests"]["count"] == 1, told
    assert told["requests"]["oldest"] in ("LOOKUP", "MKDIR", "GETATTR"), told
    assert any(c["sent"] > 0 and c["silence_ns"] > 0 for c in told["connections"]), told
    child.join()
    try:
        line = trace.stdout.readline()
    finally:
        trace.kill()
        trace.wait()
    found = re.match(r"\d\d:\d\d:\d\d\.\d{6} +(\d+\.\d{3}) ms  (LOOKUP|MKDIR|GETATTR) ", line)
    assert found and float(found[1]) >= 300, line
    assert re.search(r"python3?\S*\[\d+\]", line) and "1 RPC " in line, line
    if found[2] != "GETATTR":
        assert '"slow\\x20one" in inode' in line, line


@contextlib.contextmanager
def stopped(thread):
    """This one thread of a daemon does not run meanwhile: its tracer has stopped it."""
    attach, detach, wall = 16, 17, 0x40000000
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
    assert libc.ptrace(attach, thread, None, None) == 0, os.strerror(ctypes.get_errno())
    os.waitpid(thread, wall)
    try:
        yield
    finally:
        libc.ptrace(detach, thread, None, None)


def workers(pid):
    """The threads of a daemon's workers, in their order: only they wait for a ring, or by ppoll."""
    found = []
    for thread in sorted(map(int, os.listdir(f"/proc/{pid}/task"))):
        with open(f"/proc/{pid}/task/{thread}/syscall") as f:
            if f.read().split()[0] in ("426", "271"):
                found.append(thread)
    return found


@suite.test("status names a worker that does not answer, and tells what the others know", timeout=60)
def wedged(env):
    mount = env.mount("nconnect=2")
    await_control(env, mount.point)
    told = status(env, mount.point)
    assert [c["answers"] for c in told["connections"]] == [True, True], told
    env.eventually(lambda: len(workers(told["pid"])) == 2, within=20, what="two workers that wait")
    threads = workers(told["pid"])
    with stopped(threads[1]):
        for _ in range(2):
            told = status(env, mount.point)
            assert [c["answers"] for c in told["connections"]] == [True, False], told
        assert told["client"]["state"] == "ready"
        assert "connection 1 its worker does not answer" in ctl(env, "status", point=mount.point)
    with stopped(threads[0]):
        told = status(env, mount.point)
        assert told["client"] is None and not told["connections"][0]["answers"], told
        assert "not known" in ctl(env, "status", point=mount.point)
    env.eventually(lambda: all(c["answers"] for c in status(env, mount.point)["connections"]),
                   within=20, what="answers of all workers")


def crowd(root):
    """More than one worker can have alone."""
    def make(n):
        for i in range(6):
            os.mkdir(f"{root}/crowd{n}.{i}")
    threads = [threading.Thread(target=make, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@suite.test("a capture is NFS to tshark: each call with its reply, nothing malformed, no file's data",
            timeout=60)
def captured(env):
    need("tshark")
    mount = env.mount("nconnect=2")
    root = os.path.join(mount.point, env.name)
    path = capture(env, lambda: (work(env, root), crowd(root)), point=mount.point)
    assert os.stat(path).st_mode & 0o777 == 0o600
    with open(path, "rb") as f:
        content = f.read()
    assert SECRET[:20] not in content
    assert b"large" in content
    assert len(content) < 200_000, len(content)
    packets = dissect(env, path, "frame", "frame.number")
    assert not dissect(env, path, "_ws.malformed || tcp.analysis.lost_segment || tcp.analysis.flags",
                       "frame.number", "_ws.expert.message")
    calls = dissect(env, path, "rpc.msgtyp == 0", "frame.number", "nfs.opcode")
    assert len(calls) > 60 and len(packets) >= 2 * len(calls), len(calls)
    operations = {int(op) for call in calls for op in call[1].split(",") if op}
    # LOOKUP, OPEN, READ, READDIR, RENAME, SEQUENCE, WRITE
    assert {15, 18, 25, 26, 29, 53, 38} <= operations, operations
    streams = dissect(env, path, "rpc", "tcp.stream")
    assert {s[0] for s in streams} == {"0", "1"}, streams
    for stream in ("0", "1"):
        asked = dissect(env, path, f"tcp.stream == {stream} && rpc.msgtyp == 0", "rpc.xid")
        told = dissect(env, path, f"tcp.stream == {stream} && rpc.msgtyp == 1", "rpc.xid")
        xids = [x for row in asked for x in row[0].split(",")]
        assert len(set(xids)) == len(xids)
        assert sorted(xids) == sorted(x for row in told for x in row[0].split(",")), stream


@suite.test("with --data it has the data, reassembled, and --snaplen cuts each packet")
def captured_data(env):
    need("tshark")
    data = os.urandom(300_000)

    def action():
        write(env.path("f"), data)
    path = capture(env, action, "--data")
    with open(path, "rb") as f:
        assert data[100_000:100_100] in f.read()
    assert not dissect(env, path, "_ws.malformed || _ws.short", "frame.number", "frame.len")
    lengths = [int(n) for row in dissect(env, path, "nfs.opcode == 38 && rpc.msgtyp == 0",
                                         "frame.number", "nfs.write.data_length")
               for n in row[1].split(",") if n]
    assert sum(lengths) == len(data), lengths
    os.unlink(env.path("f"))
    path = capture(env, action, "--data", "--snaplen", "128")
    kept = [int(row[1]) for row in dissect(env, path, "frame", "frame.number", "frame.cap_len")]
    assert max(kept) == 128, kept


def make_until(path, seen):
    for i in range(25):
        os.mkdir(f"{path} {i}")
        if seen.wait(1):
            return


@suite.test("a capture to a pipe is read while it goes on, and ends with its reader or its asker")
def live(env):
    need("tshark")
    with contextlib.ExitStack() as stack:
        asker = subprocess.Popen([vsockfsctl(), "capture", "-", env.root],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        stack.callback(asker.wait)
        stack.callback(asker.kill)
        reader = subprocess.Popen(["tshark", "-l", "-r", "-", "-Y", "nfs"], stdin=asker.stdout,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        stack.callback(reader.wait)
        stack.callback(reader.kill)
        asker.stdout.close()
        env.eventually(lambda: "capturing" in ctl(env, "capture", "status"), within=20)
        seen = threading.Event()
        # tshark may take the first ones for parts of what it has not seen the beginning of
        maker = threading.Thread(target=make_until, args=(env.path("while it runs"), seen))
        maker.start()
        stack.callback(maker.join)
        stack.callback(seen.set)
        for line in reader.stdout:
            if "while it runs" in line:
                break
        else:
            raise AssertionError("tshark has not seen it")
        seen.set()
        done = subprocess.run([vsockfsctl(), "capture", env.scratch("second"), env.root],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == 2 and "under way" in done.stdout, done
        asker.send_signal(signal.SIGINT)
        assert asker.wait(20) == 0
        assert reader.wait(20) == 0
    assert "no capture" in ctl(env, "capture", "status")

    done = subprocess.run(["/bin/sh", "-c", f"{vsockfsctl()} capture - {env.root} | head -c 200"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert len(done.stdout) == 200
    assert "no capture" in ctl(env, "capture", "status")


@suite.test("a capture shows how connections end and begin again, and is not written to the mount")
def reconnects(env):
    need("tshark")
    write(env.path("f"), b"x")
    mount = env.mount("nconnect=1")
    await_control(env, mount.point)
    done = subprocess.run([vsockfsctl(), "capture", os.path.join(mount.point, env.name, "x"),
                           mount.point], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 2 and "cannot go to a file on it" in done.stdout, done
    server = env.server()
    mount = server.mount("nconnect=1")

    def action():
        server.restart()
        os.listdir(mount.point)
    path = capture(env, action, point=mount.point)
    assert not dissect(env, path, "_ws.malformed", "frame.number", "frame.len")
    assert dissect(env, path, "tcp.flags.reset == 1", "frame.number", "frame.len")
    assert dissect(env, path, "tcp.flags.syn == 1 && tcp.flags.ack == 0", "frame.number",
                   "frame.len")
    # CREATE_SESSION
    assert dissect(env, path, "nfs.opcode == 43", "frame.number", "frame.len")


@suite.test("watch shows rates, stats the longest time, and mountstats(8) reads what is printed")
def rates(env):
    watch = subprocess.Popen([vsockfsctl(), "watch", "--interval", "1", "--count", "1", env.root],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while watch.poll() is None:
        assert time.monotonic() < deadline
        os.mkdir(env.path("d"))
        os.rmdir(env.path("d"))
    text = watch.stdout.read()
    assert watch.returncode == 0
    row = re.search(r"^CREATE +(\S+) ", text, re.M)
    assert row and float(row[1]) > 0 and re.search(r"^total ", text, re.M), text
    told = json.loads(ctl(env, "stats", "--json"))["operations"]["CREATE"]
    assert 0 < told["max_ns"] <= told["total_ns"] and \
        told["max_ns"] * told["rpcs"] >= told["total_ns"], told
    need("mountstats")
    path = env.scratch("mountstats")
    with open(path, "w") as f:
        f.write(ctl(env, "stats", "--mountstats"))
    for mode in ("mountstats", "iostat"):
        assert "CREATE" in env.run(["mountstats", mode, "-f", path]) or mode == "iostat"


@suite.test("drop makes the next read and the next lookup ask the server")
def drops(env):
    def rpcs(*operations):
        told = json.loads(ctl(env, "stats", "--json"))["operations"]
        return sum(told[operation]["rpcs"] for operation in operations if operation in told)
    write(env.path("f"), b"x" * 100_000)  # too long to come with OPEN
    with open(env.path("f"), "rb", buffering=0) as f:
        f.read(100_000)
        before = rpcs("READ")
        f.seek(0)
        f.read(100_000)
        assert rpcs("READ") == before, "nothing was cached"
        lookups = rpcs("LOOKUP", "READDIR")  # which may be read instead
        said = ctl(env, "drop")
        f.seek(0)
        assert f.read(100_000) == b"x" * 100_000
        assert rpcs("READ") > before
    os.stat(env.path("f"))
    # a kernel that cannot be told to forget names is not asked for it
    assert rpcs("LOOKUP", "READDIR") > lookups or "with their time" in said, said


@suite.test("another user may ask nothing at all")
def only_the_owner(env):
    tool = env.scratch("vsockfsctl")
    shutil.copy(vsockfsctl(), tool)
    commands = (["status"], ["stats"], ["capture", "status"], ["drop"], ["log", "info"],
                ["watch", "--interval", "0.1", "--count", "1"], ["delegreturn"])
    os.chmod(os.path.dirname(tool), 0o777)
    for words in commands:
        assert env.as_user("nobody", [tool, *words, env.root]).returncode == 2, words
    for words in (["trace"], ["capture", env.scratch("theirs")], ["capture", "stop"]):
        done = env.as_user("nobody", [tool, *words, env.root])
        assert done.returncode == 2 and b"only root" in done.stdout, (words, done)
    assert not os.path.exists(env.scratch("theirs"))
    assert mountinfo(env.root)


if __name__ == "__main__":
    suite.main()
