# SPDX-License-Identifier: LGPL-2.1-or-later
# What the guest's scripts say, and the checks that they share. Descriptor 3 leads to the host.
set -o pipefail
failed=0

say() { echo "$*" >&3; }

# check WHAT COMMAND...: one result; what the command printed is shown where it failed.
check() {
	local what=$1 status
	shift
	"$@" >/run/out 2>&1
	status=$?
	if [ $status -eq 0 ]; then
		say "ok $what"
	else
		say "not ok $what"
		failed=$((failed + 1))
		{ echo "status $status of: $*"; tail -n 30 /run/out; } | sed 's/^/# /' >&3
	fi
}

# A check that takes this long hangs: the console shows where, before the host gives up.
hang_s=120
show_hang() {
	local age=0 task
	: >/run/out
	while [ $age -lt $hang_s ]; do
		sleep 5
		age=$(($(date +%s) - $(stat -c %Y /run/out)))
	done
	dmesg -n 8
	echo w >/proc/sysrq-trigger
	for task in /proc/[0-9]*/task/*; do
		# kernel threads have no program
		readlink "$task/exe" && cat "$task/stack"
	done >/dev/console
}

show_log_of_failures() {
	[ $failed -eq 0 ] || [ ! -s /run/log ] || tail -n 60 /run/log | sed 's/^/# log: /' >&3
}

# The kernel's log has a line for a call that a program's filter has refused.
no_call_refused() { ! dmesg | grep 'audit: type=1326'; }

# same A B: says where two texts differ.
same() {
	[ "$1" = "$2" ] && return
	printf 'expected:\n%s\nis:\n%s\n' "$1" "$2"
	return 1
}

# row_holds ROW FOUND: what the manual's table says, where it tells of this kernel's knfsd. A row may
# be good but for one version.
row_holds() {
	local said
	[ -e /apart ] || return 0
	said=$(sed -n "s/^$1\t//p" /apart)
	case $said in
	'not '*) if uname -v | grep -qF " ${said#not }-"; then said=no; else said=yes; fi ;;
	esac
	same "$1: $said" "$1: $2"
}

sum() { sha256sum <"$1" | cut -d' ' -f1; }

# eventually SECONDS COMMAND...: true as soon as the command is.
eventually() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}

no_daemon_left() { eventually 5 lacks_process vsockfs || { ps | grep vsockfs; return 1; }; }
lacks_process() { ! pidof "$1" >/dev/null; }

# refused WORDS COMMAND...: status 32 and one line on stderr that has WORDS (an extended regular
# expression) in it, nothing mounted, no process left.
refused() {
	local words=$1 status
	shift
	timeout 60 "$@" 2>/run/err
	status=$?
	cat /run/err
	[ $status -eq 32 ] || { echo "exit status $status"; return 1; }
	[ "$(wc -l </run/err)" -eq 1 ] || { echo "not one line"; return 1; }
	grep -qE "$words" /run/err || { echo "does not say: $words"; return 1; }
	! grep vsockfs /proc/mounts || return 1
	no_daemon_left
}

mounted() {
	local line
	line=$(grep " $1 fuse.vsockfs " /proc/mounts) || { cat /proc/mounts; return 1; }
	same "$2" "${line%% *}"
}

mount_with() { # PROGRAM SOURCE MOUNTPOINT [ARG...]
	timeout 60 "$@" || { echo "exit status $?"; return 1; }
	mounted "$3" "$2"
}

unmount() {
	umount "$1" || return 1
	no_daemon_left
}

# A file made through the mount, read back there and as the export itself has it.
write_and_compare() { # MOUNT EXPORT NAME MIB
	dd if=/dev/urandom of=/run/source bs=1M count="$4" || return 1
	cp /run/source "$1/$3" || return 1
	same "$(sum /run/source)" "$(sum "$2/$3")" || return 1
	echo 1 >/proc/sys/vm/drop_caches
	same "$(sum /run/source)" "$(sum "$1/$3")" || return 1
	rm /run/source
}

milliseconds() { echo $(((${1/./} - ${2/./}) / 1000)); }

# How long from the command to the first byte of a small file, at best. The limit holds on real CPUs.
first_byte() { # SOURCE MOUNTPOINT FILE
	local start end took best=
	for _ in 1 2 3; do
		start=$EPOCHREALTIME
		vsockfs "$1" "$2" || return 1
		read -r -N 1 <"$2/$3"
		end=$EPOCHREALTIME
		unmount "$2" || return 1
		took=$(milliseconds "$end" "$start")
		[ -n "$best" ] && [ "$best" -le "$took" ] || best=$took
	done
	say "# first byte $best ms after the command"
	! grep -q accel=kvm /proc/cmdline || [ "$best" -lt 50 ] || { echo "$best ms"; return 1; }
}
