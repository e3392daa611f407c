# SPDX-License-Identifier: LGPL-2.1-or-later
"""Builds a guest's first file system from this machine's programs and kernel modules."""

import os
import re
import shutil
import stat
import subprocess


class Missing(Exception):
    """Something that this machine has not got; the text says what, and what to install."""


def find_program(name, package):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin:/usr/lib/systemd")
    if not path:
        raise Missing(f"no {name} (Debian package {package})")
    return path


def newest_kernel(modules):
    """The newest kernel image here that has all the modules: (image, release)."""
    found = []
    for name in os.listdir("/boot"):
        release = name.removeprefix("vmlinuz-")
        image = os.path.join("/boot", name)
        if release != name and os.access(image, os.R_OK) and os.path.isdir(f"/lib/modules/{release}"):
            found.append((_version_key(release), image, release))
    for _, image, release in sorted(found, reverse=True):
        if module_files(release, modules) is not None:
            return image, release
    raise Missing("no kernel image with its modules in /boot (Debian package linux-image-amd64)")


def _version_key(release):
    return [(0, int(part), "") if part.isdigit() else (1, 0, part)
            for part in re.findall(r"\d+|[a-z]+", release)]


def module_files(release, modules):
    """Files of the modules and all that they need, or None where the kernel lacks one."""
    modprobe = find_program("modprobe", "kmod")
    files = []
    for module in modules:
        shown = subprocess.run([modprobe, "-S", release, "--show-depends", module],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if shown.returncode:
            return None
        files += [line.split()[1] for line in shown.stdout.splitlines()
                  if line.startswith("insmod")]
    return files


class Initramfs:
    """A tree in memory, written as a cpio archive; every file in it belongs to root."""

    def __init__(self):
        self.entries = {}
        for name in ("bin", "sbin", "lib", "lib64"):
            self.link(f"/{name}", f"usr/{name}")
            self.directory(f"/usr/{name}")

    @staticmethod
    def _place(path):
        """Where path lies in a tree whose /bin, /sbin and /lib* are links into /usr."""
        path = os.path.normpath(path)
        return "/usr" + path if re.match(r"/(s?bin|lib(64)?)(/|$)", path) else path

    def directory(self, path):
        path = os.path.normpath(path)
        if path != "/" and path not in self.entries:
            self.directory(os.path.dirname(path))
            self.entries[path] = (stat.S_IFDIR | 0o755, b"")

    def _add(self, path, mode, data):
        path = self._place(path)
        self.directory(os.path.dirname(path))
        self.entries[path] = (mode, data)

    def link(self, path, target):
        self.directory(os.path.dirname(path))
        self.entries[os.path.normpath(path)] = (stat.S_IFLNK | 0o777, target.encode())

    def file(self, path, data, mode=0o644):
        self._add(path, stat.S_IFREG | mode, data if isinstance(data, bytes) else data.encode())

    def copy(self, source, path=None):
        with open(source, "rb") as file:
            self.file(path or source, file.read(), os.stat(source).st_mode & 0o777)

    def program(self, source, path=None):
        """A program and, unless it is static, its loader and shared libraries."""
        self.copy(source, path)
        ldd = subprocess.run([find_program("ldd", "libc-bin"), source], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
        for line in ldd.stdout.splitlines():
            library = re.search(r"(/\S+) \(0x", line)
            if library and self._place(library[1]) not in self.entries:
                self.copy(library[1])
            elif "not found" in line:
                raise Missing(f"{source} needs {line.strip()}")

    def userland(self):
        """Busybox under all its names, and bash for the scripts."""
        busybox = find_program("busybox", "busybox-static")
        self.program(busybox, "/usr/bin/busybox")
        applets = subprocess.run([busybox, "--list"], stdout=subprocess.PIPE, check=True, text=True)
        for applet in applets.stdout.split():
            if applet != "busybox":
                self.link(f"/usr/bin/{applet}", "busybox")
        for name, package in (("bash", "bash"), ("flock", "util-linux")):
            self.program(find_program(name, package), f"/usr/bin/{name}")
        self.program(find_program("modprobe", "kmod"), "/usr/sbin/modprobe")

    def modules(self, release, names):
        for path in module_files(release, names):
            self.copy(path)
        base = f"/lib/modules/{release}"
        for name in os.listdir(base):
            if name.startswith("modules.") and name.endswith((".bin", "softdep", "order")):
                self.copy(f"{base}/{name}")

    def write(self, path):
        with open(path, "wb") as out:
            for number, name in enumerate(sorted(self.entries), 1):
                mode, data = self.entries[name]
                self._write_entry(out, number, name.lstrip("/"), mode, data)
            self._write_entry(out, 0, "TRAILER!!!", 0, b"")

    @staticmethod
    def _write_entry(out, inode, name, mode, data):
        encoded = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        for part in (header + encoded, data):
            out.write(part + b"\0" * (-len(part) % 4))
