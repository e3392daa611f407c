#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The streams between vsockfs and its server, at the mercy of a script.

    streams.py PORT SOCKET...

Listens on the Unix sockets (each is one mount's), and carries their records to a TCP port of
127.0.0.1. Prints "ready", then does what standard input says, one JSON object in a line, and prints
one with "hit" for each: whether the fault struck anything before PATIENCE was over. Ends with
standard input.

What it can do is in FAULTS; "mount" says to which socket.
"""

import json
import os
import socket
import sys
import threading
import time

import records
from records import CALL, REPLY

PATIENCE = 2.0  # seconds for which a fault waits for the record that it is for
OTHER = {CALL: REPLY, REPLY: CALL}


class Rule:
    """A fault that waits for a record; its place is the mount's `rule`."""

    def __init__(self, order):
        self.order = order
        self.kind = order["kind"]
        self.xid = None      # of the call whose reply is meant
        self.stream = None
        self.struck = threading.Event()

    def takes(self, stream, way, data):
        """Whether this is the record; the mount's lock is held."""
        if self.stream not in (None, stream):
            return False
        if self.kind.startswith("call-"):
            return way == CALL and self.wanted(data)
        if self.kind == "corrupt-call":
            return way == CALL and records.kind(data) == CALL
        if self.kind == "corrupt-reply":
            return way == REPLY and records.has_sequence_results(data)
        if way == CALL and self.xid is None and self.wanted(data):
            self.xid, self.stream = records.xid(data), stream
        return (way == REPLY and self.xid is not None and records.kind(data) == REPLY
                and records.xid(data) == self.xid)

    def wanted(self, data):
        return not self.order["cached"] or records.wants_cached_reply(data)


class Stream:
    def __init__(self, mount, client, server):
        self.mount = mount
        self.ends = {CALL: client, REPLY: server}  # where the records of this kind come from
        self.open = {CALL: threading.Event(), REPLY: threading.Event()}  # not stalled
        self.send_lock = threading.Lock()
        self.delay = self.slow_until = self.split_until = 0
        self.late = None
        self.used = 0
        self.dead = False
        self.ended = {CALL: threading.Event(), REPLY: threading.Event()}
        for way in (CALL, REPLY):
            self.open[way].set()
            threading.Thread(target=self.pump, args=(way,), daemon=True).start()

    def pump(self, way):
        try:
            while True:
                self.carry(way, records.receive(self.ends[way]))
        except (OSError, records.Ended):
            self.close()
        finally:
            self.ended[way].set()
            if way == CALL:  # a descriptor must not be another's while a thread uses it
                self.ended[REPLY].wait()
                for end in self.ends.values():
                    end.close()

    def carry(self, way, data):
        self.used = time.monotonic()
        self.open[way].wait()
        if self.used < self.slow_until:
            time.sleep(self.delay)
        rule = self.mount.rule_for(self, way, data)
        if rule is None:
            self.send(way, data)
            return
        try:
            getattr(self, STRIKES[rule.kind])(way, data, rule.order)
        finally:
            rule.struck.set()

    def send(self, way, data):
        sink = self.ends[OTHER[way]]
        if way == REPLY and self.late is None and self.mount.swap.acquire(blocking=False):
            self.late = data  # overtaken by the next reply, or by the clock
            threading.Timer(0.2, self.send_late).start()
            return
        with self.send_lock:
            if time.monotonic() < self.split_until:
                self.send_split(sink, data)
            else:
                sink.sendall(data)
        if way == REPLY:
            self.send_late()

    def send_late(self):
        with self.send_lock:
            data, self.late = self.late, None
            if data is not None:
                try:
                    self.ends[CALL].sendall(data)
                except OSError:
                    pass

    @staticmethod
    def send_split(sink, data):
        """Single bytes at both ends, where heads and padding are."""
        edge = 200
        for at in range(min(edge, len(data))):
            sink.sendall(data[at:at + 1])
        tail = max(edge, len(data) - 8)
        for at in range(edge, tail, 40961):
            sink.sendall(data[at:min(at + 40961, tail)])
        for at in range(tail, len(data)):
            sink.sendall(data[at:at + 1])

    def close(self):
        self.mount.forget(self)
        for end in self.ends.values():
            self.shut(end)
        for way in self.open:
            self.open[way].set()

    @staticmethod
    def shut(end):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    # What becomes of a record that a rule was waiting for

    def lose(self, way, data, order):
        raise records.Ended

    def cut_within(self, way, data, order):
        with self.send_lock:
            self.ends[OTHER[way]].sendall(data[:int(order["at"] * len(data))])
        raise records.Ended

    def cut_behind(self, way, data, order):
        """The server executes it while the client is already on its way back."""
        self.mount.forget(self)
        self.shut(self.ends[CALL])
        self.ends[REPLY].sendall(data)
        self.ended[REPLY].wait()  # it fails to hand the reply on
        raise records.Ended

    def corrupt(self, way, data, order):
        records.DAMAGE[way][order["field"]](data)
        self.send(way, data)

    # What goes on for a while

    def stall(self, ways, seconds):
        for way in ways:
            self.open[way].clear()
        if seconds is None:
            self.dead = True
            return
        time.sleep(seconds)
        for way in ways:
            self.open[way].set()


STRIKES = {"call-lost": "lose", "call-within": "cut_within", "call-behind": "cut_behind",
           "reply-lost": "lose", "reply-within": "cut_within",
           "corrupt-call": "corrupt", "corrupt-reply": "corrupt"}


class Mount:
    """The streams of one mount."""

    def __init__(self, path, port):
        self.port = port
        self.lock = threading.Lock()
        self.streams = []
        self.rule = None
        self.held = None  # clients that wait to be let in, while they do
        self.swap = threading.Semaphore(0)
        self.accepted = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            with self.lock:
                if self.held is not None:
                    self.held.append(client)
                    continue
            self.let_in(client)

    def let_in(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.port))
        except OSError:
            client.close()
            return
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            self.accepted += 1
            self.streams.append(Stream(self, client, server))

    def forget(self, stream):
        with self.lock:
            if stream in self.streams:
                self.streams.remove(stream)

    def rule_for(self, stream, way, data):
        with self.lock:
            rule = self.rule
            if rule is None or not rule.takes(stream, way, data):
                return None
            self.rule = None
            return rule

    def alive(self):
        with self.lock:
            return [s for s in self.streams if not s.dead]

    def one(self, order):
        """One of the streams that were used last."""
        found = sorted(self.alive(), key=lambda s: -s.used)
        return found[int(order["pick"] * len(found))] if found else None

    # Faults

    def wait_for_record(self, order):
        rule = Rule(order)
        with self.lock:
            self.rule = rule
        struck = rule.struck.wait(PATIENCE)
        with self.lock:
            self.rule = None
        return struck or rule.struck.is_set()

    def cut_now(self, order):
        stream = self.one(order)
        if stream:
            stream.close()
        return stream is not None

    def cut_all(self, order):
        streams = self.alive()
        for stream in streams:
            stream.close()
        return bool(streams)

    def cut_all_and_reorder(self, order):
        """All come back, and are let in a while later, the last one first."""
        with self.lock:
            self.held = []
        self.cut_all(order)
        time.sleep(order["seconds"])
        with self.lock:
            clients, self.held = self.held, None
        for client in reversed(clients):
            self.let_in(client)
        return True

    def stall_one(self, order):
        stream = self.one(order)
        if stream:
            ways = [w for w in (CALL, REPLY) if order["ways"] & 1 << w]
            threading.Thread(target=stream.stall, args=(ways, order["seconds"]),
                             daemon=True).start()
        return stream is not None

    def slow_all(self, order):
        for stream in self.alive():
            stream.delay = order["delay"]
            stream.slow_until = time.monotonic() + order["seconds"]
        return True

    def split_all(self, order):
        for stream in self.alive():
            stream.split_until = time.monotonic() + order["seconds"]
        return True

    def swap_replies(self, order):
        for _ in range(order["times"]):
            self.swap.release()
        return True


FAULTS = {**dict.fromkeys(STRIKES, Mount.wait_for_record), "cut-now": Mount.cut_now,
          "cut-all": Mount.cut_all, "cut-all-reorder": Mount.cut_all_and_reorder,
          "stall": Mount.stall_one, "dead": Mount.stall_one, "slow": Mount.slow_all,
          "split": Mount.split_all, "swap": Mount.swap_replies}


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    mounts = [Mount(path, int(sys.argv[1])) for path in sys.argv[2:]]
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["kind"] == "count":
            answer = {"accepted": [m.accepted for m in mounts]}
        else:
            answer = {"hit": FAULTS[order["kind"]](mounts[order["mount"]], order)}
        print(json.dumps(answer), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
