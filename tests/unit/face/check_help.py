#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every option that a program's --help names is in its manual page, and completed by bash.

usage: check_help.py SOURCE_DIRECTORY PROGRAM...
"""

import os
import pathlib
import re
import subprocess
import sys

COMPLETED = {"vsockfs-exportfs": "vsockfs-gateway", "vsockfs-serve": "vsockfs-gateway"}
COMPLETE = r"""
. "$1"
COMP_WORDS=("$2" "${@:3}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_LINE="${COMP_WORDS[*]}"
COMP_POINT=${#COMP_LINE}
compopt() { :; }
"$(complete -p "$2" | sed 's/.* -F \([^ ]*\) .*/\1/')" 2>&1
printf '%s\n' "${COMPREPLY[@]}"
"""


def options(text):
    return set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", text))


def completed(script, name, *words):
    done = subprocess.run(["bash", "-c", COMPLETE, "complete", script, name, *words],
                          stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


def check(top, program):
    name = os.path.basename(program)
    usage = subprocess.run([program, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    known = options(usage)
    page, = top.glob(f"man/{name}.[18]")
    manual = options(page.read_text().replace("\\-", "-").replace("\\f", " \\f"))
    script = str(top / "contrib" / "completions" / COMPLETED.get(name, name))
    commands = re.findall(r"^  ([a-z]+) ", usage, re.M) if name == "vsockfsctl" else []
    offered = completed(script, name, "-").union(
        *(completed(script, name, command, "--") for command in commands))
    yield from [f"{o} is not in {page.name}" for o in sorted(known - manual)]
    # what has one letter only is quicker typed
    yield from [f"{o} is not completed" for o in sorted(known - offered) if o.startswith("--")]
    yield from [f"{o} is completed, and not known" for o in sorted(offered - known) if o[:1] == "-"]
    if commands:
        yield from [f"{c} is not completed" for c in set(commands) - completed(script, name, "")]
    if len(known) < 4:
        yield f"only {known} found"


programs = sys.argv[2:]
print(f"1..{len(programs)}")
for number, program in enumerate(programs, 1):
    wrong = list(check(pathlib.Path(sys.argv[1]), program))
    for line in wrong:
        print(f"# {line}")
    print(f"{'not ok' if wrong else 'ok'} {number} - {os.path.basename(program)}")
