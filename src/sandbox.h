/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_SANDBOX_H
#define VSOCKFS_SANDBOX_H

#include <errno.h>
#include <stdbool.h>

/*
 * The system calls that are left to a process once everything is set up (seccomp(2), through
 * libseccomp). What a mounted file system has no use for, such as running programs, tracing,
 * mounting, loading modules or changing identity, kills the process and is logged by the kernel.
 * Opening a file to write it fails with EPERM, and what is not listed with ENOSYS, so that a
 * library newer than this list falls back on what it knows. Programs built with a sanitizer have no
 * filter: its run time does as it likes.
 */

#ifdef VSOCKFS_SECCOMP

/* Confines every thread of the calling process; users' and groups' `names` may be looked up then. 0
 * or -errno: nothing is confined then. */
int sandbox_enter(bool names);

/* For the guard and the notifier: opening paths, unmounting, one socket. */
int sandbox_enter_guard(void);

#else

static inline int sandbox_enter(bool names)
{
	(void)names;
	return -ENOSYS;
}

static inline int sandbox_enter_guard(void)
{
	return -ENOSYS;
}

#endif

#endif
