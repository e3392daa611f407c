/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_COMMAND_H
#define VSOCKFS_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "capture.h"
#include "stats_text.h"

/*
 * What vsockfsctl asks of a daemon, one line each:
 *
 *   stats [json | mountstats | lines]
 *   status [json]
 *   trace SLOWER-NS AFTER       requests that took as long, numbered above AFTER
 *   capture start SNAPLEN DATA LIMIT       with a descriptor; 0 or 1 for DATA, bytes
 *   capture stop | capture
 *   options       the -o lists that the daemon was started with, joined by commas
 *   drop
 *   log debug | log info
 *   delegreturn
 */

enum command_verb {
	COMMAND_STATS,
	COMMAND_STATUS,
	COMMAND_TRACE,
	COMMAND_CAPTURE,
	COMMAND_CAPTURE_START,
	COMMAND_CAPTURE_STOP,
	COMMAND_OPTIONS,
	COMMAND_DROP,
	COMMAND_LOG,
	COMMAND_DELEGRETURN,
};

struct command {
	enum command_verb verb;
	enum stats_form form;	/* STATS */
	bool json;		/* STATUS */
	bool debug;		/* LOG */
	uint64_t slower, after; /* TRACE: ns; number of the last request seen */
	struct capture_options capture;
};

/* False: there is no such request. */
bool command_parse(const char *request, struct command *command);

#endif
