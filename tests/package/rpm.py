#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""
RPM packages: contrib/rpm/vsockfs.spec, built from what git has.

    rpm.py SOURCE

On a system of another kind the macros that are Fedora's are defined here, and the names of packages
to build with do not count.
"""

import os
import re
import sys

from package import check_out, clean_environment, main, need, run

SPEC = "contrib/rpm/vsockfs.spec"
MACROS = {
    "meson": "meson setup --prefix=/usr --libdir=%{_libdir} --sysconfdir=/etc build",
    "meson_build": "meson compile -C build",
    "meson_install": "DESTDIR=%{buildroot} meson install -C build --no-rebuild",
    "meson_test": "meson test -C build",
    "_libdir": "/usr/lib64",
    "_unitdir": "/usr/lib/systemd/system",
    "_dracutmodulesdir": "/usr/lib/dracut/modules.d",
    "_systemdgeneratordir": "/usr/lib/systemd/system-generators",
    "systemd_post()": ":",
    "systemd_preun()": ":",
    "systemd_postun_with_restart()": ":",
}


def archive(source, work):
    with open(os.path.join(source, SPEC)) as file:
        version = re.search(r"^Version:\s*(\S+)", file.read(), re.M)[1]
    name = f"vsockfs-{version}"
    check_out(source, os.path.join(work, name))
    os.mkdir(os.path.join(work, "SOURCES"))
    run(["tar", "-C", work, "-cJf", f"{work}/SOURCES/{name}.tar.xz", name])


def build(source, work):
    """A file that is installed and in no package is an error, and so is one that is missing."""
    macros = [f"--define={name} {value}" for name, value in MACROS.items()
              if run(["rpm", "--eval", f"%{{?{name.rstrip('()')}:1}}"]).strip() != "1"]
    run(["rpmbuild", "-ba", "--nodeps", "--nocheck", f"--define=_topdir {work}", *macros,
         os.path.join(source, SPEC)], env=clean_environment())


def lint(source):
    need("rpmlint")
    run(["rpmlint", os.path.join(source, SPEC)])


def steps(points, source, work):
    points.aside("rpmlint finds no error", lint, source)
    archive(source, work)
    points.step("rpmbuild makes the packages", build, source, work)


if __name__ == "__main__":
    sys.exit(main(steps, "rpmbuild", "meson"))
