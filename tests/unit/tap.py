#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a cmocka program: tap.py PROGRAM [ARG...]

cmocka reports a skipped test as "not ok N # SKIP", which TAP means as a failure; here it becomes
"ok", with the message that the test printed last as the reason. The words of TEST_WRAPPER are put in
front of the program.
"""

import os
import re
import subprocess
import sys


def main():
    wrapper = os.environ.get("TEST_WRAPPER", "").split()
    child = subprocess.Popen([*wrapper, *sys.argv[1:]], stdout=subprocess.PIPE)
    message = b""
    for line in child.stdout:
        skipped = re.match(rb"not ok (\d+) # SKIP (.*)", line)
        if skipped:
            line = b"ok %s - %s # SKIP %s\n" % (skipped[1], skipped[2], message)
        elif not re.match(rb"(not )?ok |\d+\.\.\d|#", line):
            message = line.rstrip()
            line = b"# " + line
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    status = child.wait()
    sys.exit(status if status >= 0 else 128 - status)


main()
