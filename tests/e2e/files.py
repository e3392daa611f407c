# SPDX-License-Identifier: LGPL-2.1-or-later
"""Files as a whole."""

import os

MIB = 1 << 20


def write(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        while data:
            data = data[os.write(fd, data):]
    finally:
        os.close(fd)


def read(path):
    with open(path, "rb", buffering=0) as f:
        return f.read()


def touch(*paths):
    for path in paths:
        write(path, b"")
