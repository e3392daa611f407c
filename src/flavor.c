/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flavor.h"

#include "share.h"
#include "util/log.h"

bool flavor_is_usable(const struct options *options, enum rpc_sec sec)
{
	return (options->secs.count == 0 || rpc_sec_list_has(&options->secs, sec)) &&
	       (!rpc_sec_is_gss(sec) || options->gss_fd >= 0);
}

const struct options *flavor_next(const struct share *share)
{
	static struct options next;
	const struct options *options = share->options;
	struct options o = *options;
	if (share->secs.count > 0)
		o.sec_list = share->secs;
	/* With each directory that was reached all of them are new. */
	if (share->sec_names > 0)
		o.tried_secs = (struct rpc_sec_list){0};
	if (share->sec_fh.len > 0) {
		o.sec_fh = share->sec_fh;
		o.sec_path = share->sec_path;
	}
	rpc_sec_list_add(&o.tried_secs, o.sec);
	const struct rpc_sec_list *list = o.secs.count == 0 ? &o.sec_list : &o.secs;
	for (unsigned i = 0; i < list->count; i++) {
		enum rpc_sec sec = list->secs[i];
		if (rpc_sec_list_has(&o.tried_secs, sec) || !flavor_is_usable(options, sec) ||
			(o.sec_list.count > 0 && !rpc_sec_list_has(&o.sec_list, sec)))
			continue;
		o.sec = sec;
		log_debug("%s: now with sec=%s", options->source, rpc_sec_name(sec));
		next = o;
		return &next;
	}
	return NULL;
}
