/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"

#include "caller.h"
#include "proccred.h"

/* /proc/PID/status and stat. The input is the text. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	gid_t *groups = fuzz_alloc(RPC_CRED_GROUPS_MAX * sizeof(*groups));
	unsigned n = proccred_parse_groups((const char *)data, size, groups);

	fuzz_check(n <= RPC_CRED_GROUPS_MAX);
	/* each group is a digit and what ends it, at least */
	fuzz_check(n == 0 || size >= strlen("Groups:") + 2 * n);
	free(groups);
	int fatal = caller_parse_status((const char *)data, size);
	fuzz_check(fatal >= -1 && fatal <= 1);
	caller_parse_stat((const char *)data, size);
	return 0;
}
