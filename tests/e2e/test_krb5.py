#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Kerberos: each flavor on the wire, users with and without tickets, tickets that expire, servers
that forget or damage what was agreed on. With a realm of its own."""

import contextlib
import errno
import fcntl
import json
import os
import pwd
import random
import signal
import stat
import subprocess
import sys
import threading
import time

import proxy
from harness import ROOT, Suite, errno_of
from mounts import Mount, MountFailed, identity, mountinfo
from nfsreply import p32, record, u32
from realm import SERVER, Realm
from test_basic import read, write
from test_inside import await_control, status, vsockfsctl

sys.path.append(os.path.join(ROOT, "tests", "matrix"))
import matrix  # noqa: E402

REALM = Realm()
FLAVORS = ("krb5", "krb5i", "krb5p")
USER, OTHER, STRANGER = "daemon", "bin", "games"  # the last one never has a ticket
MIB = 1 << 20
DATA = random.Random(7).randbytes(3 * MIB + 77)
GSS, GSS_DATA = 6, 0
CREDPROBLEM, CTXPROBLEM = 13, 14
WINDOW = 32  # ganesha's, of sequence numbers
SOON = 20  # seconds for what a busy machine does in one


def prepare(export):
    REALM.start(os.path.join(os.path.dirname(export), "realm"))
    for user in (USER, OTHER, "short"):
        REALM.add_user(user)
    REALM.login(USER)
    REALM.login(OTHER)
    os.chmod(export, 0o777)
    others = []
    for sec in ("krb5p", "sys"):
        path = os.path.join(os.path.dirname(export), sec)
        os.mkdir(path)
        others.append((path, "/only-" + sec, f"SecType = {sec};"))
    # below the export itself
    for sec in ("krb5p", "sys"):
        os.mkdir(os.path.join(export, "inner-" + sec))
        path = os.path.join(os.path.dirname(export), "below-" + sec)
        os.mkdir(path)
        write(path + "/f", b"inner")
        others.append((path, "/export/inner-" + sec, f"SecType = {sec};"))
    # below one whose directories ganesha lets be named with either flavor
    for name, secs in (("both", "sys, krb5, krb5p"), ("both/inner-krb5p", "krb5p"),
                       ("both/inner-sys", "sys"), ("both/nest", "krb5, krb5p"),
                       ("both/nest/deep", "krb5")):
        path = os.path.join(os.path.dirname(export), name.replace("/", "-of-"))
        os.mkdir(path)
        os.chmod(path, 0o777)
        write(path + "/f", name.encode())
        for inner in ("inner-krb5p", "inner-sys", "nest") if name == "both" else ("deep",):
            os.mkdir(f"{path}/{inner}")
        others.append((path, "/" + name, f"SecType = {secs};"))
    suite.ganesha["more_exports"] = others


def options(sec):
    return f"sec={sec},gsshost={SERVER}"


suite = Suite(options=options("krb5"), prepare=prepare,
              ganesha={"realm": REALM, "sec": ", ".join(FLAVORS)})


def runs(env, user, command):
    done = env.as_user(user, ["sh", "-c", command])
    assert done.returncode == 0, f"{user} could not: {command}\n{done.stdout.decode()}"
    return done.stdout.decode()


def is_refused(env, user, command, words="Permission denied"):
    done = env.as_user(user, ["sh", "-c", command])
    assert done.returncode != 0 and words in done.stdout.decode(), (
        f"{user}: {command}: {done.returncode} {done.stdout.decode()}")


class Wire(proxy.Proxy):
    """Sees what goes to the server, and does to replies what it is told."""

    def __init__(self, *args):
        self.calls = []
        self.pending = None  # replies held back
        super().__init__(*args)

    def forwarded(self, call):
        self.calls.append(call)
        return call

    def lost_call(self, data):
        """Sessions cannot be told in what is encrypted."""

    def seen(self, text):
        return any(text in call for call in self.calls)


def rpcs(env, mount, operation):
    """How many compounds were sent for it."""
    await_control(env, mount.point)
    told = json.loads(env.run([vsockfsctl(), "stats", "--json", mount.point]))
    return told["operations"].get(operation, {"rpcs": 0})["rpcs"]


class Call:
    """The header of a call with RPCSEC_GSS, and where its body begins."""

    def __init__(self, data):
        self.flavor = u32(data, 24)
        self.gss_proc, self.seq, self.service = (u32(data, at) for at in (36, 40, 44))
        at = 32 + u32(data, 28)
        self.body = at + 8 + u32(data, at + 4)


def through(env, sec, more="nconnect=1", export="/export"):
    """A mount of this test's own through a proxy, and the proxy."""
    env.mount_count += 1
    point = os.path.join(env.work, f"{env.name}-wire{env.mount_count}")
    stack = env.stack.enter_context(contextlib.ExitStack())
    wire = Wire(point + ".sock", env.port)
    stack.callback(wire.stop)
    mount = stack.enter_context(Mount(env.suite.program(), f"unix:{wire.path}:{export}", point,
                                      f"{options(sec) if sec else 'gsshost=' + SERVER},{more}"))
    return os.path.join(point, env.name), wire, mount


def everything(env, top):
    """The main operations, checked on the server's disk."""
    os.chmod(top, 0o755)
    write(top + "/file", DATA)
    assert read(env.on_disk("file")) == DATA
    os.mkdir(top + "/dir")
    os.rename(top + "/file", top + "/dir/moved")
    os.link(top + "/dir/moved", top + "/linked")
    os.symlink("dir/moved", top + "/sym")
    assert read(top + "/sym") == DATA
    with open(top + "/linked", "r+b") as f:
        fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        f.seek(MIB)
        f.write(b"changed")
        f.flush()
        os.fsync(f.fileno())
        f.truncate(2 * MIB)
        fcntl.lockf(f, fcntl.LOCK_UN)
    want = DATA[:MIB] + b"changed" + DATA[MIB + 7:2 * MIB]
    assert read(env.on_disk("dir/moved")) == want == read(top + "/dir/moved")
    assert sorted(os.listdir(top)) == ["dir", "linked", "sym"]
    os.unlink(top + "/linked")
    os.chown(top + "/dir/moved", 1, 2)
    st = os.stat(env.on_disk("dir/moved"))
    assert (st.st_uid, st.st_gid, st.st_nlink) == (1, 2, 1)


@suite.test("the main operations with each flavor, and what of them the wire shows", timeout=60)
def flavors(env):
    for service, sec in enumerate(FLAVORS, 1):
        top, wire, _ = through(env, sec)
        top = os.path.join(top, sec)
        os.mkdir(top)
        env.disk = os.path.join(env.suite.export, env.name, sec)
        everything(env, top)
        name = f"name-of-{sec}"
        write(os.path.join(top, name), b"secret of " + sec.encode())
        compounds = [c for c in wire.calls if u32(c, 20) == 1]
        assert compounds
        for call in map(Call, compounds):
            assert (call.flavor, call.gss_proc, call.service) == (GSS, GSS_DATA, service), sec
        for text in (name.encode(), b"secret of " + sec.encode()):
            assert wire.seen(text) == (sec != "krb5p"), f"{sec}: {text}"
        # read from the server, and not from what is cached
        fresh = os.path.join(env.mount(options(sec)).point, env.name, sec)
        assert read(f"{fresh}/{name}") == b"secret of " + sec.encode()
        assert read(f"{fresh}/dir/moved") == read(env.on_disk("dir/moved"))
        matrix.hold("ganesha", f"sec={sec}", "yes")


@suite.test("nothing follows data in what is encrypted, since knfsd would execute the data's end")
def last(env):
    for sec, more in (("krb5i", False), ("krb5p", True)):
        mount = env.mount(f"{options(sec)},nconnect=1")
        top = os.path.join(mount.point, env.name)
        with open(f"{top}/{sec}", "wb") as f:
            for i in range(4):
                f.write(DATA[:MIB])
                os.fsync(f.fileno())
        assert read(env.on_disk(sec)) == DATA[:MIB] * 4
        assert rpcs(env, mount, "WRITE") >= 4
        assert (rpcs(env, mount, "GETATTR") >= rpcs(env, mount, "WRITE")) == more, sec


@suite.test("each user is who the ticket says, and without a ticket nobody")
def users(env):
    os.chmod(env.mnt, 0o1777)
    for user in (USER, OTHER):
        runs(env, user, f"echo of {user} > {env.path(user)}; chmod 600 {env.path(user)}")
        st = os.stat(env.on_disk(user))
        assert st.st_uid == pwd.getpwnam(user).pw_uid, user
        assert runs(env, user, f"cat {env.path(user)}") == f"of {user}\n"
    is_refused(env, OTHER, f"cat {env.path(USER)}")
    is_refused(env, STRANGER, f"echo x > {env.path('new')}")
    is_refused(env, STRANGER, f"ls {env.mnt}/")
    assert sorted(os.listdir(env.disk)) == sorted((USER, OTHER))


@suite.test("a ticket that comes later is found, also where login programs leave theirs")
def later(env):
    os.chmod(env.mnt, 0o1777)
    REALM.logout(OTHER)
    other = env.mount()
    top = os.path.join(other.point, env.name)
    is_refused(env, OTHER, f"touch {top}/a")
    cache = f"/tmp/krb5cc_{pwd.getpwnam(OTHER).pw_uid}_vsockfs_{env.suite.server.port}"
    try:
        REALM.login(OTHER, cache=cache)
        env.eventually(lambda: env.as_user(OTHER, ["touch", f"{top}/a"]).returncode == 0, SOON)
    finally:
        os.unlink(cache)
    REALM.login(OTHER)
    assert os.stat(env.on_disk("a")).st_uid == pwd.getpwnam(OTHER).pw_uid


@suite.test("tickets expire: EKEYEXPIRED until there is a new one; the machine gets its own anew",
            timeout=90)
def expiry(env):
    os.chmod(env.mnt, 0o1777)
    REALM.kadmin("modprinc -maxlife 4s host/guest.test")
    try:
        mount = env.mount("nconnect=2")
        top = os.path.join(mount.point, env.name)
        REALM.login(OTHER, lifetime="4s")
        with open(top + "/open", "wb") as f:
            runs(env, OTHER, f"echo 1 > {top}/first")
            # without tickets of the machine nothing of this would go on
            deadline = time.monotonic() + SOON + 10
            while env.as_user(OTHER, ["touch", f"{top}/first"]).returncode == 0:
                f.write(DATA[:100])
                f.flush()
                os.fsync(f.fileno())
                os.stat(top), os.listdir(top)
                assert time.monotonic() < deadline, "the ticket does not expire"
                time.sleep(0.2)
            is_refused(env, OTHER, f"touch {top}/second", "Key has expired")
            REALM.login(OTHER)
            env.eventually(
                lambda: env.as_user(OTHER, ["touch", f"{top}/second"]).returncode == 0, SOON)
            f.write(b"end")
        assert read(env.on_disk("open")).endswith(DATA[:100] + b"end")
        assert "connection lost" not in mount.log_tail(1000)
    finally:
        REALM.kadmin("modprinc -maxlife 10h host/guest.test")


@contextlib.contextmanager
def silent_kdc():
    """It takes connections and says nothing."""
    os.kill(REALM.kdc.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(REALM.kdc.pid, signal.SIGCONT)


@suite.test("while one user's calls wait for a KDC, all of them, other users' go on", timeout=120)
def waiting(env):
    os.chmod(env.mnt, 0o1777)
    mount = env.mount("nconnect=1,noac")
    top = os.path.join(mount.point, env.name)
    await_control(env, mount.point)
    count = status(env, mount.point)["client"]["slots"] + 1
    for i in range(count):
        write(env.on_disk(f"f{i}"), b"x")
    runs(env, USER, f"mkdir {top}/dir; echo 1 > {top}/dir/f")
    REALM.login(OTHER)  # has no ticket for the server yet
    waiters = []
    env.stack.callback(lambda: [w.kill() for w in waiters])
    with silent_kdc():
        for i in range(count):
            waiters.append(subprocess.Popen(
                ["stat", f"{top}/f{i}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, cwd="/", **identity(OTHER)))
        env.eventually(lambda: status(env, mount.point)["requests"]["count"] >= count, SOON)
        assert runs(env, USER, f"echo 2 >> {top}/dir/f; cat {top}/dir/f") == "1\n2\n"
        write(f"{top}/dir/root", b"x")
        assert status(env, mount.point)["client"]["slots_busy"] == 0
        waiters[0].kill()  # it is not sent later
        waiters[0].wait()
        assert all(w.poll() is None for w in waiters[1:]), "they do not wait"
    assert [w.wait() for w in waiters[1:]] == [0] * (count - 1)
    assert "not responding" not in mount.log_tail()


def is_not_mounted(env, words, more):
    try:
        env.mount(more)
    except MountFailed as e:
        assert e.status == 32 and words in e.stderr, f"{e.status}: {e.stderr}"
    else:
        raise AssertionError(f"{more}: mounted")


@suite.test("a service that the KDC does not know, and one whose key the server does not have")
def wrong_service(env):
    is_not_mounted(env, "not found in Kerberos database", "gsshost=nobody.test")
    REALM.kadmin("addprinc -randkey nfs/wrong.test")
    is_not_mounted(env, "the server rejects the ticket", "gsshost=wrong.test")


@suite.test("flavors that the server does not allow for an export, and those that it names")
def negotiated(env):
    for sec, export, flavor, service in ((None, "/only-krb5p", GSS, 3),
                                         ("krb5:krb5p", "/only-krb5p", GSS, 3),
                                         (None, "/only-sys", 1, None),
                                         ("krb5:sys", "/only-sys", 1, None)):
        top, wire, _ = through(env, sec, export=export)
        wire.calls.clear()
        write(os.path.dirname(top) + "/f", b"x")
        calls = [Call(c) for c in wire.calls if u32(c, 20) == 1]
        assert calls, export
        for call in calls:
            assert call.flavor == flavor, f"{sec} {export}: flavor {call.flavor}"
            assert service in (None, call.service), f"{sec} {export}: service {call.service}"
    for sec, export, words in (("krb5:krb5i", "/only-krb5p", "but sec=krb5p"),
                               ("krb5p", "/only-sys", "but sec=sys")):
        try:
            through(env, sec, export=export)
        except MountFailed as e:
            assert e.status == 32 and words in e.stderr, f"{e.status}: {e.stderr}"
        else:
            raise AssertionError(f"{sec} {export}: mounted")


@suite.test("a file system inside the export that wants a flavor which sec= leaves out: EPERM, and which")
def below(env):
    mount = env.mount("sec=krb5,noac")
    for sec in ("krb5p", "sys"):
        top = f"{mount.point}/inner-{sec}"
        assert errno_of(os.stat, top + "/f") == errno.EPERM
        assert errno_of(os.listdir, top) == errno.EPERM
        assert f"is a file system for sec={sec}, which this mount, with sec=krb5," in mount.log_tail()
        assert mount.log_tail().count(f'"inner-{sec}"') == 1
    own = env.mount("sec=krb5p", export="/export/inner-krb5p")
    assert read(own.point + "/f") == b"inner"
    assert {"inner-krb5p", "inner-sys"} <= set(os.listdir(mount.point))
    assert errno_of(os.listdir, env.root) == 0


def is_mounted(env, point, sec):
    """Does a daemon of its own serve it, with this flavor?"""
    if not mountinfo(point):
        return False
    await_control(env, point)
    return f",sec={sec}," in status(env, point)["options"]


def umount(env, point):
    """As umount(8) does where the helper is installed."""
    helper = env.scratch("umount.fuse.vsockfs")
    if not os.path.islink(helper):
        os.symlink(env.suite.program(), helper)
    return subprocess.run([helper, point], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")


def begins(env, top):
    """In the foreground a mount is there a moment before it can mount others."""
    env.eventually(lambda: errno_of(os.listdir, top) == 0, SOON)


@contextlib.contextmanager
def both(env, more, export="/both"):
    """A mount without the suite's sec=, and with what it mounts."""
    env.mount_count += 1
    point = os.path.join(env.work, f"{env.name}-both{env.mount_count}")
    mount = Mount(env.suite.program(), env.suite.source(export=export), point,
                  f"gsshost={SERVER},nconnect=1{more}").start()
    try:
        yield mount
        done = umount(env, point)
        assert done.returncode == 0 and not mountinfo(point), done.stderr
        assert mount.process.wait(SOON) == 0
        os.rmdir(point)  # nothing lies on it
    finally:
        if mountinfo(point):
            mount.kill()


@suite.test("a file system inside the mount that wants another flavor is mounted with that, and goes along")
def crossed(env):
    for more, into, sec in (("", "inner-krb5p", "krb5p"), (",sec=krb5:sys", "inner-sys", "sys"),
                            (",sec=sys:krb5p", "inner-krb5p", "krb5p")):
        with both(env, more) as mount:
            top = f"{mount.point}/{into}"
            assert stat.S_ISDIR(os.lstat(top).st_mode)
            begins(env, top)
            assert read(top + "/f") == b"both/" + into.encode()
            assert is_mounted(env, top, sec), f"{more}: {into} is not mounted with sec={sec}"
            assert os.stat(top).st_dev != os.stat(mount.point).st_dev
            assert {"f", "inner-krb5p", "inner-sys", "nest"} == set(os.listdir(mount.point))
            runs(env, USER, f"echo new > {top}/new-{sec}; cat {top}/new-{sec}; rm {top}/new-{sec}")
            time.sleep(1.1)  # names are looked up anew
            os.stat(mount.point + "/f"), os.stat(top + "/f")
            assert is_mounted(env, top, sec)
            with open(top + "/f", "rb"):
                assert umount(env, mount.point).returncode != 0
                assert is_mounted(env, top, sec)


@suite.test("it goes when nobody uses it, and is mounted again when somebody does")
def idle(env):
    with both(env, ",referral_idle=1") as mount:
        top = f"{mount.point}/inner-krb5p"
        begins(env, top)
        env.eventually(lambda: not mountinfo(top), SOON)
        assert read(top + "/f") == b"both/inner-krb5p"


@suite.test("one in another, and the way there when it is mounted itself, each with its own flavor")
def nested(env):
    with both(env, "") as mount:
        begins(env, mount.point + "/nest")  # the kernel goes back for one of them in a path
        assert read(f"{mount.point}/nest/deep/f") == b"both/nest/deep"
        assert is_mounted(env, mount.point + "/nest", "krb5p")
        assert is_mounted(env, mount.point + "/nest/deep", "krb5")
    with both(env, "", "/both/nest/deep") as mount:
        assert read(mount.point + "/f") == b"both/nest/deep"
        assert is_mounted(env, mount.point, "krb5")


@suite.test("a flavor that was left out, or cannot be had, is not used below the mount: EPERM")
def forbidden(env):
    keytab = {"KRB5_KTNAME": env.scratch("no.keytab")}
    for more, into, what, environment in (
            (",sec=sys", "inner-krb5p", "krb5p", {}), (",sec=krb5:krb5p", "inner-sys", "sys", {}),
            (",noreferrals", "inner-krb5p", "krb5p", {}), ("", "inner-krb5p", "krb5p", keytab)):
        with contextlib.ExitStack() as stack:
            stack.callback(os.environ.pop, "KRB5_KTNAME", None)
            os.environ.update(environment)
            mount = stack.enter_context(both(env, more))
            top = f"{mount.point}/{into}"
            for _ in range(2):
                assert errno_of(os.listdir, top) == errno.EPERM
                assert errno_of(os.stat, top) == errno.EPERM
            assert not mountinfo(top)
            assert mount.log_tail().count(f'"{into}" in the directory with inode') == 1
            assert f"is a file system for sec={what}, which this mount" in mount.log_tail()


@suite.test("a file system that cannot be mounted though its flavor can be had: EPERM, and why")
def impossible(env):
    # ganesha lets only who may be in the directory above name something in it
    with both(env, ",sec=krb5:sys", "/export") as mount:
        top = f"{mount.point}/inner-sys"
        env.eventually(lambda: errno_of(os.listdir, top) == errno.EPERM and
                       '"inner-sys"' in mount.log_tail(), SOON)
        assert errno_of(os.listdir, top) == errno.EPERM
        assert stat.S_ISDIR(os.stat(top).st_mode) and not mountinfo(top)
        lines = [x for x in mount.log_tail().splitlines() if '"inner-sys"' in x]
        assert len(lines) == 1 and (
            "sec=sys, which is not followed: " in lines[0] and "directory above" in lines[0]), lines


def flip(at):
    """Damages one byte of a reply, counted from its end where `at` is negative."""
    def damage(_, data):
        broken = bytearray(data)
        broken[at] ^= 0x40
        return record(bytes(broken))
    return damage


@suite.test("damaged verifiers, checksums and ciphertext are noticed, and nothing is done twice",
            timeout=90)
def damaged(env):
    write(env.on_disk("f"), DATA)
    for sec, at, words in (("krb5", 30, "verifier is wrong"), ("krb5i", 30, "verifier is wrong"),
                           ("krb5i", -1, "checksum is wrong"), ("krb5i", 100, "checksum is wrong"),
                           ("krb5p", -30, "cannot be decrypted")):
        top, wire, mount = through(env, sec, "nconnect=1,noac,timeo=50")
        os.stat(top)
        wire.arm(flip(at), times=1)
        os.mkdir(f"{top}/{sec}{at}")
        assert wire.hits == 1
        assert words in mount.log_tail(), f"{sec} {at}: {mount.log_tail()}"
        wire.arm(flip(at), times=1)
        assert read(top + "/f") == DATA
        assert wire.hits == 1
        wire.disarm()
    assert len(os.listdir(env.disk)) == 6


def denied(why):
    return lambda call: record(p32(u32(call), 1, 1, 1, why))


@suite.test("a context that the server does not know any more: a new one, in the same slot")
def problem(env):
    top, wire, mount = through(env, "krb5", "nconnect=1,noac")
    os.stat(top)
    for why in (CREDPROBLEM, CTXPROBLEM):
        refused = []

        def answer(call):
            refused.append(call)
            return denied(why)(call)
        wire.calls.clear()
        wire.arm_call(answer)
        os.mkdir(f"{top}/{why}")
        first, = refused
        # SEQUENCE's session, sequence id, slot: all of the arguments are as they were
        assert any(u32(c) != u32(first) and c[Call(c).body:] == first[Call(first).body:]
                   for c in wire.calls if u32(c, 20) == 1), "not sent again"
        assert any(u32(c, 20) == 0 and Call(c).gss_proc == 1 for c in wire.calls), "no new context"
    assert sorted(os.listdir(env.disk)) == [str(CREDPROBLEM), str(CTXPROBLEM)]
    assert "connection" not in mount.log_tail()


@suite.test("a server that knows no context at all: EACCES, not for ever")
def hopeless(env):
    top, wire, _ = through(env, "krb5", "nconnect=1,noac")
    os.stat(top)

    def deny(_, data):
        if u32(data, 4) == 1 and u32(data, 8) == 0 and len(data) > 200:
            return None  # the replies to tokens
        return denied(CREDPROBLEM)(data)
    wire.arm(deny, times=10**6)
    assert errno_of(os.mkdir, top + "/d") == errno.EACCES
    wire.disarm()
    os.mkdir(top + "/e")


class Shuffler(Wire):
    """Sends replies in bunches, the last one first."""

    bunch = None

    def __init__(self, *args):
        self.unanswered, self.spread = {}, 0
        super().__init__(*args)

    def forwarded(self, call):
        with self.lock:
            if u32(call, 20) == 1:
                self.unanswered[u32(call)] = Call(call).seq
                self.spread = max(self.spread, Call(call).seq - min(self.unanswered.values()))
        return super().forwarded(call)

    def damaged(self, connection, data):
        with self.lock:
            if self.bunch is None:
                self.unanswered.pop(u32(data), None)
                return None
            self.bunch.append(data)
            if len(self.bunch) == 1:
                threading.Timer(0.03, self.release, (connection,)).start()
        return []

    def release(self, connection):
        with self.lock:
            bunch = self.bunch or []
            self.bunch = None if self.bunch is None else []
            self.hits = max(self.hits, len(bunch))
            for data in bunch:
                self.unanswered.pop(u32(data), None)
        for data in reversed(bunch):
            connection.send(record(data))


@suite.test("many calls at once, more than the server's window, answered in another order",
            timeout=90)
def pipelined(env):
    for i in range(64):
        write(env.on_disk(f"f{i}"), DATA[i * 100:i * 100 + 20_000])
    global Wire
    plain, Wire = Wire, Shuffler
    try:
        for sec in ("krb5", "krb5p"):
            top, wire, mount = through(env, sec, "nconnect=1,noac,cache=none")
            os.stat(top)
            wire.bunch = []
            children = [env.child(read_many, top, i) for i in range(0, 64)]
            for child in children:
                child.join()
            wire.bunch = None
            assert wire.hits > 8, f"only {wire.hits} at once"
            numbers = [Call(c).seq for c in wire.calls if u32(c, 20) == 1]
            assert len(wire.connections) == 1, mount.log_tail()
            assert len(numbers) > 64
            assert 8 < wire.spread < WINDOW, f"numbers {wire.spread} apart under way"
    finally:
        Wire = plain


class Busy(Wire):
    """Ends the first connection with a context, as knfsd does when its helper is slow."""

    left = 1

    def forwarded(self, call):
        if u32(call, 20) == 0 and Call(call).flavor == GSS and self.left:
            self.left = 0
            raise ConnectionError
        return super().forwarded(call)


@suite.test("a server that asks for another flavor, and then ends the connection for once")
def busy(env):
    global Wire
    plain, Wire = Wire, Busy
    try:
        _, wire, mount = through(env, None, export="/both/inner-krb5p")
    finally:
        Wire = plain
    assert wire.left == 0 and read(mount.point + "/f") == b"both/inner-krb5p"


def read_many(top, i):
    assert read(f"{top}/f{i}") == DATA[i * 100:i * 100 + 20_000], f"f{i}"


@suite.test("a server that restarts knows no context: files stay open, work goes on", timeout=90)
def restart(env):
    server = env.server(realm=REALM, sec="krb5, krb5p", graceless=False,
                        nfsv4="Grace_Period = 5; Lease_Lifetime = 5;")
    for sec in ("krb5", "krb5p"):
        mount = server.mount(options(sec))
        os.chmod(mount.point, 0o777)
        runs(env, USER, f"echo one > {mount.point}/f.{sec}")
        with open(f"{mount.point}/open.{sec}", "wb") as f:
            f.write(DATA[:MIB])
            server.restart()
            f.write(DATA[MIB:])
        assert read(f"{server.export}/open.{sec}") == DATA
        runs(env, USER, f"echo two >> {mount.point}/f.{sec}")
        assert read(f"{server.export}/f.{sec}") == b"one\ntwo\n"


@suite.test("streams that are cut while users write")
def cut(env):
    os.chmod(env.mnt, 0o777)
    for _ in range(3):
        writer = env.child(lambda: [write(env.path(f"f{i}"), DATA[:MIB]) for i in range(8)])
        time.sleep(0.05)
        os.kill(env.suite.relay.pid, signal.SIGUSR1)
        writer.join()
        runs(env, USER, f"echo x >> {env.path('log')}")
    for i in range(8):
        assert read(env.on_disk(f"f{i}")) == DATA[:MIB]
    assert read(env.on_disk("log")) == b"x\n" * 3
    assert stat.S_IMODE(os.stat(env.path("log")).st_mode) == 0o644


if __name__ == "__main__":
    suite.main()
