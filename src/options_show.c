/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

static const char *show_io(enum loop_backend io)
{
	return io == LOOP_URING ? "uring" : io == LOOP_POLL ? "poll" : "auto";
}

static const char *show_ring(enum options_ring ring)
{
	return ring == OPTIONS_RING_AUTO ? "auto" : ring == OPTIONS_RING_ON ? "on" : "off";
}

static const char *show_cache(const struct options *o)
{
	return o->cache == OPTIONS_CACHE_NONE	? "none"
	       : o->cache == OPTIONS_CACHE_AUTO ? "auto"
						: "always";
}

static const char *show_lookupcache(const struct options *o)
{
	return o->lookupcache == OPTIONS_LOOKUPCACHE_ALL	? "all"
	       : o->lookupcache == OPTIONS_LOOKUPCACHE_POSITIVE ? "positive"
								: "none";
}

static const char *show_delegations(const struct options *o)
{
	return o->delegations == DELEG_NONE   ? "none"
	       : o->delegations == DELEG_READ ? "read"
					      : "all";
}

static void show_transport(const struct options *o, FILE *out)
{
	if (o->minor >= 0)
		fprintf(out, ",vers=4.%d", o->minor);
	fprintf(out, ",%s,timeo=%u,retrans=%u",
		!o->soft     ? "hard"
		: o->softerr ? "softerr"
			     : "soft",
		o->timeo_ds, o->retrans);
	if (o->nconnect > 0)
		fprintf(out, ",nconnect=%u", o->nconnect);
	fprintf(out, ",sec=%s,%s,io=%s,fuse_uring=%s,buffer=%u,max_readahead=%u,busy_poll=%u",
		rpc_sec_name(o->sec), o->reserved_port ? "resvport" : "noresvport", show_io(o->io),
		show_ring(o->fuse_ring), o->socket_buffer, o->max_readahead, o->busy_poll_us);
	if (o->gsshost)
		fprintf(out, ",gsshost=%s", o->gsshost);
	if (o->clientaddr)
		fprintf(out, ",clientaddr=%s", o->clientaddr);
	if (o->xprtsec == OPTIONS_XPRTSEC_NONE)
		return;
	fprintf(out, ",xprtsec=%s,tls_name=%s,tls_ca=%s", o->tls_cert ? "mtls" : "tls", o->tls_name,
		o->tls_ca);
	if (o->tls_cert)
		fprintf(out, ",tls_cert=%s,tls_key=%s", o->tls_cert, o->tls_key);
}

static void show_caching(const struct options *o, FILE *out)
{
	fprintf(out, ",cache=%s,lookupcache=%s,%s", show_cache(o), show_lookupcache(o),
		o->noac ? "noac" : "ac");
	fprintf(out, ",acregmin=%g,acregmax=%g,acdirmin=%g,acdirmax=%g", o->acregmin, o->acregmax,
		o->acdirmin, o->acdirmax);
	fprintf(out, ",%s,%s,%s,delegations=%s", o->writeback ? "writeback" : "nowriteback",
		o->nolock ? "nolock" : "lock", o->cto ? "cto" : "nocto", show_delegations(o));
}

void options_show(const struct options *options, FILE *out)
{
	const struct options *o = options;

	fputs(o->read_only ? "ro" : "rw", out);
	show_transport(o, out);
	show_caching(o, out);
	fprintf(out, ",%s,%s", o->xattr ? "xattr" : "noxattr", o->acl ? "acl" : "noacl");
	fprintf(out, ",access=%s", o->access_server ? "server" : "client");
	if (o->allow_other || o->allow_root)
		fputs(o->allow_other ? ",allow_other" : ",allow_root", out);
	fputs(o->auto_unmount ? ",auto_unmount" : "", out);
	fprintf(out, o->referrals ? ",referrals,referral_idle=%u" : ",noreferrals",
		o->referral_idle_s);
	fputs(o->takeover ? ",takeover" : "", out);
	fprintf(out, ",sandbox=%s", o->sandbox ? "yes" : "no");
}
