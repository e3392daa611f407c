/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "remount.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>

#include "util/log.h"

/* Exit statuses of mount(8) */
#define STATUS_PERMISSION 1
#define STATUS_FAILURE	  32

int remount_run(const struct options *options)
{
	if (options->fake || mount(options->source, options->mountpoint, NULL,
				     MS_REMOUNT | options->remount_flags, NULL) == 0)
		return 0;
	int err = errno;
	log_error("%s: cannot be remounted: %s", options->mountpoint,
		err == EBUSY ? "busy: files are open for writing" : strerror(err));
	return err == EPERM ? STATUS_PERMISSION : STATUS_FAILURE;
}
