# SPDX-License-Identifier: LGPL-2.1-or-later
"""A Debian file tree that boots, and the initramfs images that boot it from a share."""

import os
import shutil
import subprocess

from initramfs import Missing, find_program

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONTRIB = os.path.join(ROOT, "contrib")
# The daemon's libraries, systemd, and both makers of images (dracut itself and initramfs-tools
# exclude each other; what they do their work with does not).
PACKAGES = ("systemd,systemd-sysv,udev,kmod,dracut-core,initramfs-tools-core,busybox,zstd,fuse3,"
            "libfuse3-3,liburing2,libtirpc3,libseccomp2,libcap-ng0,libssl3,iproute2")
TRIM = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/zoneinfo/*",
        "/usr/lib/systemd/catalog/*")
# What setting up packages took.
LEFT_BEHIND = ("./dev/*", "./usr/share/perl*", "./usr/lib/*/perl*", "./var/lib/apt/*",
               "./var/cache/*", "./var/lib/dpkg/info/*")
# Nothing that this is about, and much to emulate.
MASKED = ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "e2scrub_reap.service",
          "fstrim.timer", "dpkg-db-backup.timer", "getty@tty1.service", "console-getty.service",
          "serial-getty@ttyS0.service", "systemd-hwdb-update.service", "systemd-pstore.service",
          "systemd-update-utmp.service", "systemd-update-utmp-runlevel.service", "ldconfig.service",
          "systemd-random-seed.service", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount",
          "sys-kernel-debug.mount", "sys-kernel-tracing.mount", "dev-hugepages.mount",
          "dev-mqueue.mount", "modprobe@drm.service", "modprobe@efi_pstore.service")
MODULES = ["fuse", "vsock", "vmw_vsock_virtio_transport", "virtio_pci", "virtio_net", "autofs4",
           "virtio_blk", "ext4", "dmi-sysfs", "qemu_fw_cfg"]


DRACUT_NETWORK = """#!/bin/bash
check() { return 0; }
depends() { echo base; }
installkernel() { hostonly='' instmods virtio_net; }
install() { inst_multiple ip sleep; inst_hook pre-mount 90 "$moddir/net.sh"; }
"""


def debian_mirror():
    """(codename, mirror) of this machine's own release."""
    with open("/etc/os-release") as f:
        release = dict(line.rstrip("\n").split("=", 1) for line in f if "=" in line)
    name = release.get("VERSION_CODENAME", "").strip('"')
    if release.get("ID") != "debian" or not name:
        raise Missing("not a Debian system: no tree to boot from")
    told = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
         "Created-By: Packages"], stdout=subprocess.PIPE, text=True).stdout
    for line in told.splitlines():
        if line.split()[1:] == [name, "main"]:
            return name, line.split()[0]
    raise Missing(f"apt knows no archive of {name}")


def cached_tree(work):
    """A tar archive of the tree as Debian has it, made once."""
    path = os.path.join(work, "tree.tar")
    if os.path.exists(path):
        return path
    name, mirror = debian_mirror()
    tool = find_program("mmdebstrap", "mmdebstrap")
    log = os.path.join(work, "mmdebstrap.log")
    words = [tool, "--variant=minbase", f"--include={PACKAGES}"]
    words += [f"--dpkgopt=path-exclude={pattern}" for pattern in TRIM]
    with open(log, "wb") as output:
        done = subprocess.run([*words, name, path + ".new.tar", mirror], stdin=subprocess.DEVNULL,
                              stdout=output, stderr=output)
    if done.returncode:
        raise Missing(f"mmdebstrap makes no tree from {mirror}: see {log}")
    os.rename(path + ".new.tar", path)
    return path


class RootTree:
    """An unpacked tree with the programs under test."""

    def __init__(self, work, path, release):
        self.path = path
        self.release = release
        self.log = os.path.join(work, "tree.log")
        os.mkdir(path)
        subprocess.run(["tar", "-C", path, "--numeric-owner", "-xpf", cached_tree(work),
                        *(f"--exclude={pattern}" for pattern in LEFT_BEHIND)], check=True)

    def inside(self, path):
        return self.path + path

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.inside(path)), exist_ok=True)
        with open(self.inside(path), "w") as f:
            f.write(text)
        os.chmod(self.inside(path), mode)

    def copy(self, source, path, mode=0o755):
        os.makedirs(os.path.dirname(self.inside(path)), exist_ok=True)
        shutil.copyfile(source, self.inside(path))
        os.chmod(self.inside(path), mode)

    def install(self, vsockfs, vsockfsctl, generator):
        self.copy(vsockfs, "/usr/bin/vsockfs")
        self.copy(vsockfsctl, "/usr/bin/vsockfsctl")
        for name in ("mount.vsockfs", "mount.fuse.vsockfs", "umount.fuse.vsockfs"):
            os.symlink("/usr/bin/vsockfs", self.inside(f"/usr/sbin/{name}"))
        shutil.copytree(f"{CONTRIB}/dracut/50vsockfs",
                        self.inside("/usr/lib/dracut/modules.d/50vsockfs"))
        if generator:
            self.copy(generator, "/usr/lib/systemd/system-generators/vsockfs-generator")
        for name in ("hooks/vsockfs", "scripts/vsockfs", "scripts/init-premount/vsockfs"):
            source = f"{CONTRIB}/initramfs-tools/{name}"
            self.copy(source, f"/usr/share/initramfs-tools/{name}", os.stat(source).st_mode & 0o777)

    def settle(self):
        """Without a first-boot dialogue, and without what only takes time."""
        for unit in MASKED:
            self.mask(unit)
        self.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
        self.write("/etc/hostname", "guest\n")
        self.write("/etc/fstab", "")

    def mask(self, unit):
        path = self.inside(f"/etc/systemd/system/{unit}")
        if not os.path.lexists(path):
            os.symlink("/dev/null", path)

    def unit(self, name, text, wanted_by):
        self.write(f"/etc/systemd/system/{name}", text)
        wants = self.inside(f"/etc/systemd/system/{wanted_by}.wants")
        os.makedirs(wants, exist_ok=True)
        os.symlink(f"../{name}", os.path.join(wants, name))

    def copy_modules(self, files):
        """What the guest loads from its root itself."""
        for path in files:
            self.copy(path, "/usr" + path, 0o644)
        for name in os.listdir(f"/lib/modules/{self.release}"):
            if name.startswith("modules."):
                self.copy(f"/lib/modules/{self.release}/{name}",
                          f"/usr/lib/modules/{self.release}/{name}", 0o644)

    def chroot(self, *words):
        """Runs a program within the tree, with this machine's kernel modules."""
        target = self.inside(f"/usr/lib/modules/{self.release}")
        os.makedirs(target, exist_ok=True)
        script = ('mount --bind "$2" "$3" && mount -t proc proc "$1/proc" && '
                  'mount -t sysfs sys "$1/sys" && mount --rbind /dev "$1/dev" && '
                  'mount -t tmpfs tmp "$1/tmp" && mount -t tmpfs tmp "$1/var/tmp" && '
                  'root=$1 && shift 3 && exec chroot "$root" "$@"')
        with open(self.log, "ab") as log:
            done = subprocess.run(
                ["unshare", "--mount", "sh", "-c", script, "sh", self.path,
                 f"/lib/modules/{self.release}", target, *words], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        if done.returncode:
            raise RuntimeError(f"{' '.join(words[:2])} fails: see {self.log}")

    def dracut(self, image, modules):
        """Made from these modules of dracut, so that it is small."""
        self.chroot("dracut", "--force", "--no-hostonly", "--no-hostonly-cmdline", "--nostrip",
                    "--compress", "zstd -1 -q", "--no-early-microcode", "--modules", modules,
                    "--kver", self.release, image)

    def network_for_dracut(self, address):
        """dracut's own network module is much for one address."""
        module = "/usr/lib/dracut/modules.d/51vmnet"
        self.write(f"{module}/module-setup.sh", DRACUT_NETWORK, 0o755)
        self.write(f"{module}/net.sh", f"""#!/bin/sh
modprobe virtio_net
while ! ip link set eth0 up; do sleep 0.1; done
ip addr add {address}/24 dev eth0
""", 0o755)

    def disk(self, path, megabytes):
        """An ext4 file system with all of it, as QEMU's arguments for a virtio disk."""
        subprocess.run([find_program("mke2fs", "e2fsprogs"), "-q", "-F", "-t", "ext4", "-d",
                        self.path, path, f"{megabytes}M"], check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL)
        return ["-drive", f"file={path},format=raw,if=none,id=disk,cache=unsafe",
                "-device", "virtio-blk-pci,drive=disk"]

    def initramfs_tools(self, image):
        self.write(f"/boot/config-{self.release}", "CONFIG_RD_ZSTD=y\n")
        self.write("/etc/initramfs-tools/conf.d/test", "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\n")
        self.write("/etc/initramfs-tools/modules", "virtio_net\nvirtio_blk\next4\n")
        self.chroot("mkinitramfs", "-o", image, self.release)
