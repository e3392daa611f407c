#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every -o word that the table accepts is in the manual, and completed by bash; pages are clean.

usage: check_words.py SOURCE_DIRECTORY
"""

import pathlib
import re
import shutil
import subprocess
import sys

top = pathlib.Path(sys.argv[1])
table = (top / "src/options_table.c").read_text()
manual = (top / "man/vsockfs.1").read_text()
completion = (top / "contrib/completions/vsockfs").read_text()
number = 0


def report(name, wrong):
    global number
    number += 1
    for line in wrong:
        print(f"# {line}")
    print(f"{'not ok' if wrong else 'ok'} {number} - {name}")


def lint(page):
    result = subprocess.run(["mandoc", "-Tlint", page], capture_output=True, text=True)
    return result.stdout.splitlines()


kinds = {word: kind for kind, word in re.findall(r'^\t([A-Z]+)\("(\w+)"', table, re.M)}
accepted = [w for w, k in kinds.items() if k != "REFUSED"]
refused = [w for w, k in kinds.items() if k == "REFUSED"]
valued = [w for w, k in kinds.items() if k in ("NUMBER", "SECONDS", "CHOICE", "TEXT")]
in_manual = set(re.findall(r"\w+", re.sub(r"\\f.", " ", manual)))
in_completion = set(re.findall(r"\w+=?", completion))

print("1..7")
report("the table is found", [] if len(accepted) > 60 and len(refused) > 40 else ["no words"])
report("the manual has every word",
       [f"{w} is missing" for w in accepted if w not in in_manual])
report("every word is completed",
       [f"{w} is missing" for w in accepted
        if w not in in_completion and w + "=" not in in_completion])
report("words with values are completed with =, refused ones not at all",
       [f"{w}= is missing" for w in valued if w + "=" not in in_completion] +
       [f"{w} is refused" for w in refused
        if re.search(rf"^\t\t[\w= ]*\b{w}\b", completion, re.M)])
for page in ("vsockfs.1", "vsockfsctl.1", "mount.vsockfs.8"):
    if shutil.which("mandoc"):
        report(f"mandoc finds nothing in {page}", lint(top / "man" / page))
    else:
        number += 1
        print(f"ok {number} # SKIP mandoc is not installed")
