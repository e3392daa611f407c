/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_CTL_H
#define VSOCKFS_CTL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* vsockfsctl's parts. Those that return a status have said what went wrong. */

#define CTL_USAGE   1
#define CTL_FAILURE 2

struct ctl_options {
	bool json, mountstats;
	bool data;	     /* capture */
	uint32_t snaplen;    /* capture: bytes, 0: all */
	uint64_t limit;	     /* capture: bytes, 0: none */
	double slower_ms;    /* trace */
	double interval_s;   /* watch */
	unsigned long count; /* watch; 0: without end */
};

/* "vsockfsctl: ..." on stderr; returns `status`. */
int ctl_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Flushes stdout: 0 or a status. */
int ctl_flush(void);

/* Has the daemon of the mount at `path` answer to `out`, `with` a descriptor unless it is -1. */
int ctl_ask(const char *path, const char *request, int with, FILE *out);
/* The same into *text, to be freed; NULL when it fails. */
int ctl_ask_text(const char *path, const char *request, int with, char **text);
/* `ask` for every mount of this kind whose daemon may be asked: the worst status. */
int ctl_each_mount(int (*ask)(const char *path));

int ctl_watch(const char *path, const struct ctl_options *options);
int ctl_trace(const char *path, const struct ctl_options *options);
/* `file` may be "-". */
int ctl_capture(const char *path, const char *file, const struct ctl_options *options);

#endif
