#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Programs on two mounts of one server, whose streams are cut and whose server is killed meanwhile.

Each program remembers what it was told that it had done. When all have ended, the server's disk is
looked at directly: everything is there, once. See director.py for what happens to the streams,
and *_kinds.py for the programs.
"""

import argparse
import contextlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

import data_kinds  # noqa: E402
import lock_kinds  # noqa: E402
import name_kinds  # noqa: E402
import writers  # noqa: E402
from director import Director, Streams, make_plan  # noqa: E402
from ganesha import Ganesha, Unavailable  # noqa: E402
from harness import EXPORT, build_path, make_work, remove_work, say, sweep_work  # noqa: E402
from kept import Kept  # noqa: E402
from mounts import Mount, MountFailed, forget, kernel_stacks, stacks  # noqa: E402

KINDS = [data_kinds.Records, data_kinds.Appends, data_kinds.Maps, data_kinds.Shadows,
         name_kinds.Renames, name_kinds.Races, name_kinds.Names, name_kinds.Listings,
         lock_kinds.Locks, lock_kinds.Flocks, lock_kinds.Descriptions]
# more workers than one, and the other loop
MOUNTS = ["nconnect=4", "nconnect=2,io=poll"]
LEASE, GRACE = 30, 8
INODES = 4  # that stay known: the root's, and what is just being looked at
QUIET_SECONDS = 30  # in which what was used only meanwhile is given back


class GaveUp(Exception):
    """A program hangs, or a daemon is gone."""


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def status(pid, field):
    """A number of /proc/PID/status."""
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field + ":"))


def threads(pid):
    """But for those that the kernel lends to io_uring."""
    count = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{task}/comm") as f:
            count += not f.read().startswith("iou-")
    return count


class Usage:
    """What a daemon holds."""

    def __init__(self, pid):
        self.fds = descriptors(pid)
        self.threads = threads(pid)
        self.rss = status(pid, "VmRSS")

    @classmethod
    def settled(cls, pid):
        """Once all connections and threads are there."""
        usages = [cls(pid)]
        while len(usages) < 6 or any(u.held() != usages[-1].held() for u in usages[-6:]):
            time.sleep(0.1)
            usages.append(cls(pid))
        return usages[-1]

    def held(self):
        return self.fds, self.threads

    def __str__(self):
        return f"{self.fds} descriptors, {self.threads} threads, {self.rss} KiB"


class Run:
    def __init__(self, args):
        self.args = args
        self.points = self.failed = 0
        self.stack = contextlib.ExitStack()
        self.pids = {}
        self.hung = []
        self.seen = {}

    def point(self, title, lines=()):
        self.points += 1
        lines = list(lines)
        print(f"{'not ok' if lines else 'ok'} {self.points} - {title}", flush=True)
        if lines:
            self.failed += 1
            self.note(lines[0])
            for line in lines[:20]:
                say(line)

    def note(self, text):
        print(f"# {text}", flush=True)

    # Fixture

    def set_up(self):
        Ganesha.check()
        sweep_work()
        self.work, self.lock = make_work()
        self.stack.callback(self.leave)
        self.export = os.path.join(self.work, "export")
        os.mkdir(self.export)
        self.make_kinds()
        self.server = Ganesha(self.work, self.export, EXPORT, graceless=False,
                              nfsv4=f"Lease_Lifetime = {LEASE}; Grace_Period = {GRACE};",
                              mdcache="FD_LWMark_Percent = 0; LRU_Run_Interval = 1;")
        self.stack.callback(self.server.stop)
        self.server.start()
        sockets = [os.path.join(self.work, f"sock{i}") for i in range(len(MOUNTS))]
        self.streams = Streams(self.server.port, sockets)
        self.stack.callback(self.streams.stop)
        program = os.environ.get("VSOCKFS", build_path("src", "vsockfs"))
        self.mounts = []
        for i, options in enumerate(MOUNTS):
            words = ",".join(w for w in (options, self.args.o) if w)
            mount = (Kept if self.args.kills else Mount)(
                program, f"unix:{sockets[i]}:{EXPORT}", os.path.join(self.work, str(i)), words)
            self.stack.callback(mount.kill)
            self.mounts.append(mount.start())

    def make_kinds(self):
        self.kinds = [kind() for kind in KINDS if not self.args.k or kind.name in self.args.k]
        self.writers = []
        for kind in self.kinds:
            disk = os.path.join(self.export, kind.name)
            os.mkdir(disk)
            kind.prepare(disk)
            kind.numbers = []
            for mount in kind.writers:
                number = len(self.writers)
                kind.numbers.append(number)
                root = os.path.join(self.work, str(mount), kind.name)
                self.writers.append(kind.writer(kind, number, root, self.args.seed))

    def leave(self):
        if self.failed:
            kept = build_path("tests", "chaos", "logs")
            os.makedirs(kept, exist_ok=True)
            for name in os.listdir(self.work):
                if name.endswith(".log"):
                    os.replace(os.path.join(self.work, name), os.path.join(kept, name))
            say(f"logs are in {kept}")
        if not self.args.keep:
            remove_work(self.work)

    # The programs

    def result_path(self, number):
        return os.path.join(self.work, f"result{number}")

    def start_writers(self):
        self.watch = writers.Watch(len(self.writers))
        for writer in self.writers:
            self.pids[writer.number] = writers.start(
                writer, self.watch, self.result_path(writer.number))
        self.stack.callback(self.end_writers)

    def end_writers(self):
        for pid in self.pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for mount in self.mounts if self.pids else ():
            mount.kill()  # frees whoever waits
        for pid in self.pids.values():
            os.waitpid(pid, 0)
        self.pids.clear()

    def reap(self):
        for number, pid in list(self.pids.items()):
            if os.waitpid(pid, os.WNOHANG)[0]:
                del self.pids[number]

    def look(self):
        """Gives up when an operation takes longer than the lease."""
        self.reap()
        for i, mount in enumerate(self.mounts):
            if mount.dead():
                raise GaveUp(f"mount {i}: {mount.dead()}\n{mount.log_tail()}")
        for number in self.pids:
            _, _, under_way, name = self.watch.get(number)
            if name == writers.WAITS:
                under_way = min(under_way, self.idle(self.writers[number].kind))
            if under_way > self.args.limit:
                self.hung.append((number, name, under_way))
        if self.hung:
            text = self.tell_hang()
            with open(os.path.join(self.work, "hang.log"), "w") as f:
                f.write(text)
            raise GaveUp(text)

    def idle(self, kind):
        """Seconds since any of its writers got on: who waits for a lock waits for the others."""
        steps = sum(self.watch.get(number)[1] for number in kind.numbers)
        before, since = self.seen.get(kind, (None, None))
        if steps != before:
            since = time.monotonic()
            self.seen[kind] = steps, since
        return time.monotonic() - since

    def tell_hang(self):
        text = ""
        for number, name, under_way in self.hung:
            text += (f"{self.writers[number].kind.name}/{number}: {name} takes {under_way:.1f} s\n"
                     + kernel_stacks(self.pids[number]))
        for mount in self.mounts:
            text += f"{mount.point}:\n{stacks(mount.process.pid)}{mount.log_tail()}"
        return text

    def wait(self, seconds):
        deadline = time.monotonic() + seconds
        while True:
            self.look()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.2))

    def progress(self):
        """Until each program has ended an operation that began from now on."""
        before = {n: self.watch.get(n)[0] for n in self.pids}
        while any(n in self.pids and self.watch.get(n)[0] < ops + 2 and
                  self.watch.get(n)[3] != writers.WAITS for n, ops in before.items()):
            self.wait(0.1)

    def finish_writers(self):
        self.watch.stop()
        while self.pids:
            self.wait(0.1)

    # After it

    def results(self):
        found = {}
        for writer in self.writers:
            with open(self.result_path(writer.number), "rb") as f:
                found[writer.number] = pickle.load(f)
        return found

    def quiet_usage(self, i, base):
        """What the daemon holds once it is back where it was, or when the time is over."""
        deadline = time.monotonic() + QUIET_SECONDS
        while True:
            usage = Usage(self.mounts[i].process.pid)
            if usage.held() == base.held() or time.monotonic() > deadline:
                return usage
            time.sleep(0.2)

    def check_usage(self, base):
        for i, before in enumerate(base):
            after = self.quiet_usage(i, before)
            self.note(f"mount {i}: before {before}; after {after}")
            if after.held() != before.held():
                yield f"mount {i} held {before}, and holds {after}"
            if after.rss > before.rss + self.args.growth:
                yield f"mount {i} has grown from {before.rss} to {after.rss} KiB"

    def check_inodes(self):
        """What the kernel has forgotten is forgotten."""
        program = os.environ.get("VSOCKFSCTL", build_path("src", "ctl", "vsockfsctl"))
        for i, mount in enumerate(self.mounts):
            deadline, known = time.monotonic() + QUIET_SECONDS, INODES + 1
            while known > INODES and time.monotonic() < deadline:
                forget(mount.point)
                time.sleep(0.2)
                told = subprocess.run([program, "status", "--json", mount.point], check=True,
                                      stdout=subprocess.PIPE)
                known = json.loads(told.stdout)["inodes"]
            self.note(f"mount {i}: {known} inodes known at the end")
            if known > INODES:
                yield f"mount {i} knows {known} inodes"

    def check_clones(self):
        for mount in self.mounts:
            for line in mount.log_tail(100000).splitlines():
                if "cloned" in line:
                    yield line

    def check_unmount(self):
        for mount in self.mounts:
            try:
                mount.umount()
            except RuntimeError as e:
                yield str(e)
            for line in mount.log_tail(100000).splitlines():
                if "Sanitizer" in line:
                    yield line

    def open_on_server(self):
        """Files of the export that the server has open."""
        directory = f"/proc/{self.server.pid}/fd"
        found = []
        for fd in os.listdir(directory):
            with contextlib.suppress(OSError):
                target = os.readlink(os.path.join(directory, fd))
                if target.startswith(self.export + "/") and not os.path.isdir(target):
                    found.append(target)
        return found

    def check_server(self):
        deadline = time.monotonic() + QUIET_SECONDS
        while self.open_on_server():
            if time.monotonic() > deadline:
                yield from (f"the server has {path} open" for path in self.open_on_server())
                return
            time.sleep(0.2)

    def check_kinds(self, results):
        for kind in self.kinds:
            errors = [results[n][0] for n in kind.numbers if results[n][0]]
            lines = list(errors)
            facts = [results[n][1] for n in kind.numbers]
            if not errors:
                lines += kind.check(os.path.join(self.export, kind.name), facts)
            steps = sum(results[n][3] for n in kind.numbers)
            self.note(f"{kind.name}: {steps} steps"
                      + "".join(f", {sum(f.get('lost', 0) for f in facts)} locks lost and told"
                                for f in facts[:1] if "lost" in f)
                      + "".join(f", {sum(f.get('torn', 0) for f in facts)} half made by a dying server"
                                for f in facts[:1] if "torn" in f))
            self.point(kind.says, lines)

    def tell_longest(self, results):
        longest = sorted(((seconds, name, n) for n, result in results.items()
                          for name, seconds in result[2].items()), reverse=True)[:8]
        self.note("longest: " + ", ".join(
            f"{self.writers[n].kind.name} {name} {seconds:.1f} s" for seconds, name, n in longest))
        return longest[0][0]

    def tell_faults(self, director):
        self.note("faults: " + ", ".join(f"{k} {n}" for k, n in sorted(director.done.items())))
        if director.missed:
            self.note("struck nothing: " + ", ".join(
                f"{k} {n}" for k, n in sorted(director.missed.items())))

    def go(self):
        args = self.args
        self.note(f"--seed {args.seed} --cuts {args.cuts} --restarts {args.restarts} "
                  f"--kills {args.kills} --seconds {args.seconds}")
        self.set_up()
        base = [Usage.settled(mount.process.pid) for mount in self.mounts]
        self.start_writers()
        plan = make_plan(args.seed, args.cuts, args.restarts, args.kills, len(MOUNTS))
        director = Director(plan, self.streams, self.server, self.mounts, self.progress, self.wait,
                            open(os.path.join(self.work, "faults.log"), "w"))
        began = time.monotonic()
        try:
            self.progress()
            director.go(args.seconds)
            self.finish_writers()
        except GaveUp as e:
            self.point("no operation takes longer than the lease", str(e).splitlines())
            self.tell_faults(director)
            return
        self.tell_faults(director)
        results = self.results()
        self.note(f"{director.cuts()} cuts, {director.done['restart']} restarts and "
                  f"{director.done['kill-daemon']} kills in "
                  f"{time.monotonic() - began:.0f} s, {sum(r[3] for r in results.values())} steps, "
                  f"connections: {self.streams.order({'kind': 'count'})['accepted']}")
        self.tell_longest(results)
        self.point("no operation takes longer than the lease")
        short = args.cuts * 3 // 4
        self.point("the faults struck", [f"{director.cuts()} cuts of {args.cuts}"]
                   if director.cuts() < short or director.done["restart"] < args.restarts else [])
        self.point("the daemons give back what they used", self.check_usage(base))
        # a FORGET that a killed daemon has read does not come again, and an answer that has not
        # arrived is counted twice: some stay until the mount ends
        if not args.kills:
            self.point("the daemons forget what the kernel forgets", self.check_inodes())
        self.point("nobody takes itself for a clone", self.check_clones())
        self.point("unmounting ends the daemons", self.check_unmount())
        self.check_kinds(results)
        self.point("the server holds nothing for clients that are gone", self.check_server())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--cuts", type=int, default=60)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--kills", type=int, default=0,
                        help="of daemons that others take over from")
    parser.add_argument("--seconds", type=float, default=45, help="the time for all faults")
    parser.add_argument("--limit", type=float, default=LEASE, help="seconds for an operation")
    parser.add_argument("--growth", type=int, default=64 << 10, help="KiB more than at first")
    parser.add_argument("-o", default="", help="mount options")
    parser.add_argument("-k", action="append", help="only programs of this kind")
    parser.add_argument("--keep", action="store_true", help="keep the work directory")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.umask(0o022)
    run = Run(args)
    with run.stack:
        try:
            run.go()
            print(f"1..{run.points}")
        except Unavailable as e:
            print(f"1..0 # SKIP {e}")
        except (MountFailed, RuntimeError) as e:
            run.point("the server runs and the export is mounted", str(e).splitlines())
            print(f"1..{run.points}")
    sys.exit(1 if run.failed else 0)


if __name__ == "__main__":
    main()
