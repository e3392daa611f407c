# SPDX-License-Identifier: LGPL-2.1-or-later
"""What happens to a run and when: a plan that the seed makes, and whoever carries it out."""

import collections
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

from ganesha import die_with_parent
from records import CALL, DAMAGE, REPLY

HERE = os.path.dirname(os.path.abspath(__file__))

# how often each kind of cut comes among the cuts
CUTS = {"call-lost": 2, "call-within": 2, "call-behind": 4, "reply-lost": 5, "reply-within": 3,
        "cut-now": 2, "cut-all": 1, "cut-all-reorder": 1}
# and what else comes for each 100 of them
OTHERS = {"stall": 12, "dead": 2, "slow": 8, "split": 10, "swap": 8, "corrupt-call": 4,
          "corrupt-reply": 16, "pause-daemon": 6, "pause-server": 3}
# damage that leaves the client waiting for the rest of the record, until its watch ends that
LATE = ("mark-longer", "mark-goes-on", "mark-huge")


def choose_cut(rng):
    return {"kind": rng.choices(list(CUTS), list(CUTS.values()))[0], "cached": rng.random() < 0.7,
            "at": rng.random(), "pick": rng.random() ** 2, "seconds": rng.uniform(0.05, 0.5)}


def choose_other(rng, kind):
    way = CALL if kind == "corrupt-call" else REPLY
    return {"kind": kind, "cached": rng.random() < 0.5, "pick": rng.random() ** 2,
            "field": rng.choice(sorted(DAMAGE[way])), "ways": rng.randint(1, 3),
            "seconds": None if kind == "dead" else rng.uniform(0.2, 3.0),
            "delay": rng.uniform(0.001, 0.03), "times": rng.randint(1, 10)}


def make_plan(seed, cuts, restarts, kills, mounts):
    """Cuts, kills and what else there is in any order; restarts at even distances."""
    rng = random.Random(f"{seed} plan")
    plan = [choose_cut(rng) for _ in range(cuts)]
    for kind, share in OTHERS.items():
        plan += [choose_other(rng, kind) for _ in range(-(-cuts * share // 100))]
    plan += [{"kind": "kill-daemon", "seconds": rng.random() ** 4} for _ in range(kills)]
    rng.shuffle(plan)
    for order in plan:
        order["mount"] = rng.randrange(mounts)
    every = len(plan) // (restarts + 1)
    for i in range(restarts, 0, -1):
        plan.insert(i * every, {"kind": "restart", "seconds": rng.uniform(0, 2)})
    for order in plan:
        order["pause"] = rng.uniform(0.3, 1.7)
    return plan


class Streams:
    """The program of streams.py."""

    def __init__(self, port, sockets):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "streams.py"), str(port), *sockets],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("streams.py does not start")

    def order(self, order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Director:
    """go() carries out the plan; wait(seconds) is how it passes time, and says when to give up."""

    def __init__(self, plan, streams, server, daemons, progress, wait, log):
        self.plan = plan
        self.streams = streams
        self.server = server
        self.daemons = daemons
        self.progress = progress    # waits until all programs have got on, or gives up
        self.wait = wait
        self.log = log              # a file
        self.started = time.time()  # the server
        self.damaged = collections.Counter()  # until when, by mount
        self.done = collections.Counter()
        self.missed = collections.Counter()

    def go(self, seconds):
        """Evenly in so many seconds, or in as many as the faults themselves take."""
        begin = time.monotonic()
        for i, order in enumerate(self.plan):
            start = time.monotonic()
            hit = self.carry_out(order)
            self.log.write(f"{start:.3f} to {time.monotonic():.3f}: {self.tell(order, hit)}\n")
            self.log.flush()
            (self.done if hit else self.missed)[self.name(order)] += 1
            left = seconds - (time.monotonic() - begin)
            self.wait(max(0.05, left / (len(self.plan) - i)) * order["pause"])

    @staticmethod
    def tell(order, hit):
        words = ["mount", "cached", "seconds", "field", "ways"]
        return (f"{order['kind']}{'' if hit else ' (struck nothing)'} "
                + " ".join(f"{word} {order[word]}" for word in words if word in order))

    @staticmethod
    def name(order):
        return f"{order['kind']} {order['field']}" if "corrupt" in order["kind"] else order["kind"]

    def carry_out(self, order):
        if "corrupt" in order["kind"]:
            # a request whose reply is damaged twice in a row ends with an error
            self.wait(max(0, self.damaged[order["mount"]] - time.monotonic()))
            self.damaged[order["mount"]] = time.monotonic() + (
                8 if order["field"] in LATE else 3)
        if order["kind"] == "restart":
            return self.restart(order["seconds"])
        if order["kind"] == "kill-daemon":
            self.daemons[order["mount"]].kill_daemon(order["seconds"])
            return True
        if order["kind"].startswith("pause-"):
            pid = (self.server.pid if order["kind"] == "pause-server"
                   else self.daemons[order["mount"]].process.pid)
            return self.pause(pid, order["seconds"])
        return self.streams.order(order)["hit"]

    def restart(self, away):
        self.server.kill()
        # ganesha's verifiers are the second in which it started
        self.wait(max(away, self.started + 1.1 - time.time()))
        self.server.start(self.server.port)
        self.started = time.time()
        self.progress()
        return True

    def pause(self, pid, seconds):
        os.kill(pid, signal.SIGSTOP)
        with contextlib.ExitStack() as stack:
            stack.callback(os.kill, pid, signal.SIGCONT)
            time.sleep(seconds)
        return True

    def cuts(self):
        """Streams, or all of them at once, that were cut while they were in use."""
        return sum(self.done[kind] for kind in CUTS)
