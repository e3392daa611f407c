# SPDX-License-Identifier: LGPL-2.1-or-later
"""A private nfs-ganesha: one export of a real disk directory on a free port of 127.0.0.1."""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

READY_SECONDS = 30
STOP_SECONDS = 10

# Attr_Expiration_Time = 0: an edit made on the disk behind ganesha's back is seen by the next
# request. DBUS, Kerberos and the port mapper are not needed and may be absent.
CONFIG = """
NFS_CORE_PARAM {{
    Protocols = 4;
    NFS_Port = {port};
    Bind_addr = 127.0.0.1;
    Enable_NLM = false;
    Enable_RQUOTA = false;
    Enable_UDP = false;
}}
NFS_KRB5 {{ {krb5} }}
MDCACHE {{
    Dir_Chunk = 0;
    {mdcache}
}}
NFSv4 {{
    Minor_Versions = 0, 1, 2;
    Graceless = {graceless};
    Only_Numeric_Owners = true;
    RecoveryRoot = {dir}/recovery;
    {nfsv4}
}}
EXPORT_DEFAULTS {{
    Access_Type = RW;
    Squash = No_Root_Squash;
    SecType = {sec};
    Protocols = 4;
    Transports = TCP;
    Attr_Expiration_Time = 0;
}}
{exports}
LOG {{ Default_Log_Level = EVENT; }}
"""

EXPORT = """
EXPORT {{
    Export_Id = {id};
    Path = {path};
    Pseudo = {pseudo};
    {extra}
    FSAL {{ Name = VFS; }}
}}
"""


class Unavailable(Exception):
    """This machine cannot run the server; the text says why."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    """For preexec_fn: a harness that is killed leaves no server behind."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def check_handles(directory):
    """ganesha's VFS back end lives on name_to_handle_at(2) and open_by_handle_at(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    handle = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0) + bytes(128))
    mount_id = ctypes.c_int()
    path = os.fsencode(directory)
    if libc.name_to_handle_at(-100, path, handle, ctypes.byref(mount_id), 0) < 0:
        raise Unavailable(f"{directory}: name_to_handle_at: {os.strerror(ctypes.get_errno())}")
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fd = libc.open_by_handle_at(at, handle, os.O_RDONLY)
        if fd < 0:
            raise Unavailable(f"{directory}: open_by_handle_at: {os.strerror(ctypes.get_errno())}")
        os.close(fd)
    finally:
        os.close(at)


def rpc_null(port, timeout=2.0):
    """One NULL call of NFSv4. True when the server answers that it was accepted."""
    call = struct.pack(">10I", 1, 0, 2, 100003, 4, 0, 0, 0, 0, 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as s:
            s.settimeout(timeout)
            s.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
            reply = b""
            while len(reply) < 28:
                more = s.recv(64)
                if not more:
                    return False
                reply += more
    except OSError:
        return False
    xid, kind, stat = struct.unpack_from(">3I", reply, 4)
    return (xid, kind, stat) == (1, 1, 0)


class Ganesha:
    """start() returns once NULL is answered; stop() ends the process by its pid."""

    def __init__(self, directory, export, pseudo="/export", nfsv4="", extra="", more_exports=(),
                 graceless=True, mdcache="", sec="sys, none", realm=None):
        self.dir = directory
        self.log = os.path.join(directory, "ganesha.log")
        self.exports = [(export, pseudo, extra), *more_exports]
        self.nfsv4 = nfsv4
        self.mdcache = mdcache
        self.graceless = graceless
        self.sec = sec
        self.realm = realm  # realm.Realm, for sec=krb5
        self.log_start = 0  # of what it logged after it was ready
        self.port = None
        self.process = None

    @staticmethod
    def check():
        if os.geteuid() != 0:
            raise Unavailable("nfs-ganesha needs root")
        if not shutil.which("ganesha.nfsd"):
            raise Unavailable("ganesha.nfsd is not installed (Debian: nfs-ganesha nfs-ganesha-vfs)")

    def start(self, port=None):
        self.check()
        check_handles(self.exports[0][0])
        os.makedirs(os.path.join(self.dir, "recovery"), exist_ok=True)
        for _ in range(3):  # another program may take the free port before ganesha does
            self.port = port or free_port()
            if self._start_once():
                return self
            if port:
                break
        raise RuntimeError(f"nfs-ganesha does not start:\n{self.log_tail()}")

    def _start_once(self):
        config = os.path.join(self.dir, "ganesha.conf")
        with open(config, "w") as f:
            exports = "".join(
                EXPORT.format(id=i, path=path, pseudo=pseudo, extra=extra)
                for i, (path, pseudo, extra) in enumerate(self.exports, 1))
            f.write(CONFIG.format(port=self.port, dir=self.dir, nfsv4=self.nfsv4 + (self.realm.idmap() if self.realm else ""), exports=exports, mdcache=self.mdcache,
                                  sec=self.sec,
                                  krb5=self.realm.ganesha() if self.realm else "Active_krb5 = false;",
                                  graceless=str(self.graceless).lower()))
        # no system bus: a second ganesha on the machine must not meet the first one there
        env = dict(os.environ, DBUS_SYSTEM_BUS_ADDRESS="unix:path=/nonexistent",
                   **(self.realm.environment() if self.realm else {}))
        self.process = subprocess.Popen(
            ["ganesha.nfsd", "-F", "-f", config, "-L", self.log,
             "-p", os.path.join(self.dir, "ganesha.pid")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=env, preexec_fn=die_with_parent)
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if rpc_null(self.port):
                self.log_start = os.path.getsize(self.log)
                return True
            time.sleep(0.02)
        self.stop()
        return False

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self):
        """As a crash: nothing is given back or written down first."""
        self.process.kill()
        self.process.wait()

    def log_tail(self, lines=15):
        try:
            with open(self.log, errors="replace") as f:
                f.seek(self.log_start)
                # events tell that clients come and go
                return "".join([line for line in f if ":EVENT :" not in line][-lines:])
        except OSError:
            return ""


@contextlib.contextmanager
def serving(name):
    """A server for programs without a harness, which end as skipped where there is none."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix=f"vsockfs-{name}-") as work:
        export = os.path.join(work, "export")
        os.mkdir(export)
        server = Ganesha(work, export)
        try:
            server.start()
        except Unavailable as why:
            print(f"1..0 # SKIP {why}")
            sys.exit(0)
        try:
            yield server, export
        finally:
            server.stop()
