/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "command.h"
#include "drop.h"
#include "guard.h"
#include "look.h"
#include "recall.h"
#include "share.h"
#include "status_text.h"
#include "trace.h"
#include "util/log.h"

/* What vsockfsctl is told, on the control thread. */

/* Below the time that vsockfsctl waits; and how long none is taken, since the guest may be about to
 * stop. */
#define ANSWER_RETURN_NS UINT64_C(5000000000)
#define ANSWER_PAUSE_NS	 UINT64_C(10000000000)
/* For workers that are not well. */
#define ANSWER_LOOK_NS UINT64_C(3000000000)

static const char *answer_loop(const struct share *share)
{
	return loop_backend(share->workers[0]->loop) == LOOP_URING ? "io_uring" : "poll";
}

static const char *answer_transport(const struct share *share)
{
	return share_rings(share) ? "io_uring" : "/dev/fuse";
}

static void answer_stats(struct share *share, enum stats_form form, FILE *out)
{
	const struct options *o = share->options;
	const struct nfs_stats *stats[WORKER_MAX];
	char uaddr[ADDRESS_UADDR_MAX];
	struct address server;
	nfs_client_address(share->client, &server);
	for (unsigned i = 0; i < share->nworkers; i++)
		stats[i] = nfs_conn_stats(share->workers[i]->conn);
	struct stats_facts facts = {
		.source = o->source,
		.mountpoint = o->mountpoint,
		.netid = address_netid(&server),
		.uaddr = address_uaddr(&server, uaddr, sizeof(uaddr)),
		.fuse_transport = answer_transport(share),
		.loop = answer_loop(share),
		.read_only = o->read_only,
		.soft = o->soft,
		.sec = o->sec,
		.minor = nfs_client_limits(share->client)->minor,
		.rsize = share->rsize,
		.wsize = share->wsize,
		.age_ns = loop_clock() - share->mounted_at,
	};
	for (unsigned i = 0; i < share->nworkers; i++) {
		const struct spin_stats *spun = &share->workers[i]->spun;
		facts.polls += spun->spins;
		facts.polls_found += spun->found;
		facts.polls_ns += spun->ns;
	}
	preopen_get_stats(share->preopen, &facts.ahead);
	deleg_get_stats(share->state, &facts.delegations);
	stats_text_print(out, form, &facts, stats, share->nworkers);
}

static void answer_capture_line(struct share *share, char *line, size_t size)
{
	FILE *out = fmemopen(line, size, "w");
	line[0] = '\0';
	if (!out)
		return;
	capture_print(share->capture, out);
	fclose(out);
	line[size - 1] = '\0';
	line[strcspn(line, "\n")] = '\0';
}

static bool answer_status(struct share *share, bool json, FILE *out)
{
	const struct options *o = share->options;
	char server[ADDRESS_HOST_MAX + 64];
	struct address address;
	int err;
	nfs_client_address(share->client, &address);
	struct status_facts facts = {
		.options = o,
		.server = address_describe(&address, server, sizeof(server)),
		.transport = answer_transport(share),
		.loop = answer_loop(share),
		.age_ns = loop_clock() - share->mounted_at,
		.rsize = share->rsize,
		.wsize = share->wsize,
		.nconns = share->nworkers,
		.nodes = node_table_count(share->nodes),
		.unstable = unstable_bytes(share->unstable),
		.bufs = buf_pool_used(share->bufs),
		.bufs_max = SHARE_BUFS,
		.debug = log_debug_enabled(),
	};
	err = look_at_workers(share, ANSWER_LOOK_NS, &facts);
	if (err) {
		fprintf(out, "%s\n", strerror(-err));
		return false;
	}
	nfs_state_status(share->state, &facts.state);
	deleg_get_stats(share->state, &facts.delegations);
	answer_capture_line(share, facts.capture, sizeof(facts.capture));
	status_text_print(out, json, &facts);
	return true;
}

static bool answer_trace(struct share *share, const struct command *command, FILE *out)
{
	int err = trace_print(share->trace, command->slower, command->after, loop_clock(), out);
	if (err)
		fprintf(out, "%s\n", strerror(-err));
	return err == 0;
}

static bool answer_capture_start(
	struct share *share, const struct command *command, int *fd, FILE *out)
{
	const struct guard_mount_id *id = guard_id(share->guard);
	char server[ADDRESS_HOST_MAX + 64], why[128];
	struct address address;
	nfs_client_address(share->client, &address);
	const struct capture_facts facts = {
		.source = share->options->source,
		.server = address_describe(&address, server, sizeof(server)),
		.workers = share->nworkers,
		.major = id->major,
		.minor = id->minor,
	};
	if (*fd < 0) {
		fputs("no file came with the request\n", out);
		return false;
	}
	int err = capture_start(share->capture, *fd, &command->capture, &facts, why, sizeof(why));
	*fd = -1;
	if (err)
		fprintf(out, "%s\n", why);
	return err == 0;
}

static bool answer_capture_stop(struct share *share, FILE *out)
{
	bool stopped = capture_stop(share->capture) == 0;
	if (stopped)
		capture_print(share->capture, out);
	else
		fputs("no capture is under way\n", out);
	return stopped;
}

static bool answer_drop(struct share *share, FILE *out)
{
	char *text = NULL;
	size_t len;
	FILE *said = open_memstream(&text, &len);
	int err = said ? drop_caches(share, said) : -ENOMEM;
	if (said && fclose(said) != 0)
		err = -ENOMEM;
	if (err == -ETIMEDOUT)
		fputs("not all is dropped yet: data in use waits for the server\n", out);
	else if (err)
		fprintf(out, "%s\n", strerror(-err));
	else
		fputs(text, out);
	free(text);
	return err == 0;
}

static void answer_delegreturn(struct share *share, FILE *out)
{
	unsigned left = recall_return_all(share, ANSWER_RETURN_NS, ANSWER_PAUSE_NS);
	if (left > 0)
		fprintf(out, "%u delegations are not returned yet\n", left);
}

bool share_answer(void *arg, const char *request, int *fd, FILE *out)
{
	struct share *share = arg;
	struct command command;
	if (!command_parse(request, &command)) {
		fputs("unknown request\n", out);
		return false;
	}
	switch (command.verb) {
	case COMMAND_STATS: answer_stats(share, command.form, out); break;
	case COMMAND_STATUS: return answer_status(share, command.json, out);
	case COMMAND_TRACE: return answer_trace(share, &command, out);
	case COMMAND_CAPTURE: capture_print(share->capture, out); break;
	case COMMAND_CAPTURE_START: return answer_capture_start(share, &command, fd, out);
	case COMMAND_CAPTURE_STOP: return answer_capture_stop(share, out);
	case COMMAND_OPTIONS: fputs(share->options->words, out); break;
	case COMMAND_DROP: return answer_drop(share, out);
	case COMMAND_LOG: log_set_debug(command.debug); break;
	case COMMAND_DELEGRETURN: answer_delegreturn(share, out); break;
	}
	return true;
}
