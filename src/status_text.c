/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "status_text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "json_text.h"
#include "trace.h"

static double seconds(uint64_t ns)
{
	return (double)ns / 1e9;
}

static void print_session_id(FILE *out, const uint8_t id[NFS4_SESSIONID_SIZE])
{
	for (unsigned i = 0; i < NFS4_SESSIONID_SIZE; i++)
		fprintf(out, "%02x", id[i]);
}

static void print_server(FILE *out, const struct status_facts *f)
{
	const struct nfs_client_status *c = &f->client;

	if (!f->answers[0]) {
		fprintf(out, "  server       %s\n  state        not known\n", f->server);
		return;
	}
	fprintf(out, "  server       %s, NFSv4.%u", f->server, c->limits.minor);
	if (c->server_impl[0])
		fprintf(out, ", %s", c->server_impl);
	if (c->server_owner[0])
		fprintf(out, " (%s)", c->server_owner);
	fprintf(out, "\n  state        %s", c->state);
	if (!c->alive)
		fputs(", the session is lost", out);
	fprintf(out, "\n  client       %016" PRIx64 " \"%s\"\n  session      ", c->clientid,
		c->owner);
	print_session_id(out, c->sessionid);
	fprintf(out, ", the %" PRIu32 "%s; %" PRIu32 " of %" PRIu32 " slots busy\n", c->sessions,
		c->sessions == 1   ? "st"
		: c->sessions == 2 ? "nd"
		: c->sessions == 3 ? "rd"
				   : "th",
		c->slots_busy, c->slots);
	fprintf(out, "  lease        %" PRIu32 " s, renewed %.1f s ago\n", c->limits.lease_time,
		seconds(c->renewed_ns));
}

static void print_conns(FILE *out, const struct status_facts *f)
{
	for (unsigned i = 0; i < f->nconns; i++) {
		const struct nfs_conn_status *c = &f->conns[i];
		if (!f->answers[i]) {
			fprintf(out, "  connection %u its worker does not answer\n", i);
			continue;
		}
		fprintf(out, "  connection %u %s%s, attempt %" PRIu32 "; RPCs sent %u, waiting %u",
			i, c->state, c->lending ? " (others send for it)" : "", c->serial, c->sent,
			c->waiting);
		if (c->oldest_ns > 0)
			fprintf(out, "; the oldest %.1f s, silence %.1f s", seconds(c->oldest_ns),
				seconds(c->silence_ns));
		fputc('\n', out);
	}
}

static void print_requests(FILE *out, const struct status_facts *f)
{
	const struct status_requests *r = &f->requests;

	fprintf(out, "  requests     %u under way", r->count);
	if (r->count > 0)
		fprintf(out, ", the oldest for %.1f s: %s, inode %" PRIu64 ", pid %d",
			seconds(r->oldest_ns), trace_opcode_name(r->oldest_opcode), r->oldest_ino,
			r->oldest_pid);
	fprintf(out, "; %u of %u buffers in use\n", f->bufs, f->bufs_max);
}

static void print_state(FILE *out, const struct status_facts *f)
{
	const struct nfs_state_status *s = &f->state;

	fprintf(out, "  open files   %u, %u of them under delegations", s->opens, s->local_opens);
	if (s->stale_opens > 0)
		fprintf(out, ", %u to be opened again", s->stale_opens);
	fprintf(out, "\n  locks        %u ranges of %u owners", s->ranges, s->lock_owners);
	if (s->stale_locks > 0)
		fprintf(out, ", %u owners to be locked again", s->stale_locks);
	if (s->lost_locks > 0)
		fprintf(out, ", %u owners have lost some", s->lost_locks);
	fprintf(out, "\n  delegations  %u to read, %u to write, %u of directories\n",
		f->delegations.read, f->delegations.write, f->delegations.dirs);
	fprintf(out, "  uncommitted  %zu bytes\n", f->unstable);
	fprintf(out, "  inodes       %" PRIu64 " known to the kernel\n", f->nodes);
}

static void print_people(FILE *out, const struct status_facts *f)
{
	fprintf(out, "%s on %s\n", f->options->source, f->options->mountpoint);
	print_server(out, f);
	print_conns(out, f);
	print_requests(out, f);
	print_state(out, f);
	fprintf(out,
		"  daemon       vsockfs " VSOCKFS_VERSION
		", pid %d, mounted for %.1f s, requests by %s, "
		"loop on %s, %s, log level %s\n",
		(int)getpid(), seconds(f->age_ns), f->transport, f->loop, f->capture,
		f->debug ? "debug" : "info");
	fprintf(out, "  options      rsize=%" PRIu32 ",wsize=%" PRIu32 ",", f->rsize, f->wsize);
	options_show(f->options, out);
	fputc('\n', out);
}

static void put_member(FILE *out, const char *name, const char *text)
{
	fprintf(out, "\"%s\": ", name);
	json_put_string(out, text);
	fputs(", ", out);
}

static void put_client(FILE *out, const struct status_facts *f)
{
	const struct nfs_client_status *c = &f->client;

	if (!f->answers[0]) {
		fputs("\"client\": null,\n", out);
		return;
	}
	fputs("\"client\": {", out);
	put_member(out, "state", c->state);
	put_member(out, "owner", c->owner);
	put_member(out, "server_owner", c->server_owner);
	put_member(out, "server_implementation", c->server_impl);
	fprintf(out, "\"clientid\": \"%016" PRIx64 "\", \"session\": \"", c->clientid);
	print_session_id(out, c->sessionid);
	fprintf(out,
		"\", \"session_alive\": %s, \"sessions\": %" PRIu32 ", \"slots\": %" PRIu32
		", \"slots_busy\": %" PRIu32 ", \"lease_s\": %" PRIu32 ", \"renewed_ns\": %" PRIu64
		", \"minor_version\": %u},\n",
		c->alive ? "true" : "false", c->sessions, c->slots, c->slots_busy,
		c->limits.lease_time, c->renewed_ns, c->limits.minor);
}

static void put_conns(FILE *out, const struct status_facts *f)
{
	fputs("\"connections\": [", out);
	for (unsigned i = 0; i < f->nconns; i++) {
		const struct nfs_conn_status *c = &f->conns[i];
		fprintf(out,
			"%s{\"answers\": %s, \"state\": \"%s\", \"lent\": %s, \"attempts\": "
			"%" PRIu32 ", \"sent\": %u, \"waiting\": %u, \"oldest_ns\": %" PRIu64
			", \"silence_ns\": %" PRIu64 "}",
			i > 0 ? ", " : "", f->answers[i] ? "true" : "false",
			f->answers[i] ? c->state : "unknown", c->lending ? "true" : "false",
			c->serial, c->sent, c->waiting, c->oldest_ns, c->silence_ns);
	}
	fputs("],\n", out);
}

static void put_state(FILE *out, const struct status_facts *f)
{
	const struct nfs_state_status *s = &f->state;
	const struct status_requests *r = &f->requests;

	fprintf(out,
		"\"opens\": {\"all\": %u, \"local\": %u, \"stale\": %u}, "
		"\"locks\": {\"owners\": %u, \"ranges\": %u, \"stale\": %u, \"lost\": %u},\n",
		s->opens, s->local_opens, s->stale_opens, s->lock_owners, s->ranges, s->stale_locks,
		s->lost_locks);
	fprintf(out,
		"\"delegations\": {\"read\": %u, \"write\": %u, \"directories\": %u}, "
		"\"uncommitted_bytes\": %zu, "
		"\"inodes\": %" PRIu64 ",\n",
		f->delegations.read, f->delegations.write, f->delegations.dirs, f->unstable,
		f->nodes);
	fprintf(out,
		"\"requests\": {\"count\": %u, \"oldest_ns\": %" PRIu64
		", \"oldest_inode\": %" PRIu64 ", \"oldest_pid\": %d, \"oldest\": ",
		r->count, r->oldest_ns, r->oldest_ino, r->oldest_pid);
	json_put_string(out, r->count > 0 ? trace_opcode_name(r->oldest_opcode) : "");
	fprintf(out, "}, \"buffers\": {\"used\": %u, \"limit\": %u},\n", f->bufs, f->bufs_max);
}

static void put_options(FILE *out, const struct options *options)
{
	char *text = NULL;
	size_t len;
	FILE *words = open_memstream(&text, &len);

	if (!words)
		return;
	options_show(options, words);
	if (fclose(words) == 0)
		put_member(out, "options", text);
	free(text);
}

static void print_json(FILE *out, const struct status_facts *f)
{
	fputc('{', out);
	put_member(out, "source", f->options->source);
	put_member(out, "mountpoint", f->options->mountpoint);
	put_member(out, "server", f->server);
	put_member(out, "fuse_transport", f->transport);
	put_member(out, "loop", f->loop);
	put_member(out, "version", VSOCKFS_VERSION);
	fprintf(out, "\"pid\": %d, ", (int)getpid());
	fprintf(out, "\"age_ns\": %" PRIu64 ", \"rsize\": %" PRIu32 ", \"wsize\": %" PRIu32 ",\n",
		f->age_ns, f->rsize, f->wsize);
	put_client(out, f);
	put_conns(out, f);
	put_state(out, f);
	put_options(out, f->options);
	put_member(out, "capture", f->capture);
	fprintf(out, "\"log\": \"%s\"}\n", f->debug ? "debug" : "info");
}

void status_text_print(FILE *out, bool json, const struct status_facts *facts)
{
	if (json)
		print_json(out, facts);
	else
		print_people(out, facts);
}
