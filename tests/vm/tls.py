#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
RPC-with-TLS with knfsd, which has it since Linux 6.4, and tlshd of ktls-utils. Kernels of /boot are not
asked; the environment variable VSOCKFS_GUEST names a command that runs a bash script as root in a guest
which sees this machine's files, has a newer kernel, and AF_VSOCK's loopback.
"""

import os
import shlex
import sys
import tempfile

from guest import CommandGuest
from initramfs import Missing, find_program
from machine import HERE, main

sys.path.append(os.path.join(os.path.dirname(HERE), "e2e"))
from certificates import Certificates  # noqa: E402

SCRIPT = """export PATH={path}:/usr/sbin:/usr/bin:/sbin:/bin TLS_DIR={certificates}
exec 3>&1 >/run/said 2>&1
source {here}/guest/lib.sh
source {here}/guest/tls
show_log_of_failures
say end
"""


def make_certificates(directory):
    find_program("openssl", "openssl")
    made = Certificates(directory)
    made.authority("ca")
    made.authority("other-ca")
    # the kernel's client is told the address only
    made.issue("server", "ca", "DNS:server.example,IP:127.0.0.1")
    made.issue("guest", "ca")


def run(args, tap, stack):
    command = os.environ.get("VSOCKFS_GUEST")
    if not command:
        raise Missing("no VSOCKFS_GUEST, a command that runs a script in a guest with Linux 6.4 or newer")
    programs = [args.vsockfs, args.vsockfsctl, find_program("socat", "socat"),
                find_program("tlshd", "ktls-utils")]
    work = stack.enter_context(tempfile.TemporaryDirectory(prefix="vsockfs-vm-tls-", dir="/var/tmp"))
    make_certificates(work)
    path = ":".join(dict.fromkeys(os.path.dirname(os.path.abspath(p)) for p in programs))
    script = os.path.join(work, "script")
    with open(script, "w") as file:
        file.write(SCRIPT.format(path=shlex.quote(path), certificates=shlex.quote(work),
                                 here=shlex.quote(HERE)))
    guest = CommandGuest([*shlex.split(command), script])
    stack.callback(guest.stop)
    guest.run(tap)


if __name__ == "__main__":
    sys.exit(main(run))
