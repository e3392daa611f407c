#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""RPC-with-TLS: a real TLS 1.3 in front of a real server, with all that can go wrong with it."""

import concurrent.futures
import hashlib
import os
import subprocess
import sys

from certificates import Certificates
from harness import EXPORT, ROOT, Suite, need
from mounts import Mount
from test_basic import read, write
from tlsrelay import TlsRelay

USAGE, FAILURE = 1, 32  # exit statuses of mount(8)
NAME = "server.example"
PROBE = (0, 2, 100003, 4, 0, 7, 0, 0, 0)

suite = Suite(options="nconnect=2")
sys.path.append(os.path.join(ROOT, "tests", "matrix"))
import matrix  # noqa: E402


def certificates(env):
    """Made once, by the first who needs them."""
    need("openssl")
    c = Certificates(os.path.join(env.work, "tls"))
    if os.path.exists(c["done"]):
        return c
    for name in ("ca", "other-ca"):
        c.authority(name)
    c.issue("server", "ca", f"DNS:{NAME},IP:192.0.2.7")
    c.issue("old", "ca", f"DNS:{NAME}", days=-1)
    c.issue("stranger", "other-ca", f"DNS:{NAME}")
    c.issue("guest", "ca")
    c.issue("old-guest", "ca", days=-1)
    c.issue("strange-guest", "other-ca")
    write(c["done"], b"")
    return c


def relay(env, server="server", **settings):
    c = certificates(env)
    env.relays = getattr(env, "relays", 0) + 1
    path = os.path.join(env.work, f"{env.name}-tls{env.relays}")
    return env.stack.enter_context(TlsRelay(
        path, env.port, cert=c[f"{server}.pem"], key=c[f"{server}.key"], **settings))


def words(env, guest=None, ca="ca", name=NAME, more=""):
    c = certificates(env)
    own = f",tls_cert={c[guest + '.pem']},tls_key={c[guest + '.key']}" if guest else ""
    return (f"xprtsec={'mtls' if guest else 'tls'},tls_ca={c[ca + '.pem']},tls_name={name}"
            f"{own}{more and ','}{more}")


def made_mount(env, r, options):
    env.mount_count += 1
    point = os.path.join(env.work, f"{env.name}-mnt{env.mount_count}")
    m = Mount(suite.program(), f"unix:{r.path}:{EXPORT}", point,
              ",".join(w for w in (suite.options, options) if w))
    m.dir = os.path.join(point, env.name)
    return m


def mount(env, r, options):
    return env.stack.enter_context(made_mount(env, r, options))


def attempt(env, source, options):
    """What `vsockfs` says in the background mode, where it ends with mount(8)'s status."""
    env.mount_count += 1
    point = os.path.join(env.work, f"{env.name}-point{env.mount_count}")
    os.makedirs(point)
    return subprocess.run([suite.program(), source, point, "-o", options], cwd="/", timeout=60,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)


def refused(env, r, options, *says, status=FAILURE):
    """The mount ends with one line that says why, and without a second try."""
    done = attempt(env, f"unix:{r.path}:{EXPORT}", options)
    assert done.returncode == status, (done.returncode, done.stderr)
    assert done.stderr.count("\n") == 1, done.stderr
    for word in says:
        assert word in done.stderr, f"no {word!r} in {done.stderr!r}"
    seen = r.seen()
    assert len(seen) == 1, seen
    assert seen[0].get("calls", 0) == 0, f"it went on without TLS: {seen}"


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def busy(env, m, name):
    """A file's way there and back."""
    write(os.path.join(m.dir, name), name.encode() * 1000)
    assert read(env.on_disk(name)) == name.encode() * 1000


def log(m):
    with open(m.log, errors="replace") as f:
        return f.read()


@suite.test("xprtsec=tls asks with AUTH_TLS, then all connections are TLS 1.3 for sunrpc")
def tls(env):
    r = relay(env)
    with made_mount(env, r, words(env)) as m:
        busy(env, m, "f")
        env.eventually(lambda: len(r.seen()) == 2, within=10, what="the second connection")
        env.eventually(lambda: all(c.get("alpn") for c in r.seen()), within=10, what="TLS on it")
        for c in r.seen():
            assert tuple(c["probe"]) == PROBE, c
            assert (c["version"], c["alpn"], c["peer"]) == ("TLSv1.3", "sunrpc", None), c
    env.eventually(lambda: not any(c["open"] for c in r.seen()), within=10, what="the end")
    assert all(c.get("goodbye") for c in r.seen()), r.seen()


@suite.test("a large transfer arrives as it was sent, both ways, from several programs at once",
            timeout=120)
def large(env):
    r = relay(env)
    blocks = [os.urandom(1 << 20) for _ in range(4)]

    def work(m, i):
        with open(os.path.join(m.dir, f"big{i}"), "wb", buffering=0) as f:
            for j in range(24):
                f.write(blocks[(i + j) % 4])
        fd = os.open(os.path.join(m.dir, f"big{i}"), os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        assert digest(os.path.join(m.dir, f"big{i}")) == digest(env.on_disk(f"big{i}"))
    # records and pieces that do not fit each other
    sizes = [1, 16383, 16384, 16385, 65536, 65537, 200001]
    with made_mount(env, r, words(env)) as m, concurrent.futures.ThreadPoolExecutor(3) as pool:
        list(pool.map(work, [m] * 3, range(3)))
        for size in sizes:
            write(os.path.join(m.dir, f"s{size}"), blocks[0][:size])
    with made_mount(env, r, words(env, more="io=poll")) as m:
        for size in sizes:
            assert read(os.path.join(m.dir, f"s{size}")) == blocks[0][:size], size


@suite.test("xprtsec=mtls shows this machine's certificate, and the server knows it")
def mtls(env):
    c = certificates(env)
    r = relay(env, client_ca=c["ca.pem"])
    m = mount(env, r, words(env, "guest"))
    busy(env, m, "f")
    assert {s["peer"] for s in r.seen() if "peer" in s} == {"guest"}, r.seen()


@suite.test("a certificate with a number for a name, and one that is trusted by itself, will do")
def names(env):
    r = relay(env)
    busy(env, mount(env, r, words(env, name="192.0.2.7")), "f")
    busy(env, mount(env, r, words(env, ca="server")), "g")


@suite.test("a server that says nothing about ALPN, as tlshd does, will do")
def no_alpn(env):
    busy(env, mount(env, relay(env, alpn=""), words(env)), "f")


@suite.test("a server's certificate that is not good ends the mount, and says why")
def server_certificate(env):
    for server, options, say in (
            ("server", {"name": "other.example"}, "not for the name other.example"),
            ("server", {"name": "192.0.2.8"}, "not for the name 192.0.2.8"),
            ("stranger", {}, "not trusted: unable to get"),
            ("server", {"ca": "other-ca"}, "not trusted: unable to get"),
            ("old", {}, "not trusted: certificate has expired")):
        r = relay(env, server)
        refused(env, r, words(env, **options), "the server's certificate is", say)
        env.eventually(lambda: "alert" in r.seen()[0].get("error", ""), within=10,  # noqa: B023
                       what="the alert")


@suite.test("a certificate of this machine that is missing, strange, expired or not wanted: the same")
def client_certificate(env):
    c = certificates(env)
    for settings, guest, say in (
            ({"client_ca": c["ca.pem"]}, None, "wants a certificate of this machine"),
            ({"client_ca": c["ca.pem"]}, "strange-guest", "does not accept this machine's"),
            ({"client_ca": c["ca.pem"]}, "old-guest", "expired"),
            ({}, "guest", "wants no certificate of this machine")):
        refused(env, relay(env, **settings), words(env, guest), say)


@suite.test("a server without TLS, or that only seems to have it, ends the mount")
def no_tls(env):
    none = "does not offer TLS"
    for settings, say in (
            ({"greet": "forward"}, none), ({"greet": "refuse"}, none), ({"greet": "no-verf"}, none),
            ({"greet": "inject"}, "plain text follows"),
            ({"greet": "plain"}, "is not TLS"),
            ({"version": "TLSv1_2"}, "protocol version")):
        refused(env, relay(env, **settings), words(env), say)
    # "forward" had nfs-ganesha's own answer
    matrix.hold("ganesha", "xprtsec=tls", "no")


@suite.test("a handshake that is cut or hangs ends the mount, one that is slow does not",
            timeout=90)
def slow(env):
    for greet, say in (("cut", "closed the connection during the TLS handshake"),
                       ("mute", "takes too long to agree on TLS"),
                       ("silent", "takes too long to agree on TLS")):
        refused(env, relay(env, greet=greet), words(env), say)
    r = relay(env, greet="slow")
    busy(env, mount(env, r, words(env, more="nconnect=1")), "f")


@suite.test("options that do not make sense are refused before anything is asked")
def options(env):
    c = certificates(env)
    source, ca = f"unix:{env.work}/sock:{EXPORT}", f"tls_ca={c['ca.pem']}"
    name, cert = f"tls_name={NAME}", f"tls_cert={c['guest.pem']}"
    write(c["junk.pem"], b"junk\n")
    for text, say, status in (
            ("xprtsec=ssl", "none, tls or mtls", USAGE),
            (f"xprtsec=tls,{ca}", "tls_name=NAME is needed", USAGE),
            (f"xprtsec=tls,{name}", "needs tls_ca=", USAGE),
            (f"xprtsec=tls,{name},tls_ca=ca.pem", "absolute", USAGE),
            (f"xprtsec=mtls,{name},{ca}", "needs tls_cert=", USAGE),
            (f"xprtsec=tls,{name},{ca},{cert}", "tls_cert= is for xprtsec=mtls", USAGE),
            (ca, "tls_ca= is for xprtsec=tls", USAGE),
            (f"xprtsec=tls,{name},tls_ca=/no/such", "/no/such: No such file", FAILURE),
            (f"xprtsec=tls,{name},tls_ca={c['junk.pem']}", "junk.pem", FAILURE),
            (f"xprtsec=mtls,{name},{ca},{cert}", "tls_key=", FAILURE),
            (f"xprtsec=mtls,{name},{ca},{cert},tls_key={c['server.key']}", "mismatch", FAILURE)):
        done = attempt(env, source, text)
        assert done.returncode == status and say in done.stderr, (text, done)
        assert done.stderr.count("\n") == 1, done.stderr


@suite.test("connections that are cut or damaged come back, as TLS, with the keys that were read",
            timeout=90)
def again(env):
    c = certificates(env)
    for name in ("guest.pem", "guest.key"):
        write(c["mine-" + name], read(c[name]))
        os.chmod(c["mine-" + name], 0o600)
    r = relay(env, client_ca=c["ca.pem"])
    m = mount(env, r, words(env, "mine-guest"))
    with open(os.path.join(m.dir, "open"), "wb", buffering=0) as f:
        f.write(b"before")
        for name in ("mine-guest.pem", "mine-guest.key"):
            os.unlink(c[name])
        for i in range(3):
            r.tell(cut=True)
            busy(env, m, f"f{i}")
        r.tell(damage=True)
        busy(env, m, "damaged")
        f.write(b" after")
    assert read(env.on_disk("open")) == b"before after"
    assert {s["peer"] for s in r.seen() if "peer" in s} == {"guest"}
    assert "is not TLS, or was changed" in log(m), log(m)


@suite.test("what is wrong later is told and tried again, and never goes on without TLS",
            timeout=120)
def never_plain(env):
    r = relay(env)
    m = mount(env, r, words(env, more="nconnect=1"))
    busy(env, m, "f")
    c = certificates(env)
    for greet, server, say in (("forward", "server", "does not offer TLS"),
                               ("tls", "stranger", "certificate is not trusted")):
        before = len(r.seen())
        told = log(m).count(say)
        r.tell(greet=greet, cert=c[f"{server}.pem"], key=c[f"{server}.key"], cut=True)
        child = env.child(busy, env, m, f"{greet}-{server}")
        env.eventually(lambda: len(r.seen()) >= before + 3, within=30,  # noqa: B023
                       what="three attempts")
        env.eventually(lambda: log(m).count(say) > told, within=30, what=say)  # noqa: B023
        assert not os.path.exists(env.on_disk(f"{greet}-{server}"))
        assert all(s["calls"] == 0 for s in r.seen()[before:]), r.seen()[before:]
        r.tell(greet="tls", cert=c["server.pem"], key=c["server.key"])
        child.join()
    env.eventually(lambda: "connected again" in log(m), within=10, what="the good news")


@suite.test("a capture sees the records as they are without TLS")
def capture(env):
    need("tshark")
    r = relay(env)
    m = mount(env, r, words(env, more="nconnect=1"))
    path = env.scratch("tls.pcapng")
    ctl = os.path.join(os.path.dirname(suite.program()), "ctl", "vsockfsctl")
    env.eventually(lambda: subprocess.run(
        [ctl, "status", m.point], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode == 0, within=10, what="the control socket")
    env.run([ctl, "capture", path, m.point])
    busy(env, m, "a-name-to-find")
    os.stat(os.path.join(m.dir, "a-name-to-find"))
    env.run([ctl, "capture", "stop", m.point])
    shown = env.run(["tshark", "-r", path, "-V"])
    assert "a-name-to-find" in shown, shown[:2000]


if __name__ == "__main__":
    suite.main()
