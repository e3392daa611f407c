#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is asked of the server once, or not at all, is right all the same."""

import os

from harness import Suite, held_open
from test_basic import read, write

suite = Suite()


@suite.test("files that were closed are closed on the server soon, and their locks are free")
def closed(env):
    for i in range(100):
        write(env.path(f"f{i}"), b"x")
        read(env.path(f"f{i}"))
    pid = env.suite.server.pid
    env.eventually(lambda: not held_open(pid, env.disk), within=10, what="the last CLOSE")


@suite.test("opens and closes of several users at once")
def users(env):
    os.chmod(env.disk, 0o777)
    script = ("import os\nfor i in range(40):\n"
              " n = '%s/%d-%d' % ('{}', os.getuid(), i)\n"
              " open(n, 'w').write(n)\n assert open(n).read() == n\n"
              " os.unlink(n)\nprint('well')\n").format(env.mnt)
    children = [env.child(lambda user=user: check(env.as_user(
        user, ["/usr/bin/python3", "-c", script]).stdout)) for user in ("nobody", "daemon", "bin")]
    for child in children:
        child.join()
    assert os.listdir(env.disk) == []


def check(output):
    assert output == b"well\n", output


if __name__ == "__main__":
    suite.main()
