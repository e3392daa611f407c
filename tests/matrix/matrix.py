#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The manual's table of what works on which server, one column for each.

    matrix.py write COLUMN <FOUND    puts what the program matrix has printed into the manual
    matrix.py said COLUMN            prints what the manual says, in the same form

Rows are the program's. Tests that have such a server compare (test_xattr.py, vm/loopback.py). Those of
APART no mount can try by itself: whoever tries such a thing on a server calls hold(), or has text(apart())
compared."""

import os
import sys

MANUAL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "man", "vsockfs.1")
COLUMNS = {"knfsd": "knfsd 6.1, ext4", "ganesha": "nfs-ganesha 4.3, VFS"}
APART = ("sec=krb5", "sec=krb5i", "sec=krb5p", "xprtsec=tls", "referrals", "moves in use")
BEGIN = '.\\" What tests/matrix has found; matrix.py writes it.\n'
END = ".TE\n"


def split(manual=MANUAL):
    """The manual in front of the table, its lines, and what is behind it."""
    with open(manual) as page:
        before, _, rest = page.read().partition(BEGIN)
    table, end, after = rest.partition(END)
    assert end, f"{manual} has no table"
    return before, table.splitlines(), after


def said(column, manual=MANUAL):
    place = list(COLUMNS).index(column) + 1
    rows = [line.split(";") for line in split(manual)[1] if ";" in line and not line.startswith("tab")]
    return {row[0]: row[place] for row in rows[1:] if len(row) > place}


def tried(column):
    """What the program compares."""
    return {row: value for row, value in said(column).items() if row not in APART}


def apart(column):
    return {row: value for row, value in said(column).items() if row in APART}


def hold(column, row, found):
    value = said(column)[row]
    assert value == found, f"{row}: the manual says {value} of {COLUMNS[column]}, and it is {found}"


def text(found):
    return "".join(f"{row}\t{value}\n" for row, value in found.items())


def table(columns):
    """columns: {column: {row: value}}"""
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    lines = [".TS\n", "tab(;);\n", "l" + " l" * len(COLUMNS) + ".\n",
             ";" + ";".join(COLUMNS.values()) + "\n"]
    lines += [";".join([row] + [columns[c].get(row, "?") for c in COLUMNS]) + "\n" for row in rows]
    return "".join(lines)


def write(column, found):
    before, _, after = split()
    columns = {c: said(c) for c in COLUMNS}
    columns[column] = {**found, **apart(column)}
    for other in columns.values():
        for row in set(other) - set(columns[column]):
            del other[row]
    with open(MANUAL, "w") as page:
        page.write(before + BEGIN + table(columns) + END + after)


if __name__ == "__main__":
    if sys.argv[1] == "said":
        print(text(tried(sys.argv[2])), end="")
    else:
        write(sys.argv[2], dict(line.strip().split("\t") for line in sys.stdin))
