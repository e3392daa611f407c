#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every operation of the protocol layer against nfs-ganesha, without FUSE: see ops.c."""

import os
import subprocess
import sys
import tempfile

from ganesha import Ganesha, Unavailable
from harness import build_path

with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="vsockfs-ops-") as work:
    export = os.path.join(work, "export")
    os.mkdir(export)
    server = Ganesha(work, export)
    try:
        server.start()
    except Unavailable as why:
        print(f"1..0 # SKIP {why}")
        sys.exit(0)
    try:
        program = build_path("tests", "e2e", "ops")
        done = subprocess.run([program, f"tcp:127.0.0.1:{server.port}:/export"], timeout=60)
    finally:
        server.stop()
sys.exit(done.returncode)
