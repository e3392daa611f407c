#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""SQLite with a rollback journal: its correctness is that of locks, fsync and cache coherence."""

import os
import signal
import sqlite3
import time

import compare
from harness import Suite

suite = Suite()


def connect(path, journal="DELETE"):
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    assert db.execute(f"PRAGMA journal_mode={journal}").fetchone()[0].upper() == journal
    return db


def check(env, name, rows):
    """Sound and complete, by the mount's eyes and the host's; the same bytes everywhere."""
    for path in (env.path(name), env.on_disk(name)):
        db = sqlite3.connect(path, timeout=60)
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("SELECT count(*) FROM t").fetchone()[0] == rows
        db.close()
    assert compare.digest(env.path(name)) == compare.digest(env.on_disk(name))
    env.same()


def writer(path, tag, rounds, journal="DELETE"):
    db = connect(path, journal)
    for i in range(rounds):
        db.execute("BEGIN IMMEDIATE")
        (total,) = db.execute("SELECT coalesce(max(running), 0) FROM t").fetchone()
        db.execute("INSERT INTO t VALUES (?, ?, ?, ?)", (tag, i, total + 1, "x" * (i * 37 % 2000)))
        db.execute("COMMIT")
    db.close()


def create(path):
    db = connect(path)
    db.execute("CREATE TABLE t (tag, i, running, filler)")
    db.execute("CREATE INDEX by_tag ON t (tag, i)")
    db.close()


def no_update_lost(path, rows):
    db = sqlite3.connect(path)
    assert db.execute("SELECT max(running), count(distinct running) FROM t").fetchone() == (
        rows, rows), "an update was lost"
    db.close()


@suite.test("a database is filled, changed and vacuumed by one process", timeout=90)
def single(env):
    create(env.path("db"))
    db = connect(env.path("db"))
    db.execute("BEGIN")
    db.executemany("INSERT INTO t VALUES ('a', ?, ?, ?)", ((i, i + 1, "y" * 300)
                                                          for i in range(20000)))
    db.execute("COMMIT")
    db.execute("DELETE FROM t WHERE i % 3 = 0")
    db.execute("VACUUM")
    rows = db.execute("SELECT count(*) FROM t").fetchone()[0]
    db.close()
    check(env, "db", rows)


@suite.test("four concurrent writers on one mount lose no update", timeout=180)
def concurrent(env):
    create(env.path("db"))
    writers = [env.child(writer, env.path("db"), f"w{n}", 40) for n in range(4)]
    for child in writers:
        child.join()
    no_update_lost(env.path("db"), 160)
    check(env, "db", 160)


@suite.test("concurrent writers on two mounts lose no update", timeout=240)
def two_mounts(env):
    other = os.path.join(env.mount().point, env.name)
    create(env.path("db"))
    writers = [env.child(writer, f"{root}/db", f"{tag}", 40)
               for tag, root in (("a", env.mnt), ("b", other), ("c", env.mnt), ("d", other))]
    for child in writers:
        child.join()
    no_update_lost(env.path("db"), 160)
    no_update_lost(f"{other}/db", 160)
    check(env, "db", 160)


@suite.test("a writer on the host and one on the mount lose no update", timeout=240)
def host_and_guest(env):
    create(env.path("db"))
    writers = [env.child(writer, env.path("db"), "guest", 40),
               env.child(writer, env.on_disk("db"), "host", 40)]
    for child in writers:
        child.join()
    no_update_lost(env.on_disk("db"), 80)
    check(env, "db", 80)


@suite.test("TRUNCATE and PERSIST journals work as well", timeout=120)
def journals(env):
    for journal in ("TRUNCATE", "PERSIST"):
        create(env.path(journal))
        writers = [env.child(writer, env.path(journal), f"w{n}", 25, journal) for n in range(2)]
        for child in writers:
            child.join()
        check(env, journal, 50)


@suite.test("a writer killed in a transaction is rolled back by the next on another mount",
            timeout=60)
def rollback(env):
    other = os.path.join(env.mount().point, env.name)
    create(env.path("db"))
    writer(env.path("db"), "first", 10)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        db = connect(env.path("db"))
        db.execute("PRAGMA cache_size = 1")  # so that changed pages reach the file before COMMIT
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE t SET running = -1, filler = hex(randomblob(3000))")
        os.write(write_end, b"x")
        time.sleep(60)
    os.read(read_end, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert os.path.exists(env.on_disk("db-journal")), "no transaction was under way"
    no_update_lost(f"{other}/db", 10)
    check(env, "db", 10)


if __name__ == "__main__":
    suite.main()
