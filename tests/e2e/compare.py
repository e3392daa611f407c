# SPDX-License-Identifier: LGPL-2.1-or-later
"""The same tree seen three ways: through the mount, on the disk, and by libnfs."""

import hashlib
import os
import stat
import subprocess
from collections import namedtuple

Entry = namedtuple("Entry", "mode nlink uid gid size mtime_ns rdev content")
BLOCK = 1 << 20
SHOWN = 8


def digest(path):
    sha = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        while block := f.read(BLOCK):
            sha.update(block)
    return sha.hexdigest()


def entry_of(path):
    st = os.lstat(path)
    content, size = "", st.st_size
    if stat.S_ISREG(st.st_mode):
        content = digest(path)
    elif stat.S_ISLNK(st.st_mode):
        content = os.readlink(path)
    elif stat.S_ISDIR(st.st_mode):
        size = 0
    return Entry(st.st_mode, st.st_nlink, st.st_uid, st.st_gid, size, st.st_mtime_ns, st.st_rdev,
                 content)


def snapshot(root):
    """{name below root, in bytes: Entry}"""
    found = {}
    pending = [os.fsencode(root)]
    prefix = len(pending[0]) + 1
    while pending:
        with os.scandir(pending.pop()) as listing:
            for item in listing:
                found[item.path[prefix:]] = entry_of(item.path)
                if item.is_dir(follow_symlinks=False):
                    pending.append(item.path)
    return found


def witnessed(command):
    """The same from the output of `witness ... tree`; times and device numbers are not in it."""
    found = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        while header := child.stdout.readline():
            mode, nlink, uid, gid, size, name_bytes, content_bytes = header.split()
            mode = int(mode, 8)
            name = child.stdout.read(int(name_bytes))
            content, left = hashlib.sha256(), int(content_bytes)
            target = b""
            while left:
                block = child.stdout.read(min(left, BLOCK))
                if not block:
                    break
                left -= len(block)
                content.update(block)
                if stat.S_ISLNK(mode):
                    target += block
            if stat.S_ISREG(mode):
                content = content.hexdigest()
            else:
                content = target if stat.S_ISLNK(mode) else ""
            found[name] = Entry(mode, int(nlink), int(uid), int(gid),
                                0 if stat.S_ISDIR(mode) else int(size), None, None, content)
        error = child.stderr.read().decode(errors="replace").strip()
    if child.returncode != 0:
        raise AssertionError(f"libnfs: {error or child.returncode}")
    return found


def differences(a, b, name_a, name_b):
    """Lines that say how two snapshots differ; fields that one of them lacks are passed over."""
    lines = [f"only {name_a} has {n!r}" for n in sorted(a.keys() - b.keys())]
    lines += [f"only {name_b} has {n!r}" for n in sorted(b.keys() - a.keys())]
    for name in sorted(a.keys() & b.keys()):
        for field, x, y in zip(Entry._fields, a[name], b[name]):
            if x != y and x is not None and y is not None:
                if field == "mode":
                    x, y = oct(x), oct(y)
                lines.append(f"{name!r}: {field} is {x!r} on {name_a}, {y!r} on {name_b}")
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"and {len(lines) - SHOWN} more"]
    return lines
