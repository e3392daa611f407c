#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The project itself, built by meson inside its own mount."""

import os
import shlex

from harness import ROOT, Suite, need

suite = Suite()


@suite.test("the project is built by meson on the mount, and the result runs", timeout=600)
def build(env):
    need("meson", "ninja", "tar")
    os.mkdir(env.path("source"))
    env.run(f"tar -C {shlex.quote(ROOT)} --exclude='./build*' --exclude=./.git -cf - . | "
            f"tar -C {env.path('source')} -xf -")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MESON_", "VSOCKFS"))}
    env.run(["meson", "setup", "build", "-Dtests=disabled", "--buildtype=debug"],
            cwd=env.path("source"), env=clean)
    env.run(["ninja", "-C", "build"], cwd=env.path("source"), env=clean)
    assert env.run([env.path("source/build/src/vsockfs"), "-V"]).startswith("vsockfs ")
    assert "no work to do" in env.run(["ninja", "-C", "build"], cwd=env.path("source"), env=clean)
    env.same()


@suite.test("an edit on the host rebuilds exactly what depends on it", timeout=300)
def rebuild(env):
    need("ninja", "cc")
    os.mkdir(env.path("p"))
    for name in ("one", "two"):
        with open(env.path(f"p/{name}.c"), "w") as f:
            f.write(f"#include \"{name}.h\"\nint {name}(void) {{ return VALUE; }}\n")
        with open(env.path(f"p/{name}.h"), "w") as f:
            f.write("#define VALUE 1\n")
    with open(env.path("p/build.ninja"), "w") as f:
        f.write("rule cc\n  command = cc -MD -MF $out.d -c $in -o $out\n  depfile = $out.d\n"
                "  deps = gcc\nbuild one.o: cc one.c\nbuild two.o: cc two.c\n")
    assert "[2/2]" in env.run(["ninja", "-C", env.path("p")])
    for value in range(2, 6):
        with open(env.on_disk("p/two.h"), "w") as f:
            f.write(f"#define VALUE {value}\n")
        shown = []
        env.eventually(lambda: "no work" not in (shown.append(env.run(
            ["ninja", "-C", env.path("p")])) or shown[-1]), what="the edit")
        assert "[1/1]" in shown[-1], shown[-1]
        assert "no work" in env.run(["ninja", "-C", env.path("p")])


if __name__ == "__main__":
    suite.main()
