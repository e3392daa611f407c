# SPDX-License-Identifier: LGPL-2.1-or-later
# Sourced by ./try and ./check: the Debian packages they need, and how to get those that lack.

PACKAGES_BUILD="gcc libc6-dev meson ninja-build pkgconf libfuse3-dev liburing-dev libtirpc-dev
	libseccomp-dev libcap-ng-dev libssl-dev libkrb5-dev systemtap-sdt-dev"
PACKAGES_RUN="fuse3 nfs-ganesha nfs-ganesha-vfs python3 util-linux"
PACKAGES_TEST="libcmocka-dev libnfs-dev git fio sqlite3 tshark gdb tar findutils nfs-common binutils
	clang libclang-rt-dev llvm clang-tidy clang-format cppcheck mandoc valgrind
	qemu-system-x86 busybox-static socat e2fsprogs xfsprogs kmod attr nfs4-acl-tools openssl
	krb5-kdc krb5-admin-server krb5-user
	dpkg-dev debhelper lintian mmdebstrap rpm rpmlint systemd autofs"
# bench/run, which says what it does without.
# shellcheck disable=SC2034 # for who reads this
PACKAGES_BENCH="python3-matplotlib sshfs openssh-sftp-server"
# The guests of the VM tests take any kernel that is there.
ls /boot/vmlinuz-* >/dev/null 2>&1 || PACKAGES_TEST="$PACKAGES_TEST linux-image-amd64"

packages_missing()
{
	for package; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
			printf '%s ' "$package"
	done
}

# Installs what is not there. Nothing missing: no network, no change. What a package starts by itself,
# a server on port 2049 or an automounter, is stopped when it came with this very installation.
packages_install()
{
	command -v dpkg-query >/dev/null || {
		echo "not a Debian system: these packages, or what they are called here, are needed:"
		echo "  $*"
		return 0
	}
	missing=$(packages_missing "$@")
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" -ne 0 ]; then
		echo "missing packages, to install as root: apt-get install $missing" >&2
		return 1
	fi
	echo "installing: $missing"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # a list of words
	apt-get -q -y --no-install-recommends install $missing || {
		apt-get -q update &&
			apt-get -q -y --no-install-recommends install $missing
	} || return 1
	for service in nfs-ganesha autofs krb5-kdc krb5-admin-server; do
		case " $missing" in
		*" $service "*)
			if [ -d /run/systemd/system ]; then
				systemctl disable --now "$service.service"
			fi ;;
		esac
	done
}
