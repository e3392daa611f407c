#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What vsockfs-gateway does with connections, over the sockets where hypervisors deliver them."""

import contextlib
import os
import random
import select
import signal
import socket
import stat
import statistics
import struct
import subprocess
import sys
import threading
import time

from fixture import BUILD, WAIT, Skip, eventually, is_closed, program, run


def carries_both_ways(bench):
    """bytes arrive both ways, from the guest's own address, and one line tells of them"""
    server = bench.server()
    gateway = bench.gateway(bench.conf(server, ("a",), ("b",)))
    for guest, address in (("b", "127.0.1.2"), ("a", "127.0.1.1")):
        s = bench.connect(guest)
        s.sendall(b"call")
        c, peer, port = server.accept()
        assert peer == address, peer
        assert port >= 1024, port
        assert c.recv(16) == b"call"
        c.sendall(b"the reply")
        assert s.recv(16) == b"the reply"
        s.close()
        assert c.recv(1) == b""
        c.close()
        line = gateway.logs(bench.path(guest), "the guest closed")
        assert f"{address} port {port}" in line, line
        assert "4 bytes in, 9 bytes" in line.replace("9 out", "9 bytes"), line


def large(bench):
    """32 MiB come through whole, both ways at once, whatever the sizes of the pieces"""
    server = bench.server()
    bench.gateway(bench.conf(server, ("a",)))
    s = bench.connect("a")
    c, _, _ = server.accept()
    size = 32 << 20
    there, back = random.Random(1).randbytes(size), random.Random(2).randbytes(size)

    def send(end, data, seed):
        pieces, at = random.Random(seed), 0
        while at < len(data):
            n = pieces.choice((1, 100, 4096, 70000, 1 << 20))
            end.sendall(data[at:at + n])
            at += n

    def receive(end, into):
        while len(into) < size and (block := end.recv(1 << 18)):
            into.extend(block)

    got_there, got_back = bytearray(), bytearray()
    threads = [threading.Thread(target=send, args=(s, there, 3)),
               threading.Thread(target=send, args=(c, back, 4)),
               threading.Thread(target=receive, args=(c, got_there)),
               threading.Thread(target=receive, args=(s, got_back))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert got_there == there
    assert got_back == back


def half_close(bench):
    """a guest that has sent its last byte still gets the answer"""
    server = bench.server()
    bench.gateway(bench.conf(server, ("a",)))
    s = bench.connect("a")
    s.sendall(b"last")
    s.shutdown(socket.SHUT_WR)
    c, _, _ = server.accept()
    assert c.recv(16) == b"last" and c.recv(1) == b""
    c.sendall(b"answer")
    c.close()
    assert s.recv(16) == b"answer" and s.recv(1) == b""


def server_closes(bench):
    """the guest's connection ends with the server's, after the last bytes"""
    server = bench.server()
    gateway = bench.gateway(bench.conf(server, ("a",)))
    s = bench.connect("a")
    c, _, _ = server.accept()
    c.sendall(b"x" * 100000)
    c.close()
    got = b""
    while block := s.recv(1 << 16):
        got += block
    assert got == b"x" * 100000
    gateway.logs("the server closed")


def server_away(bench):
    """a connection waits for a server that is away, and is carried once it is there"""
    server = bench.server()
    server.close()
    gateway = bench.gateway(bench.conf(server, ("a",)))
    s = bench.connect("a")
    s.sendall(b"early")
    time.sleep(0.3)
    again = bench.server(server.port)
    c, _, _ = again.accept()
    assert c.recv(16) == b"early"
    assert "refused" not in gateway.log()


def server_stays_away(bench):
    """the wait for a server has an end, and ends early when the guest goes"""
    server = bench.server()
    server.close()
    gateway = bench.gateway("wait 1s\n" + bench.conf(server, ("a",)))
    assert is_closed(bench.connect("a"))
    gateway.logs("cannot connect to the server: Connection refused")
    gateway.reload("wait 1h\n" + bench.conf(server, ("a",)))

    def noticed():
        # one that goes before it was taken out of the queue is not worth a word
        s = bench.connect("a")
        time.sleep(0.2)
        s.close()
        return "the guest closed before the server was there" in gateway.log()
    eventually(noticed, "the end of a guest without a server")


def only_named(bench):
    """a guest that a reload has taken out loses its connection; another keeps its own"""
    server = bench.server().echo()
    gateway = bench.gateway(bench.conf(server, ("a",), ("b",)))
    a, b = bench.connect("a"), bench.connect("b")
    for s in (a, b):
        s.sendall(b"1")
        assert s.recv(1) == b"1"
    gateway.reload(bench.conf(server, ("a",)))
    assert is_closed(b)
    a.sendall(b"2")
    assert a.recv(1) == b"2"
    assert not os.path.exists(bench.path("b") + "_2049")
    gateway.logs(bench.path("b"), "the rules have changed")


def bad_reload(bench):
    """a reload with a mistake changes nothing and says where it is"""
    server = bench.server().echo()
    gateway = bench.gateway(bench.conf(server, ("a",)))
    a = bench.connect("a")
    gateway.reload(bench.conf(server, ("a", "rate=fast")))
    gateway.logs("gateway1.conf:2:", "rate is 0 or bytes in a second")
    a.sendall(b"2")
    assert a.recv(1) == b"2"
    gateway.reload(bench.conf(server, ("a",), ("c",)))
    bench.connect("c").sendall(b"x")


def statuses(bench):
    """wrong usage is 1, a wrong configuration 2, and what is right 0, without a word"""
    def end(name, *words):
        return subprocess.run([program(name), *words], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=WAIT)
    right, wrong = (os.path.join(bench.work, n) for n in ("right", "wrong"))
    for name, conf in ((right, bench.conf(bench.server(), ("a",))), (wrong, "guest vsock:x\n")):
        with open(name, "w") as f:
            f.write(conf)
    done = end("vsockfs-gateway", "-c", right, "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
    for words in (["-c", wrong], ["-c", wrong, "--check"], ["-c", wrong + ".none", "--check"]):
        done = end("vsockfs-gateway", *words)
        assert done.returncode == 2 and wrong in done.stderr, done
    for name, *words in (("vsockfs-gateway", "--nothing"), ("vsockfs-gateway", "word"),
                         ("vsockfs-gateway", "--io", "how"), ("vsockfs-exportfs", "--nothing"),
                         ("vsockfs-exportfs", "-s", "none"), ("vsockfs-serve", "--nothing"),
                         ("vsockfs-serve",), ("vsockfs-serve", "--cid", "x", "/"),
                         ("vsockfs-serve", "--squash", "x", "/")):
        done = end(name, *words)
        assert done.returncode == 1 and done.stderr and not done.stdout, done
    for name in ("vsockfs-gateway", "vsockfs-exportfs", "vsockfs-serve"):
        for option, said in (("--help", "usage: " + name), ("--version", name + " ")):
            done = end(name, option)
            assert done.returncode == 0 and done.stdout.startswith(said) and not done.stderr, done


def reserved_ports(bench):
    """ports=reserved comes from below 1024, by a gateway that is not root any more"""
    if os.geteuid() != 0:
        raise Skip("not root")
    server = bench.server()
    gateway = bench.gateway(bench.conf(server, ("a", "ports=reserved"), ("b",)))
    with open(f"/proc/{gateway.process.pid}/status") as f:
        status = dict(line.split(":", 1) for line in f)
    assert status["Uid"].split()[0] != "0", status["Uid"]
    assert int(status["CapEff"], 16) == 1 << 10, status["CapEff"]
    assert int(status["CapBnd"], 16) == 0, status["CapBnd"]
    assert status["NoNewPrivs"].strip() == "1"
    ports = set()
    for _ in range(5):
        bench.connect("a")
        _, peer, port = server.accept()
        assert peer == "127.0.1.1" and 665 <= port < 1024, (peer, port)
        ports.add(port)
    assert len(ports) == 5
    bench.connect("b")
    assert server.accept()[2] >= 1024


def many_reserved(bench):
    """reserved ports are found again after 1000 connections have used them up"""
    if os.geteuid() != 0:
        raise Skip("not root")
    server = bench.server().echo()
    bench.gateway(bench.conf(server, ("a", "ports=reserved connects=100000")))
    for _ in range(1000):
        s = bench.connect("a")
        s.sendall(b"x")
        assert s.recv(1) == b"x"
        s.close()


def connection_limit(bench):
    """more connections than allowed wait in the guest's own queue until one ends"""
    server = bench.server().echo()
    bench.gateway(bench.conf(server, ("a", "connections=2"), ("b",)))
    first, second, third, b = [bench.connect(g) for g in "aaab"]
    for s in (first, second, b, third):
        s.sendall(b"x")
    for s in (first, second, b):
        assert s.recv(1) == b"x"
    third.settimeout(0.3)
    try:
        assert False, third.recv(1)
    except socket.timeout:
        pass
    second.close()
    third.settimeout(WAIT)
    assert third.recv(1) == b"x"


def makes_room(bench):
    """at the limit, the connection that has been silent for longest makes room for a new one"""
    server = bench.server().echo()
    gateway = bench.gateway(bench.conf(server, ("a", "connections=3 idle=15s")))
    streams = [bench.connect("a") for _ in range(3)]
    for s in streams:
        s.sendall(b"x")
        assert s.recv(1) == b"x"
    first, second, third = streams
    fourth = bench.connect("a")
    fourth.sendall(b"y")
    eventually(lambda: speaks(third) and speaks(first) and is_readable(fourth), "room")
    assert fourth.recv(1) == b"y"
    assert is_closed(second)
    assert speaks(first) and speaks(third)
    gateway.logs("it made room for another")


def speaks(s):
    s.sendall(b"z")
    return s.recv(1) == b"z"


def is_readable(s):
    return bool(select.select([s], [], [], 0.1)[0])


def rate_limit(bench):
    """rate= holds a guest back, and no other"""
    server = bench.server().echo()
    bench.gateway(bench.conf(server, ("a", "rate=1M", "calls=0"), ("b", "calls=0")))

    def take(guest):
        s, size, got = bench.connect(guest), 1 << 20, 0
        sender = threading.Thread(target=s.sendall, args=(bytes(size),))
        sender.start()
        start = time.monotonic()
        while got < size:
            got += len(s.recv(1 << 16))
        sender.join()
        return time.monotonic() - start

    # 2 MiB in all, less what may pass at once
    slow = take("a")
    assert slow > 1, slow
    take("b")


def calls_limit(bench):
    """calls= holds a guest with many small calls back, whatever their pieces, and no other"""
    server = bench.server().echo()
    bench.gateway(bench.conf(server, ("a", "calls=10"), ("b",)))
    call = struct.pack(">I", 0x80000004) + b"call"

    def take(guest):
        s, start = bench.connect(guest), time.monotonic()
        for piece in (call * 130, call[:3], call[3:]):
            s.sendall(piece)
            got = 0
            while got < len(piece):
                got += len(s.recv(1 << 16))
        return time.monotonic() - start
    slow = take("a")
    assert slow > 1, slow
    take("b")


CALL = struct.pack(">I", 0x80000004) + b"call"


def call(s, n=1):
    """n calls, with at most 16 of them under way."""
    done = 0
    while done < n:
        some = min(16, n - done)
        s.sendall(CALL * some)
        left = some * len(CALL)
        while left > 0:
            got = len(s.recv(left))
            assert got > 0, "closed"
            left -= got
        done += some


class Flood:
    """Calls on one stream without end; counts the answers."""

    def __init__(self, bench, guest):
        self.answers = 0
        self.stream = bench.connect(guest)
        self.thread = threading.Thread(target=self.go_on, daemon=True)
        self.thread.start()

    def go_on(self):
        with contextlib.suppress(OSError, AssertionError):
            while True:
                call(self.stream, 16)
                self.answers += 16


def share_alone(bench):
    """who is alone may call as often as it likes, whatever the share"""
    server = bench.server().echo()
    bench.gateway("share 10\n" + bench.conf(server, ("a",), ("b",)))
    s, start = bench.connect("a"), time.monotonic()
    bench.connect("b")  # without a call it has no share
    for _ in range(100):
        call(s, 16)
        assert time.monotonic() - start < 60, "held back"  # it would be for 150 s


def share_beside(bench):
    """beside another guest a flood has its share and what the other leaves, and the other waits not"""
    server = bench.server().echo()
    bench.gateway("share 20\n" + bench.conf(server, ("a",), ("b",)))
    calm = bench.connect("b")
    flood = Flood(bench, "a")
    eventually(lambda: flood.answers > 2000, "a flood")

    def beside():
        """None when the machine had the calm one silent for so long that it did not count"""
        call(calm)
        start, before, gap, calls = time.monotonic(), flood.answers, 0, 40
        last = start
        for _ in range(calls):
            time.sleep(0.05)
            call(calm)
            now = time.monotonic()
            gap, last = max(gap, now - last), now
        return gap < 0.5 and (flood.answers - before, last - start)
    answers, seconds = eventually(beside, "a machine that is not too slow")
    assert answers <= 2 * 20 * seconds + 32, (answers, seconds)
    calm.close()
    before = flood.answers
    eventually(lambda: flood.answers > before + 2000, "all for the one that is left")


class Teller:
    """A server that answers all calls of one pass over its streams together, or none of one guest's."""

    def __init__(self, server, mute):
        self.server = server
        self.mute = mute  # address whose calls get no answer for now, or None
        self.streams = {}  # stream: (address, what came of a call that is not whole)
        self.passes = []  # (address, its calls of which none had an answer yet), one for each pass
        self.owed = {}  # stream: answers
        threading.Thread(target=self.go_on, daemon=True).start()

    def take(self, stream):
        address, rest = self.streams[stream]
        data = rest + stream.recv(1 << 16)
        whole = len(data) // len(CALL)
        self.streams[stream] = (address, data[whole * len(CALL):])
        if data == rest:
            del self.streams[stream]
        return address, whole

    def go_on(self):
        with contextlib.suppress(OSError, ValueError):
            while True:
                ready = select.select([self.server.socket, *self.streams], [], [], 0.05)[0]
                if self.server.socket in ready:
                    stream, address, _ = self.server.accept()
                    self.streams[stream] = (address, b"")
                taken = [(s, *self.take(s)) for s in ready if s is not self.server.socket]
                for address in {a for _, a, _ in taken}:
                    if calls := sum(n for _, a, n in taken if a == address):
                        self.passes.append((address, calls))
                time.sleep(0.004)  # so that what does not wait for answers is there before them
                for stream, address, calls in taken:
                    if calls:
                        self.owed[stream] = self.owed.get(stream, 0) + calls
                for stream in list(self.owed):
                    if self.streams.get(stream, (self.mute,))[0] != self.mute:
                        stream.sendall(CALL * self.owed.pop(stream))


def one_at_a_time(bench):
    """who has used up its share beside others has one call at the server, over all its streams"""
    a = "127.0.1.1"
    teller = Teller(bench.server(), None)
    bench.gateway("share 1000\n" + bench.conf(teller.server, ("a",), ("b",)))
    calm = bench.connect("b")
    floods = [Flood(bench, "a") for _ in range(16)]
    eventually(lambda: sum(f.answers for f in floods) > 24000, "a flood")

    def beside():
        """What the teller saw of the flood; None when the calm one was silent for too long"""
        start = last = time.monotonic()
        gap, first, counts = 0, None, []
        while len(counts) < 100:
            call(calm)
            time.sleep(0.05)
            now = time.monotonic()
            gap, last = max(gap, now - last), now
            assert now < start + WAIT, counts
            # what was sent while the flood was alone is behind us then
            if first is None and now > start + 0.5:
                first = len(teller.passes)
            if first is not None:
                counts = [n for address, n in teller.passes[first:] if address == a]
        return gap < 0.5 and counts
    counts = eventually(beside, "a machine that is not too slow")
    # a machine that is slow has some more wait for the teller
    assert statistics.median(counts) <= 2, counts
    teller.mute = a

    def all_called():
        call(calm)
        return len(teller.owed) == 16
    eventually(all_called, "a call on every stream, without any answer")


def few_under_way(bench):
    """who is alone has some hundred calls at the server, however many it sends, and all are answered"""
    a = "127.0.1.1"
    teller = Teller(bench.server(), a)
    bench.gateway(bench.conf(teller.server, ("a",)))
    streams, each, start = [bench.connect("a") for _ in range(16)], 200, time.monotonic()
    for s in streams:
        s.sendall(CALL * each)
    came = lambda: sum(n for _, n in teller.passes)
    eventually(lambda: came() >= 256, "the first ones")
    time.sleep(0.3)
    # one more in each hundredth of a second, since some calls have no answer
    before, now = came(), time.monotonic()
    assert before < 256 + each + 100 * (now - start) + 16, (before, now - start)
    teller.mute = None
    for s in streams:
        got = 0
        while got < each * len(CALL):
            data = s.recv(1 << 16)
            assert data, "closed"
            got += len(data)
    assert came() == each * len(streams)


def half_a_call(bench):
    """half a call and one of a MiB come whole beside other calls of a guest without a share left"""
    server = bench.server().echo()
    bench.gateway("share 20\n" + bench.conf(server, ("a",), ("b",)))
    calm, half = bench.connect("b"), bench.connect("a")
    half.sendall(CALL[:6])
    large = bench.connect("a")
    flood = Flood(bench, "a")
    eventually(lambda: flood.answers > 2000, "a flood")
    size = 1 << 20
    record = struct.pack(">I", 0x80000000 | size) + bytes(size)
    thread = threading.Thread(target=large.sendall, args=(record,))
    thread.start()
    before, got = flood.answers, 0

    def read():
        nonlocal got
        if is_readable(large):
            got += len(large.recv(1 << 18))
        return got == size + 4

    def more():
        call(calm)
        return read() and flood.answers > before + 32
    eventually(more, "the other streams' calls")
    thread.join()
    half.sendall(CALL[6:])
    assert half.recv(16) == CALL[:6]


def idle_limit(bench):
    """idle= ends a connection on which nothing moves, and only that"""
    server = bench.server().echo()
    gateway = bench.gateway(bench.conf(server, ("a", "idle=1s"), ("b", "idle=0")))
    a, b = bench.connect("a"), bench.connect("b")
    assert is_closed(a)
    gateway.logs(bench.path("a"), "idle for too long")
    b.sendall(b"x")
    assert b.recv(1) == b"x"


def drains(bench):
    """SIGTERM: the reply that is under way arrives, new connections do not, and it ends with 0"""
    server = bench.server()
    gateway = bench.gateway(bench.conf(server, ("a",)))
    s = bench.connect("a")
    s.sendall(b"call")
    c, _, _ = server.accept()
    assert c.recv(16) == b"call"
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait_for("STOPPING=1")
    eventually(lambda: not os.path.exists(bench.path("a") + "_2049"), "the listener's end")
    c.sendall(b"reply" * 50000)
    got = 0
    while block := s.recv(1 << 16):
        got += len(block)
    assert got == 250000, got
    assert gateway.process.wait(WAIT) == 0
    gateway.logs("the gateway ends")


def ends_at_once(bench):
    """a server that never stops sending does not keep it from ending"""
    server = bench.server()
    gateway = bench.gateway("drain 1s\n" + bench.conf(server, ("a",)))
    s = bench.connect("a")
    c, _, _ = server.accept()

    def flood():
        try:
            while True:
                c.sendall(bytes(65536))
        except OSError:
            pass

    def swallow():
        while s.recv(1 << 16):
            pass

    threads = [threading.Thread(target=flood), threading.Thread(target=swallow)]
    for t in threads:
        t.start()
    assert gateway.stop() == 0
    for t in threads:
        t.join()


def socket_activation(bench):
    """sockets of the service manager are taken, and it is known whose they are"""
    server = bench.server().echo()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(bench.path("a") + "_2049")
    listener.listen(8)
    os.set_inheritable(listener.fileno(), True)
    conf = os.path.join(bench.work, "conf")
    with open(conf, "w") as f:
        f.write(bench.conf(server, ("a",), ("b",)))
    # the descriptor must be 3, and LISTEN_PID the program's own
    script = (f"exec 3<&{listener.fileno()}; export LISTEN_FDS=1 LISTEN_PID=$$; "
              f"exec {program('vsockfs-gateway')} -c {conf} {' '.join(bench.args)}")
    log = conf + ".log"
    with open(log, "wb") as out:
        process = subprocess.Popen(["sh", "-c", script], close_fds=False, stderr=out)
    bench.stack.callback(process.wait)
    bench.stack.callback(process.kill)
    s = bench.connect("a")
    s.sendall(b"x")
    assert s.recv(1) == b"x"
    process.send_signal(signal.SIGHUP)
    with open(log) as said:
        text = eventually(lambda: said.read(), "a word about the reload")
    # who is handed sockets makes none, then or later
    assert text.endswith(": loaded\n") and len(text.splitlines()) == 1, text
    assert not os.path.exists(bench.path("b") + "_2049")
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT) == 0
    # it was not ours to close for others
    bench.connect("a")


def inetd(bench):
    """--inetd carries the connection on its stdin, and ends with it"""
    server = bench.server().echo()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(bench.path("a") + "_2049")
    listener.listen(8)
    for name, allowed in (("a", True), ("other", False)):
        s = bench.connect("a")
        c, _ = listener.accept()
        gateway = bench.gateway(bench.conf(server, (name,)), "--inetd", wait=False, stdin=c)
        c.close()
        if allowed:
            s.sendall(b"hello")
            assert s.recv(5) == b"hello"
            s.close()
        else:
            assert is_closed(s)
        assert gateway.process.wait(WAIT) == 0


def hypervisor_sockets(bench):
    """its sockets are their owner's alone, replace stale ones, and nothing else"""
    server = bench.server()
    stale = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    stale.bind(bench.path("a") + "_2049")
    stale.close()
    owner = "owner=nobody" if os.geteuid() == 0 else ""
    if owner:
        os.chown(bench.path("a") + "_2049", 65534, 65534)
    gateway = bench.gateway(bench.conf(server, ("a", owner)))
    st = os.stat(bench.path("a") + "_2049")
    assert stat.S_IMODE(st.st_mode) == 0o600, oct(st.st_mode)
    if owner:
        assert st.st_uid == 65534
    second = bench.gateway(bench.conf(server, ("a",)), wait=False)
    assert second.process.wait(WAIT) == 2
    second.logs("cannot listen for", "Address already in use")
    with open(bench.path("b") + "_2049", "w") as f:
        f.write("precious")
    third = bench.gateway(bench.conf(server, ("b",)), wait=False)
    assert third.process.wait(WAIT) == 2
    with open(bench.path("b") + "_2049") as f:
        assert f.read() == "precious"
    assert gateway.process.poll() is None


def wrong_address(bench):
    """an address that is not this machine's is named in the log"""
    server = bench.server()
    conf = bench.conf(server, ("a",)).replace("127.0.1.1", "192.0.2.7")
    gateway = bench.gateway(conf)
    assert is_closed(bench.connect("a"))
    gateway.logs("192.0.2.7 is no address of this machine")


def ipv6_prefix(bench):
    """an IPv6 address of a prefix needs a local route, and then reaches the server"""
    try:
        server = bench.server(host="::1")
    except OSError as e:
        raise Skip(f"no ::1: {e.strerror}")
    net = f"fd00:7673:6f63:{os.getpid() & 0xffff:x}::"
    conf = (f"server [::1]:{server.port}\n"
            f"guest vsock:{bench.path('a')} address={net}a\n")
    gateway = bench.gateway(conf)
    assert is_closed(bench.connect("a"))
    gateway.logs(f"{net}a is no address of this machine")
    gateway.stop()
    route = ["local", f"{net}/96", "dev", "lo"]
    if os.geteuid() != 0 or subprocess.run(["ip", "-6", "route", "add", *route],
                                           stderr=subprocess.DEVNULL).returncode != 0:
        raise Skip("cannot add a local route")
    bench.stack.callback(subprocess.run, ["ip", "-6", "route", "del", *route])
    bench.gateway(conf)
    s = bench.connect("a")
    c, peer, _ = server.accept()
    assert peer == f"{net}a", peer
    c.sendall(b"x")
    assert s.recv(1) == b"x"


TESTS = [carries_both_ways, large, half_close, server_closes, server_away, server_stays_away,
         only_named, bad_reload, statuses, reserved_ports, many_reserved, connection_limit, makes_room, rate_limit, calls_limit,
         share_alone, share_beside, one_at_a_time, few_under_way, half_a_call,
         idle_limit, drains, ends_at_once, socket_activation, inetd, hypervisor_sockets,
         wrong_address, ipv6_prefix]

if __name__ == "__main__":
    wanted = sys.argv[sys.argv.index("-k") + 1] if "-k" in sys.argv else ""
    io = ["--io", sys.argv[sys.argv.index("--io") + 1]] if "--io" in sys.argv else []
    run([t for t in TESTS if wanted in t.__name__], io)
