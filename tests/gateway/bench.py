#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""By hand: what the gateway costs, side by side with a direct connection and with socat.

    sudo tests/gateway/bench.py [ROUNDS]

One nfs-ganesha and one vsockfs mount for each way; reads and writes of 256 MiB past the guest's page
cache, and stat(2) past the attribute cache. Ways take turns in each round; medians are printed, and
the ratios to the direct connection. Then the same by a guest while another floods the gateway with
connections and with calls on 16 streams, as a ratio to that guest's alone: through a gateway that
gives nobody a share, and through one as it is by default. The flood's programs have the CPU only when
nobody else wants it, since they stand for a guest on CPUs of its own.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time

from fixture import BUILD, Bench, eventually
from ganesha import Ganesha, die_with_parent
from mounts import Mount

SIZE = 256 << 20
VSOCKFS = os.path.join(BUILD, "src", "vsockfs")


def read_all(point):
    done = subprocess.run(["dd", f"if={point}/big", "of=/dev/null", "bs=1M", "iflag=direct"],
                          stderr=subprocess.PIPE, check=True)
    return done


def write_all(point):
    subprocess.run(["dd", "if=/dev/zero", f"of={point}/new", "bs=1M", f"count={SIZE >> 20}",
                    "oflag=direct", "conv=notrunc"], stderr=subprocess.PIPE, check=True)


def stats(point):
    for _ in range(2000):
        os.stat(f"{point}/small")


def rate(work, point, amount):
    start = time.monotonic()
    work(point)
    return amount / (time.monotonic() - start)


def cpu_seconds(pid):
    """Of a process and of those that it has forked, by their own account."""
    children = subprocess.run(["pgrep", "-P", str(pid)], stdout=subprocess.PIPE).stdout.split()
    total = 0
    for p in (pid, *map(int, children)):
        with contextlib.suppress(OSError), open(f"/proc/{p}/stat") as f:
            total += sum(map(int, f.read().rpartition(")")[2].split()[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def processor_time(ways, pids, rounds):
    """What a busy machine disturbs least."""
    print("\nprocessor time of the program between, ms for each MiB")
    for work, (function, amount) in list(WORKS.items())[:2]:
        shown = []
        for way, pid in pids.items():
            start = cpu_seconds(pid)
            for _ in range(rounds):
                function(ways[way])
            took = (cpu_seconds(pid) - start) / (rounds * amount)
            shown.append(f"{way} {took * 1000:.3f}")
        print(f"  {work.split()[0]}: {', '.join(shown)}")


WORKS = {"read MiB/s": (read_all, SIZE >> 20), "write MiB/s": (write_all, SIZE >> 20),
         "stat/s": (stats, 2000)}


def mount(stack, top, name, source):
    point = os.path.join(top, "mnt-" + name)
    stack.enter_context(Mount(VSOCKFS, source, point, "noac,nconnect=1"))
    return point


def table(title, rows, base):
    """Medians, and the median of the ratios within a round: the machine's mood changes slowly."""
    print(f"\n{title}")
    for work in WORKS:
        shown = []
        for way, r in rows.items():
            ratios = [x / y for x, y in zip(r[work], rows[base][work])]
            shown.append(f"{way} {statistics.median(r[work]):.0f} "
                         f"({statistics.median(ratios):.2f})")
        print(f"  {work}: {', '.join(shown)}")


def measure(ways, rounds):
    rows = {way: {work: [] for work in WORKS} for way in ways}
    for _ in range(rounds):
        for way, point in ways.items():
            for work, (function, amount) in WORKS.items():
                rows[way][work].append(rate(function, point, amount))
    return rows


FLOOD = """
import os, socket, struct, sys, threading
path = sys.argv[1]
call = struct.pack(">11I", 0x80000028, 1, 0, 2, 100003, 4, 0, 0, 0, 0, 0)
def connect():
    while True:
        s = socket.socket(socket.AF_UNIX); s.settimeout(0.05)
        try: s.connect(path); s.send(bytes(100))
        except OSError: pass
        s.close()
def call_on():
    while True:
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
            while True:
                s.sendall(call * 256)
                if not s.recv(65536): break
        except OSError: pass
        s.close()
for f in [connect] * 2 + [call_on] * 16: threading.Thread(target=f).start()
"""


@contextlib.contextmanager
def flooding(bench, guest):
    """The guest connects without end, and calls NULL on 16 streams through the same gateway."""
    process = subprocess.Popen(["chrt", "--idle", "0", "/usr/bin/python3", "-c", FLOOD,
                                f"{bench.path(guest)}_2049"], preexec_fn=die_with_parent)
    try:
        time.sleep(10)  # what is called in a burst is not held back
        yield
    finally:
        process.kill()
        process.wait()


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with contextlib.ExitStack() as stack:
        bench = Bench(stack, [])
        top = stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp"))
        export = os.path.join(top, "export")
        os.mkdir(export)
        for name, size in (("big", SIZE), ("small", 1), ("new", SIZE)):
            with open(os.path.join(export, name), "wb") as f:
                f.write(bytes(size))
        server = Ganesha(top, export)
        stack.callback(server.stop)
        server.start()
        gateway = bench.gateway(bench.conf(server, ("a",), ("flood",)))
        bench.gateway("share 0\n" + bench.conf(server, ("b",), ("free",)))
        socat = subprocess.Popen(["socat", "-b", "1048576",
                                  f"UNIX-LISTEN:{top}/socat,fork",
                                  f"TCP:127.0.0.1:{server.port},nodelay"],
                                 preexec_fn=die_with_parent)
        stack.callback(socat.wait)
        stack.callback(socat.kill)
        eventually(lambda: os.path.exists(f"{top}/socat"))
        ways = {"direct": mount(stack, top, "direct", f"tcp:127.0.0.1:{server.port}:/export"),
                "gateway": mount(stack, top, "gateway", f"unix:{bench.path('a')}_2049:/export"),
                "socat": mount(stack, top, "socat", f"unix:{top}/socat:/export")}
        table("ratios to a direct TCP connection", measure(ways, rounds), "direct")
        processor_time(ways, {"gateway": gateway.process.pid, "socat": socat.pid}, rounds)
        unshared = mount(stack, top, "unshared", f"unix:{bench.path('b')}_2049:/export")
        floods = {"alone": (None, ways["gateway"]), "without shares": ("free", unshared),
                  "with shares": ("flood", ways["gateway"])}
        rows = {name: {w: [] for w in WORKS} for name in floods}
        for _ in range(rounds):
            for name, (guest, point) in floods.items():
                with flooding(bench, guest) if guest else contextlib.nullcontext():
                    for work, values in measure({name: point}, 1)[name].items():
                        rows[name][work] += values
        table("one guest while another floods", rows, "alone")


if __name__ == "__main__":
    main()
