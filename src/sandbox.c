/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/fuse.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <pwd.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

/* Whatever their arguments are. Calls that an architecture does not have are left out by
 * libseccomp.
 */
static const int sandbox_common[] = {
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(readv),
	SCMP_SYS(writev),
	SCMP_SYS(close),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recv),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(send),
	SCMP_SYS(sendmsg),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(ppoll_time64),
	SCMP_SYS(fstat),
	SCMP_SYS(fstat64),
	SCMP_SYS(stat),
	SCMP_SYS(stat64),
	SCMP_SYS(lstat),
	SCMP_SYS(lstat64),
	SCMP_SYS(newfstatat),
	SCMP_SYS(fstatat64),
	SCMP_SYS(statx),
	SCMP_SYS(lseek),
	SCMP_SYS(_llseek),
	SCMP_SYS(fcntl),
	SCMP_SYS(fcntl64),
	SCMP_SYS(brk),
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigreturn),
	SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(futex),
	SCMP_SYS(futex_time64),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(geteuid),
	SCMP_SYS(geteuid32),
	SCMP_SYS(tgkill), /* abort(3) */
	SCMP_SYS(tkill),  /* musl's */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_gettime64),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
};

static const int sandbox_daemon[] = {
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
	SCMP_SYS(pread64),
	/* connections, /dev/log, the resolver, sssd and its like */
	SCMP_SYS(connect),
	SCMP_SYS(bind),
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(shutdown),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(recvmmsg),
	SCMP_SYS(select),
	SCMP_SYS(pselect6),
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(eventfd2),
	SCMP_SYS(timer_settime),
	SCMP_SYS(timer_settime64),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(pipe2),
	SCMP_SYS(dup),
	SCMP_SYS(dup2),
	SCMP_SYS(dup3),
	/* the files that name services read */
	SCMP_SYS(access),
	SCMP_SYS(faccessat),
	SCMP_SYS(readlink),
	SCMP_SYS(readlinkat),
	SCMP_SYS(getdents),
	SCMP_SYS(getdents64),
	SCMP_SYS(statfs),
	SCMP_SYS(fstatfs),
	SCMP_SYS(getcwd),
	SCMP_SYS(fadvise64),
	SCMP_SYS(flock),
	SCMP_SYS(umask),
	SCMP_SYS(chdir),
	/* threads */
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(sched_yield),
	SCMP_SYS(getcpu),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_setaffinity),
	SCMP_SYS(membarrier),
	SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(clock_nanosleep_time64),
	SCMP_SYS(clock_getres),
	SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(get_robust_list),
	/* questions */
	SCMP_SYS(getrandom),
	SCMP_SYS(uname),
	SCMP_SYS(sysinfo),
	SCMP_SYS(getuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getppid),
	SCMP_SYS(getresuid),
	SCMP_SYS(getresgid),
	SCMP_SYS(getgroups),
	SCMP_SYS(getrlimit),
	SCMP_SYS(getrusage),
	SCMP_SYS(times),
	SCMP_SYS(getpgrp),
	SCMP_SYS(getpgid), /* mounter_is_caller */
	SCMP_SYS(getsid),
	SCMP_SYS(setsid), /* the background's, which begins when all is set up */
	/* the guard's end, the state file's growth */
	SCMP_SYS(wait4),
	SCMP_SYS(waitid),
	SCMP_SYS(fallocate),
};

static const int sandbox_guard[] = {
	SCMP_SYS(umount2),
	SCMP_SYS(wait4),  /* for the notifier */
	SCMP_SYS(unlink), /* the control socket */
	SCMP_SYS(unlinkat),
};

/* Nothing here comes to them by accident. */
static const int sandbox_deadly[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(fork),
	SCMP_SYS(vfork),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(mount),
	SCMP_SYS(umount),
	SCMP_SYS(move_mount),
	SCMP_SYS(open_tree),
	SCMP_SYS(fsopen),
	SCMP_SYS(fsmount),
	SCMP_SYS(fspick),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(pivot_root),
	SCMP_SYS(chroot),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(delete_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	SCMP_SYS(setuid),
	SCMP_SYS(setgid),
	SCMP_SYS(setreuid),
	SCMP_SYS(setregid),
	SCMP_SYS(setresuid),
	SCMP_SYS(setresgid),
	SCMP_SYS(setfsuid),
	SCMP_SYS(setfsgid),
	SCMP_SYS(setgroups),
	SCMP_SYS(capset),
	SCMP_SYS(keyctl),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(reboot),
	SCMP_SYS(swapon),
	SCMP_SYS(swapoff),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(iopl),
	SCMP_SYS(ioperm),
	SCMP_SYS(personality),
};

static int sandbox_add(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t count)
{
	int err = 0;
	for (size_t i = 0; i < count && !err; i++)
		err = seccomp_rule_add(filter, action, calls[i], 0);
	return err;
}

static int sandbox_allow_value(
	scmp_filter_ctx filter, int call, unsigned arg, const uint64_t *values, size_t count)
{
	int err = 0;
	for (size_t i = 0; i < count && !err; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
			SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, UINT32_MAX, values[i]));
	return err;
}

/* Reading only; what would make or change a file is refused. */
static int sandbox_add_open(scmp_filter_ctx filter, int call, unsigned arg)
{
	const uint64_t flags = O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY);
	int err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
		SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, flags, O_RDONLY));
	static const uint64_t refused[] = {
		O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE & ~O_DIRECTORY};
	for (size_t i = 0; i < COUNT(refused) && !err; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), call, 1,
			SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, refused[i], refused[i]));
	return err;
}

static int sandbox_add_files(scmp_filter_ctx filter)
{
	int err = sandbox_add_open(filter, SCMP_SYS(open), 1);
	return err ? err : sandbox_add_open(filter, SCMP_SYS(openat), 2);
}

/* No code is made or loaded any more: see sandbox_load_names. */
static int sandbox_add_memory(scmp_filter_ctx filter)
{
	static const int calls[] = {SCMP_SYS(mmap), SCMP_SYS(mmap2), SCMP_SYS(mprotect)};
	int err = 0;
	for (size_t i = 0; i < COUNT(calls) && !err; i++)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 1,
			SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return err;
}

static int sandbox_add_sockets(scmp_filter_ctx filter)
{
	static const uint64_t domains[] = {AF_VSOCK, AF_UNIX, AF_INET, AF_INET6};
	static const uint64_t ioctls[] = {FIONREAD, IOCTL_VM_SOCKETS_GET_LOCAL_CID};
	int err = sandbox_allow_value(filter, SCMP_SYS(socket), 0, domains, COUNT(domains));
	/* for rpc/gss_nego.c */
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
			SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
	/* getaddrinfo(3) asks which kinds of addresses this machine has. */
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2,
			SCMP_A0(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2(SCMP_CMP_EQ, NETLINK_ROUTE));
	if (!err)
		err = sandbox_allow_value(filter, SCMP_SYS(ioctl), 1, ioctls, COUNT(ioctls));
	return err;
}

/* Threads and no processes. clone3, whose arguments cannot be seen, is ENOSYS: glibc then takes
 * clone. */
static int sandbox_add_process(scmp_filter_ctx filter)
{
	static const uint64_t prctls[] = {PR_SET_NAME, PR_GET_NAME};
	int err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
		SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (!err)
		err = sandbox_allow_value(filter, SCMP_SYS(prctl), 0, prctls, COUNT(prctls));
	/* rootfs.c */
	if (!err)
		err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(kill), 2,
			SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A1(SCMP_CMP_EQ, SIGCONT));
	/* prlimit(2) to ask, not to set */
	if (!err)
		err = seccomp_rule_add(
			filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 1, SCMP_A2(SCMP_CMP_EQ, 0));
	return err;
}

static scmp_filter_ctx sandbox_new(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
	if (!filter)
		return NULL;
	/* All threads at once, or none; what is refused goes to the kernel's log if that may be
	 * chosen (Linux 4.14). The tree finds a call in a few steps instead of a hundred. */
	int err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!err)
		err = sandbox_add(filter, SCMP_ACT_ALLOW, sandbox_common, COUNT(sandbox_common));
	if (!err)
		err = sandbox_add(
			filter, SCMP_ACT_KILL_PROCESS, sandbox_deadly, COUNT(sandbox_deadly));
	if (err) {
		seccomp_release(filter);
		return NULL;
	}
	return filter;
}

static int sandbox_load(scmp_filter_ctx filter, int err)
{
	if (!err)
		err = seccomp_load(filter);
	seccomp_release(filter);
	return err;
}

#ifndef VSOCKFS_STATIC
/* Name services are loaded now, all of them, by asking for names that none has. */
static void sandbox_load_names(void)
{
	static const char nobody[] = "vsockfs no such name";
	struct passwd user, *found_user;
	struct group group, *found_group;
	char buffer[1024];
	getpwnam_r(nobody, &user, buffer, sizeof(buffer), &found_user);
	getgrnam_r(nobody, &group, buffer, sizeof(buffer), &found_group);
}
#else
/* A static program loads nothing. */
static void sandbox_load_names(void)
{
}
#endif

int sandbox_enter(bool names)
{
	scmp_filter_ctx filter = sandbox_new();
	if (!filter)
		return -ENOMEM;
	if (names)
		sandbox_load_names();
	static const int unmount[] = {SCMP_SYS(umount2)};
	int err = sandbox_add(filter, SCMP_ACT_ALLOW, sandbox_daemon, COUNT(sandbox_daemon));
	if (!err)
		err = sandbox_add(filter, SCMP_ACT_KILL_PROCESS, unmount, COUNT(unmount));
	if (!err)
		err = sandbox_add_files(filter);
	if (!err)
		err = sandbox_add_memory(filter);
	if (!err)
		err = sandbox_add_sockets(filter);
	if (!err)
		err = sandbox_add_process(filter);
	return sandbox_load(filter, err);
}

int sandbox_enter_guard(void)
{
	scmp_filter_ctx filter = sandbox_new();
	if (!filter)
		return -ENOMEM;
	int err = sandbox_add(filter, SCMP_ACT_ALLOW, sandbox_guard, COUNT(sandbox_guard));
	if (!err)
		err = sandbox_add_files(filter);
	if (!err)
		err = sandbox_add_memory(filter);
	return sandbox_load(filter, err);
}
