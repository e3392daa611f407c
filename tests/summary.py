#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Counts every TAP point in meson's logs.

    summary.py [--failed WHAT]... LOG.json...

Names what failed and why (the comment that follows its point), and what was skipped and why; its last line is "N passed, N failed, N skipped".
A program that dies, times out or stops short of its plan counts as one failure more, a program
without TAP as one point. Exit status 1 when anything failed.
"""

import argparse
import json
import re
import sys
from collections import Counter

POINT = re.compile(r"^(not )?ok\b\s*(\d+)?\s*-?\s*(.*)$")
SKIP = re.compile(r"#\s*SKIP\S*\s*(.*)$", re.IGNORECASE)
PLAN = re.compile(r"^1\.\.(\d+)(?:\s*#\s*SKIP\S*\s*(.*))?$", re.IGNORECASE)
PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
BAD_ENDS = ("ERROR", "TIMEOUT", "INTERRUPT", "FAIL")


def points(text):
    """([(verdict, title or reason)], planned number or None) of one program's output."""
    found, planned = [], None
    lines = text.splitlines()
    for line, following in zip(lines, lines[1:] + [""]):
        if plan := PLAN.match(line):
            planned = int(plan[1])
            if planned == 0:
                found.append((SKIPPED, plan[2] or "no reason given"))
        elif point := POINT.match(line):
            skip = SKIP.search(point[3])
            if point[1]:
                reason = following[1:].strip() if following.startswith("#") else ""
                found.append((FAILED, f"{point[3]}: {reason[:300]}" if reason else point[3]))
            elif skip:
                found.append((SKIPPED, f"{point[3][:skip.start()].strip()}: {skip[1]}".strip(": ")))
            else:
                found.append((PASSED, point[3]))
    return found, planned


def results(test):
    """Every (verdict, text) of one entry of meson's log."""
    found, planned = points(test.get("stdout") or "")
    ended = test["result"]
    if not found and planned is None:
        verdict = {"OK": PASSED, "SKIP": SKIPPED, "EXPECTEDFAIL": PASSED}.get(ended, FAILED)
        return [(verdict, ended.lower())]
    verdicts = [v for v, _ in found]
    if planned and planned != len(found):
        found.append((FAILED, f"{len(found)} points of {planned} planned"))
    elif planned is None:
        found.append((FAILED, "it stopped before its plan"))
    elif ended in BAD_ENDS and FAILED not in verdicts:
        found.append((FAILED, f"{ended.lower()}, exit status {test.get('returncode')}"))
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--failed", action="append", default=[])
    parser.add_argument("logs", nargs="*")
    args = parser.parse_args()
    told = [(FAILED, "", what) for what in args.failed]
    for name in args.logs:
        with open(name) as log:
            for line in log:
                test = json.loads(line)
                program = test["name"].rpartition(" / ")[2]
                told += [(verdict, program, text) for verdict, text in results(test)]
    for verdict in (SKIPPED, FAILED):
        for (program, text), times in Counter((p, t) for v, p, t in told if v == verdict).items():
            print(f"{verdict}: {program}{': ' if program else ''}{text}"
                  f"{f' ({times} times)' if times > 1 else ''}")
    count = Counter(v for v, _, _ in told)
    print(f"{count[PASSED]} passed, {count[FAILED]} failed, {count[SKIPPED]} skipped")
    sys.exit(1 if count[FAILED] or not told else 0)


if __name__ == "__main__":
    main()
