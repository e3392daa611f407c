#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The probes of the program are those that vsockfsctl(1) lists, with as many arguments.

    check_probes.py PROGRAM MANUAL
"""

import re
import shutil
import subprocess
import sys

program, manual = sys.argv[1:]

if not shutil.which("readelf"):
    print("1..0 # SKIP readelf is not installed")
    sys.exit()

notes = subprocess.run(["readelf", "--wide", "--notes", program], stdout=subprocess.PIPE,
                       check=True, text=True).stdout
found = {}
for provider, name, arguments in re.findall(
        r"Provider: (\S+)\s+Name: (\S+)\s+Location: [^\n]*\n\s*Arguments: ([^\n]*)", notes):
    if provider == "vsockfs":
        # SIZE@PLACE each; the place may have blanks in it
        found.setdefault(name, set()).add(len(re.findall(r"-?\d@", arguments)))

with open(manual) as f:
    text = f.read()
section = text[text.index(".SH PROBES"):text.index(".SH EXIT STATUS")]
listed = {name: {len(arguments.split(","))}
          for name, arguments in re.findall(r"^\.B (\w+) \\fR\(([^)]*)\)", section, re.M)}

print("1..2")
print("ok 1 - the manual lists probes" if len(listed) == 7 else "not ok 1 - the manual lists probes")
if found == listed:
    print("ok 2 - the program has them, with their arguments")
else:
    print("not ok 2 - the program has them, with their arguments")
    print(f"# program: {found}\n# manual: {listed}", file=sys.stderr)
