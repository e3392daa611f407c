#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""git on the mount, and one working tree used from the host and from the guest."""

import os
import subprocess
import time

from harness import Suite, need

suite = Suite()
GIT_ENV = dict(
    os.environ, GIT_CONFIG_NOSYSTEM="1", GIT_CONFIG_GLOBAL="/dev/null", GIT_EDITOR="true",
    GIT_AUTHOR_NAME="A", GIT_AUTHOR_EMAIL="a@example.org", GIT_COMMITTER_NAME="A",
    GIT_COMMITTER_EMAIL="a@example.org", GIT_CONFIG_COUNT="2",
    GIT_CONFIG_KEY_0="safe.directory", GIT_CONFIG_VALUE_0="*",
    GIT_CONFIG_KEY_1="init.defaultBranch", GIT_CONFIG_VALUE_1="main")


def git(env, where, *words):
    return env.run(["git", "-C", where, *words], env=GIT_ENV)


def origin(env):
    """A repository on the local disk with a few hundred files and thirty commits."""
    path = os.path.join(env.work, "origin")
    if not os.path.exists(path):
        os.mkdir(path)
        git(env, path, "init", "-q")
        env.run(f"cp -r /usr/include/linux {path}/")
        git(env, path, "add", "-A")
        git(env, path, "commit", "-qm", "all")
        for i in range(30):
            with open(f"{path}/linux/types.h", "a") as f:
                f.write(f"/* {i} */\n")
            with open(f"{path}/file-{i}", "w") as f:
                f.write("text\n" * i)
            git(env, path, "add", "-A")
            git(env, path, "commit", "-qm", f"commit {i}")
            if i % 10 == 0:
                git(env, path, "branch", f"branch-{i}")
    return path


@suite.test("clone, commit, branch, merge, rebase, gc, fsck and push", timeout=240)
def work(env):
    need("git")
    repo = env.path("repo")
    git(env, env.mnt, "clone", "-q", "--no-local", origin(env), "repo")
    env.run(["diff", "-r", "--exclude=.git", origin(env), repo])
    assert git(env, repo, "status", "--porcelain") == ""
    git(env, repo, "checkout", "-qb", "side", "HEAD~10")
    for i in range(20):
        with open(f"{repo}/side-{i}", "w") as f:
            f.write(f"{i}\n" * 1000)
        git(env, repo, "add", "-A")
        git(env, repo, "commit", "-qm", f"side {i}")
    git(env, repo, "rebase", "-q", "main")
    git(env, repo, "checkout", "-q", "main")
    git(env, repo, "merge", "-q", "--no-ff", "-m", "merge", "side")
    git(env, repo, "gc", "-q", "--aggressive", "--prune=now")
    assert "dangling" not in git(env, repo, "fsck", "--full", "--strict")
    assert git(env, repo, "status", "--porcelain") == ""
    git(env, repo, "push", "-q", "origin", "HEAD:refs/heads/back")
    there = git(env, origin(env), "rev-parse", "back")
    assert there == git(env, repo, "rev-parse", "HEAD")
    env.same()
    assert git(env, env.on_disk("repo"), "fsck", "--full") == ""


@suite.test("clone from the mount, archive and stash", timeout=120)
def more(env):
    need("git")
    git(env, env.mnt, "clone", "-q", "--bare", origin(env), "bare.git")
    git(env, env.mnt, "clone", "-q", "bare.git", "copy")
    git(env, env.mnt, "clone", "-q", env.path("bare.git"), env.scratch("out"))
    env.run(["diff", "-r", "--exclude=.git", origin(env), env.path("copy")])
    env.run(["diff", "-r", "--exclude=.git", origin(env), env.scratch("out")])
    with open(env.path("copy/file-1"), "w") as f:
        f.write("changed")
    git(env, env.path("copy"), "stash", "-q")
    assert git(env, env.path("copy"), "status", "--porcelain") == ""
    git(env, env.path("copy"), "stash", "pop", "-q")
    assert git(env, env.path("copy"), "status", "--porcelain").split() == ["M", "file-1"]
    git(env, env.path("copy"), "worktree", "add", "-q", env.path("second"), "branch-10")
    assert git(env, env.path("second"), "status", "--porcelain") == ""


@suite.test("a worktree used from both sides: commits in turn, status clean, fsck clean",
            timeout=120)
def both_sides(env):
    need("git")
    git(env, env.disk, "clone", "-q", origin(env), "repo")
    guest, host = env.path("repo"), env.on_disk("repo")
    env.eventually(lambda: os.path.exists(guest))
    for i in range(12):
        here, there = (guest, host) if i % 2 else (host, guest)
        with open(f"{here}/turn-{i}", "w") as f:
            f.write(f"{here}\n")
        with open(f"{here}/file-7", "a") as f:
            f.write(f"turn {i}\n")
        assert len(git(env, here, "status", "--porcelain").splitlines()) == 2, i
        git(env, here, "add", "-A")
        git(env, here, "commit", "-qm", f"turn {i}")
        time.sleep(1.1)  # what the other side may still have cached
        assert git(env, there, "status", "--porcelain") == "", i
        assert git(env, there, "rev-parse", "HEAD") == git(env, here, "rev-parse", "HEAD")
    for side in (guest, host):
        git(env, side, "fsck", "--full")
    env.same()


@suite.test("git's lock held on one side keeps the other side out", timeout=60)
def locked_out(env):
    need("git")
    git(env, env.disk, "clone", "-q", origin(env), "repo")
    guest, host = env.path("repo"), env.on_disk("repo")
    env.eventually(lambda: os.path.exists(guest))
    for holder, other in ((guest, host), (host, guest)):
        with open(f"{holder}/new", "a") as f:
            f.write("x\n")
        git(env, holder, "add", "-A")
        # the editor of a commit runs while index.lock and the commit's own state are held
        ready = env.scratch("ready")
        busy = subprocess.Popen(
            ["git", "-C", holder, "commit", "-qam", "slow"], stdin=subprocess.DEVNULL,
            env=dict(GIT_ENV, GIT_CONFIG_COUNT="3", GIT_CONFIG_KEY_2="core.hooksPath",
                     GIT_CONFIG_VALUE_2=slow_hook(env, ready)))
        env.eventually(lambda: os.path.exists(ready), within=10, what="the hook")
        done = subprocess.run(["git", "-C", other, "add", "-A"], env=GIT_ENV,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode != 0 and b"index.lock" in done.stdout, done
        os.unlink(ready)
        assert busy.wait(30) == 0
        env.eventually(lambda: subprocess.run(["git", "-C", other, "add", "-A"],
                                              env=GIT_ENV, stderr=subprocess.DEVNULL
                                              ).returncode == 0, what="the lock's end")
        git(env, other, "fsck", "--full")


def slow_hook(env, ready):
    """A directory of hooks: pre-commit makes `ready` and waits until it is gone."""
    hooks = env.scratch("hooks")
    os.makedirs(hooks, exist_ok=True)
    with open(f"{hooks}/pre-commit", "w") as f:
        f.write(f"#!/bin/sh\ntouch {ready}\nwhile test -e {ready}; do sleep 0.05; done\n")
    os.chmod(f"{hooks}/pre-commit", 0o755)
    return hooks


@suite.test("commits from both sides at once: each is made or refused by the lock, none is lost",
            timeout=120)
def contention(env):
    need("git")
    git(env, env.disk, "clone", "-q", origin(env), "repo")
    env.eventually(lambda: os.path.exists(env.path("repo")))

    def commit(root, side):
        made = 0
        for i in range(40):
            done = subprocess.run(
                ["git", "-C", f"{root}/repo", "commit", "-q", "--allow-empty", "-m",
                 f"{side} {i}"], env=GIT_ENV, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            made += done.returncode == 0
            # git writes the message to a file that no lock covers: it may be the other's, or empty
            assert done.returncode == 0 or b"lock" in done.stdout or (
                b"empty commit message" in done.stdout), done.stdout
        with open(f"{env.disk}/made-{side}", "w") as f:
            f.write(str(made))

    before = int(git(env, env.on_disk("repo"), "rev-list", "--count", "HEAD"))
    sides = [env.child(commit, env.mnt, "guest"), env.child(commit, env.disk, "host")]
    for side in sides:
        side.join()
    made = 0
    for side in ("guest", "host"):
        with open(env.on_disk(f"made-{side}")) as f:
            made += int(f.read())
    after = int(git(env, env.on_disk("repo"), "rev-list", "--count", "HEAD"))
    assert after - before == made and made > 0, (before, after, made)
    git(env, env.on_disk("repo"), "fsck", "--full")


if __name__ == "__main__":
    suite.main()
