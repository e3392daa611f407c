# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the tests of packages have in common: running programs, and a fresh copy of the project."""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), "vm"))
from tap import Tap  # noqa: E402


class Missing(Exception):
    """Why something cannot be tried here."""


class Failed(Exception):
    pass


def run(command, **options):
    """Its output; Failed with the output's end where it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise Failed(f"{' '.join(command)}: exit status {done.returncode}\n{text[-6000:]}")
    return text


def need(*programs):
    for name in programs:
        if not shutil.which(name):
            raise Missing(f"{name} is not installed")


def clean_environment():
    """This process's, without what was meant for another build."""
    return {k: v for k, v in os.environ.items()
            if not k.startswith(("MESON", "DESTDIR", "CC", "CFLAGS", "LDFLAGS", "DEB_"))}


def check_out(source, tree):
    """Copies what git knows to tree, as a fresh clone has it."""
    names = run(["git", "-c", "safe.directory=*", "-C", source, "ls-files", "-co",
                 "--exclude-standard"]).splitlines()
    for name in filter(lambda n: os.path.lexists(os.path.join(source, n)), names):
        os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
        shutil.copy2(os.path.join(source, name), os.path.join(tree, name), follow_symlinks=False)


class Steps:
    """Points of a test, each of which builds on those before it."""

    def __init__(self):
        self.tap = Tap()

    def step(self, what, function, *args):
        try:
            done = function(*args)
        except Missing as why:
            self.tap.skip(what, why)
            raise
        except Failed as why:
            self.tap.result(False, what)
            self.tap.diag(str(why))
            raise
        self.tap.result(True, what)
        return done

    def aside(self, what, function, *args):
        """On which nothing builds."""
        try:
            self.step(what, function, *args)
        except (Missing, Failed):
            pass


def main(steps, *programs):
    """Runs steps(Steps, the project's directory, a directory for work); returns the exit status."""
    points = Steps()
    try:
        need("git", *programs)
    except Missing as why:
        return points.tap.skip_all(why)
    with tempfile.TemporaryDirectory(prefix="vsockfs-package-", dir="/var/tmp") as work:
        try:
            steps(points, sys.argv[1], work)
        except (Missing, Failed):
            pass
    return points.tap.plan()
