#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every operation of the protocol layer against nfs-ganesha, without FUSE: see ops.c."""

import subprocess
import sys

from ganesha import serving
from harness import build_path

with serving("ops") as (server, _):
    program = build_path("tests", "e2e", "ops")
    done = subprocess.run([program, f"tcp:127.0.0.1:{server.port}:/export"], timeout=60)
sys.exit(done.returncode)
