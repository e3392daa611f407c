# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Kerberos realm of one's own: a KDC on a free port of 127.0.0.1, its files in one directory."""

import os
import pwd
import shutil
import subprocess
import time

from ganesha import Unavailable, die_with_parent, free_port

REALM = "TEST.VSOCKFS"
SERVER = "server.test"  # the server's name; nobody resolves it
MACHINE = "host/guest.test"
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"

KRB5_CONF = """
[libdefaults]
 default_realm = {realm}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 clockskew = 1
 default_ccache_name = FILE:{dir}/tickets/krb5cc_%{{uid}}
 default_keytab_name = FILE:{dir}/machine.keytab
[realms]
 {realm} = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 .test = {realm}
"""

KDC_CONF = """
[kdcdefaults]
 kdc_listen = 127.0.0.1:{port}
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 {realm} = {{
  database_name = {dir}/principal
  key_stash_file = {dir}/stash
  acl_file = {dir}/acl
 }}
"""

IDMAP_CONF = """
[General]
Domain = test.vsockfs
Local-Realms = {realm}
[Translation]
Method = nsswitch
"""

GANESHA = """PrincipalName = "nfs@{server}"; KeytabPath = {dir}/server.keytab;
    CCacheDir = {dir}/ganesha; Active_krb5 = true;"""


class Realm:
    """Principals are named after users of this machine, which is how ganesha knows who they are."""

    def __init__(self):
        self.dir = self.kdc = None

    @staticmethod
    def check():
        for tool in ("krb5kdc", "kdb5_util", "kadmin.local", "kinit"):
            if not shutil.which(tool, path=PATH):
                raise Unavailable(f"{tool} is not installed (Debian: krb5-kdc krb5-admin-server "
                                  "krb5-user)")

    def environment(self):
        return {"KRB5_CONFIG": self.dir + "/krb5.conf", "KRB5_KDC_PROFILE": self.dir + "/kdc.conf",
                "NFSIDMAP_CONFIG": self.dir + "/idmapd.conf"}

    def ganesha(self):
        return GANESHA.format(dir=self.dir, server=SERVER)

    def idmap(self):
        """For ganesha's NFSv4 block."""
        return f"IdmapConf = {self.dir}/idmapd.conf;"

    def run(self, *words, user=None, stdin=b""):
        more = {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid,
                                        "extra_groups": []}
        done = subprocess.run(words, input=stdin, stdout=subprocess.PIPE, cwd="/",
                              stderr=subprocess.STDOUT, timeout=60, check=False,
                              env=dict(os.environ, PATH=PATH, **self.environment()), **more)
        if done.returncode != 0:
            raise RuntimeError(f"{words}: {done.stdout.decode(errors='replace')}")

    def kadmin(self, *queries):
        self.run("kadmin.local", stdin="".join(q + "\n" for q in queries).encode())

    def start(self, directory):
        self.check()
        self.dir = directory
        os.makedirs(self.dir + "/ganesha")
        os.makedirs(self.dir + "/tickets")
        os.chmod(self.dir + "/tickets", 0o1777)
        port = free_port()
        for name, text in (("krb5.conf", KRB5_CONF), ("kdc.conf", KDC_CONF),
                           ("idmapd.conf", IDMAP_CONF)):
            with open(f"{self.dir}/{name}", "w") as f:
                f.write(text.format(realm=REALM, dir=self.dir, port=port))
        self.run("kdb5_util", "create", "-s", "-P", "master", "-r", REALM)
        self.kadmin(f"addprinc -randkey nfs/{SERVER}", f"addprinc -randkey {MACHINE}",
                    f"ktadd -k {self.dir}/server.keytab nfs/{SERVER}",
                    f"ktadd -k {self.dir}/machine.keytab {MACHINE}")
        self.start_kdc()
        os.environ.update(self.environment())
        return self

    def start_kdc(self):
        self.kdc = subprocess.Popen(
            ["krb5kdc", "-n"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=open(self.dir + "/kdc.log", "ab"), preexec_fn=die_with_parent,
            env=dict(os.environ, PATH=PATH, **self.environment()))
        self.kadmin("addprinc -pw ready ready")
        deadline = time.monotonic() + 30
        while True:
            try:
                self.run("kinit", "-c", self.dir + "/ready", "ready", stdin=b"ready\n")
                return
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop_kdc(self):
        self.kdc.kill()
        self.kdc.wait()

    def add_user(self, user):
        self.kadmin(f"addprinc -pw {user} {user}")

    def ticket_path(self, user):
        return f"{self.dir}/tickets/krb5cc_{pwd.getpwnam(user).pw_uid}"

    def login(self, user, lifetime="1h", cache=None):
        self.run("kinit", "-l", lifetime, *(["-c", cache] if cache else []), user, user=user,
                 stdin=user.encode() + b"\n")

    def logout(self, user):
        os.unlink(self.ticket_path(user))
