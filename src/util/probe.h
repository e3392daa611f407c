/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_UTIL_PROBE_H
#define VSOCKFS_UTIL_PROBE_H

/*
 * Places for bpftrace(8) and its like to look in (USDT; vsockfsctl(1) lists them): a nop each, with
 * a note that says where the arguments are, so that they cost nothing while nobody looks. Arguments
 * are numbers and constant strings that are at hand anyway. Built without <sys/sdt.h> there are
 * none.
 */

#ifdef VSOCKFS_USDT
#include <sys/sdt.h>
#define PROBE2(name, a, b)	    DTRACE_PROBE2(vsockfs, name, a, b)
#define PROBE4(name, a, b, c, d)    DTRACE_PROBE4(vsockfs, name, a, b, c, d)
#define PROBE5(name, a, b, c, d, e) DTRACE_PROBE5(vsockfs, name, a, b, c, d, e)
#else
#define PROBE2(name, a, b)	    ((void)0)
#define PROBE4(name, a, b, c, d)    ((void)0)
#define PROBE5(name, a, b, c, d, e) ((void)0)
#endif

#endif
