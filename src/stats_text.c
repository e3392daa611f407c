/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stats_text.h"

#include <inttypes.h>
#include <string.h>

#include "json_text.h"
#include "nfs41/error.h"

struct op_sum {
	uint64_t calls, replies, retransmits, timeouts, errors;
	uint64_t bytes_out, bytes_in;
	uint64_t queue_ns, rtt_ns, total_ns, max_ns;
};

struct sum {
	struct op_sum op[NFS_OP_LIMIT], all;
	uint64_t connects, callbacks, slot_waits, copied;
	unsigned workers;
};

static uint64_t load(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void add_op(struct op_sum *to, const struct op_sum *from)
{
	to->calls += from->calls;
	to->replies += from->replies;
	to->retransmits += from->retransmits;
	to->timeouts += from->timeouts;
	to->errors += from->errors;
	to->bytes_out += from->bytes_out;
	to->bytes_in += from->bytes_in;
	to->queue_ns += from->queue_ns;
	to->rtt_ns += from->rtt_ns;
	to->total_ns += from->total_ns;
	if (from->max_ns > to->max_ns)
		to->max_ns = from->max_ns;
}

static struct op_sum load_op(const struct nfs_op_stats *op)
{
	return (struct op_sum){
		.calls = load(&op->calls),
		.replies = load(&op->replies),
		.retransmits = load(&op->retransmits),
		.timeouts = load(&op->timeouts),
		.errors = load(&op->errors),
		.bytes_out = load(&op->bytes_out),
		.bytes_in = load(&op->bytes_in),
		.queue_ns = load(&op->queue_ns),
		.rtt_ns = load(&op->rtt_ns),
		.total_ns = load(&op->total_ns),
		.max_ns = load(&op->max_ns),
	};
}

static void sum_up(struct sum *sum, const struct nfs_stats *const *stats, unsigned workers)
{
	memset(sum, 0, sizeof(*sum));
	sum->workers = workers;
	for (unsigned w = 0; w < workers; w++) {
		for (unsigned i = 0; i < NFS_OP_LIMIT; i++) {
			struct op_sum op = load_op(&stats[w]->op[i]);
			add_op(&sum->op[i], &op);
			add_op(&sum->all, &op);
		}
		sum->connects += load(&stats[w]->connects);
		sum->callbacks += load(&stats[w]->callbacks);
		sum->slot_waits += load(&stats[w]->slot_waits);
		sum->copied += load(&stats[w]->copied);
	}
}

/* Connections that were made again: each worker's first one is none of them. */
static uint64_t reconnects(const struct sum *sum)
{
	return sum->connects > sum->workers ? sum->connects - sum->workers : 0;
}

/* Under 0 there are the calls that ask whether the server is there. */
static const char *op_label(unsigned i)
{
	return i == 0 ? "NULL" : nfs_op_name(i);
}

static bool op_used(const struct op_sum *op)
{
	return op->calls || op->replies || op->timeouts || op->total_ns;
}

static double average_ms(uint64_t ns, uint64_t count)
{
	return count ? (double)ns / (double)count / 1e6 : 0;
}

static void print_table_row(FILE *out, const char *name, const struct op_sum *op)
{
	fprintf(out,
		"%-20s %9" PRIu64 " %9" PRIu64 " %7" PRIu64 " %8" PRIu64 " %7" PRIu64 " %13" PRIu64
		" %13" PRIu64 " %9.3f %9.3f %9.3f %9.3f\n",
		name, op->calls, op->replies, op->retransmits, op->timeouts, op->errors,
		op->bytes_out, op->bytes_in, average_ms(op->queue_ns, op->calls),
		average_ms(op->rtt_ns, op->replies), average_ms(op->total_ns, op->replies),
		average_ms(op->max_ns, 1));
}

static void print_table_delegations(FILE *out, const struct deleg_stats *d)
{
	fprintf(out,
		"  delegations %u to read, %u to write, %u of directories; granted %" PRIu64
		", recalled %" PRIu64 ", returned %" PRIu64 ", lost %" PRIu64
		"; opens without the server %" PRIu64 "\n\n",
		d->read, d->write, d->dirs, d->granted, d->recalled, d->returned, d->lost,
		d->opens);
}

static void print_table(FILE *out, const struct stats_facts *facts, const struct sum *sum)
{
	fprintf(out, "%s on %s\n", facts->source, facts->mountpoint);
	fprintf(out,
		"  NFSv4.%u over %s, address %s, rsize %" PRIu32 ", wsize %" PRIu32 ", %s, %s\n",
		facts->minor, facts->netid, facts->uaddr, facts->rsize, facts->wsize,
		facts->read_only ? "ro" : "rw", facts->soft ? "soft" : "hard");
	fprintf(out, "  mounted for %.1f s, %u worker%s, FUSE requests through %s, loop on %s\n",
		(double)facts->age_ns / 1e9, sum->workers, sum->workers == 1 ? "" : "s",
		facts->fuse_transport, facts->loop);
	fprintf(out,
		"  connects %" PRIu64 ", reconnects %" PRIu64 ", waits for a slot %" PRIu64
		", callbacks %" PRIu64 ", bytes copied %" PRIu64 "\n",
		sum->connects, reconnects(sum), sum->slot_waits, sum->callbacks, sum->copied);
	fprintf(out, "  busy polls %" PRIu64 ", %" PRIu64 " found something; %.3f s\n",
		facts->polls, facts->polls_found, (double)facts->polls_ns / 1e9);
	fprintf(out,
		"  files opened ahead %" PRIu64 ", used %" PRIu64 ", dropped unused %" PRIu64 "\n",
		facts->ahead.files, facts->ahead.used, facts->ahead.dropped);
	print_table_delegations(out, &facts->delegations);
	fprintf(out, "%-20s %9s %9s %7s %8s %7s %13s %13s %9s %9s %9s %9s\n", "", "", "", "", "",
		"", "bytes", "bytes", "queue", "rtt", "total", "longest");
	fprintf(out, "%-20s %9s %9s %7s %8s %7s %13s %13s %9s %9s %9s %9s\n", "OPERATION", "RPCs",
		"replies", "retrans", "timeouts", "errors", "out", "in", "ms", "ms", "ms", "ms");
	for (unsigned i = 0; i < NFS_OP_LIMIT; i++)
		if (op_used(&sum->op[i]))
			print_table_row(out, op_label(i), &sum->op[i]);
	print_table_row(out, "total", &sum->all);
}

static void print_json_member(FILE *out, const char *name, const char *text)
{
	fprintf(out, "\"%s\": ", name);
	json_put_string(out, text);
	fputs(", ", out);
}

static void print_json_op(FILE *out, const struct op_sum *op)
{
	fprintf(out,
		"{\"rpcs\": %" PRIu64 ", \"replies\": %" PRIu64 ", \"retransmissions\": %" PRIu64
		", \"timeouts\": %" PRIu64 ", \"errors\": %" PRIu64 ", \"bytes_out\": %" PRIu64
		", \"bytes_in\": %" PRIu64 ", \"queue_ns\": %" PRIu64 ", \"rtt_ns\": %" PRIu64
		", \"total_ns\": %" PRIu64 ", \"max_ns\": %" PRIu64 "}",
		op->calls, op->replies, op->retransmits, op->timeouts, op->errors, op->bytes_out,
		op->bytes_in, op->queue_ns, op->rtt_ns, op->total_ns, op->max_ns);
}

static void print_json_delegations(FILE *out, const struct deleg_stats *d)
{
	fprintf(out,
		"\"delegations\": {\"read\": %u, \"write\": %u, \"directories\": %u, \"granted\": "
		"%" PRIu64 ", \"recalled\": %" PRIu64 ", \"returned\": %" PRIu64
		", \"lost\": %" PRIu64 ", \"opens\": %" PRIu64 "},\n",
		d->read, d->write, d->dirs, d->granted, d->recalled, d->returned, d->lost,
		d->opens);
}

static void print_json(FILE *out, const struct stats_facts *facts, const struct sum *sum)
{
	const char *separator = "";

	fputc('{', out);
	print_json_member(out, "source", facts->source);
	print_json_member(out, "mountpoint", facts->mountpoint);
	print_json_member(out, "netid", facts->netid);
	print_json_member(out, "address", facts->uaddr);
	print_json_member(out, "fuse_transport", facts->fuse_transport);
	print_json_member(out, "loop", facts->loop);
	fprintf(out,
		"\"minor_version\": %u, \"rsize\": %" PRIu32 ", \"wsize\": %" PRIu32
		", \"read_only\": %s, \"soft\": %s, \"age_ns\": %" PRIu64 ", \"workers\": %u, ",
		facts->minor, facts->rsize, facts->wsize, facts->read_only ? "true" : "false",
		facts->soft ? "true" : "false", facts->age_ns, sum->workers);
	fprintf(out,
		"\"connects\": %" PRIu64 ", \"reconnects\": %" PRIu64 ", \"slot_waits\": %" PRIu64
		", \"callbacks\": %" PRIu64 ", \"copied\": %" PRIu64 ",\n",
		sum->connects, reconnects(sum), sum->slot_waits, sum->callbacks, sum->copied);
	fprintf(out,
		"\"busy_polls\": %" PRIu64 ", \"busy_polls_found\": %" PRIu64
		", \"busy_poll_ns\": %" PRIu64 ",\n",
		facts->polls, facts->polls_found, facts->polls_ns);
	fprintf(out,
		"\"opened_ahead\": {\"files\": %" PRIu64 ", \"used\": %" PRIu64
		", \"dropped\": %" PRIu64 "},\n",
		facts->ahead.files, facts->ahead.used, facts->ahead.dropped);
	print_json_delegations(out, &facts->delegations);
	fputs("\"operations\": {", out);
	for (unsigned i = 0; i < NFS_OP_LIMIT; i++) {
		if (!op_used(&sum->op[i]))
			continue;
		fprintf(out, "%s\n\"%s\": ", separator, op_label(i));
		print_json_op(out, &sum->op[i]);
		separator = ",";
	}
	fputs("},\n\"total\": ", out);
	print_json_op(out, &sum->all);
	fputs("}\n", out);
}

/* Blanks and the like as \ooo, as the kernel writes names into /proc/self/mountstats. */
static void print_octal(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (strchr(" \t\n\\", *text))
			fprintf(out, "\\%03o", (unsigned char)*text);
		else
			fputc(*text, out);
	}
}

static void print_mountstats_head(FILE *out, const struct stats_facts *facts)
{
	fputs("device ", out);
	print_octal(out, facts->source);
	fputs(" mounted on ", out);
	print_octal(out, facts->mountpoint);
	fputs(" with fstype nfs4 statvers=1.1\n", out);
	fprintf(out,
		"\topts:\t%s,vers=4.%u,rsize=%" PRIu32 ",wsize=%" PRIu32 ",%s,proto=%s,sec=%s\n",
		facts->read_only ? "ro" : "rw", facts->minor, facts->rsize, facts->wsize,
		facts->soft ? "soft" : "hard", facts->netid, rpc_sec_name(facts->sec));
	fprintf(out, "\tage:\t%" PRIu64 "\n", facts->age_ns / 1000000000);
	fputs("\tcaps:\tcaps=0x0,wtmult=512,dtsize=0,bsize=0,namlen=255\n", out);
	fprintf(out, "\tsec:\tflavor=%u,pseudoflavor=%u\n",
		rpc_sec_is_gss(facts->sec) ? 6 : rpc_sec_flavor(facts->sec),
		rpc_sec_flavor(facts->sec));
}

/*
 * The counters of the VFS (events, bytes) are the kernel client's alone and are 0 here. The
 * transport is called tcp since mountstats(8) knows the fields of no other stream; opts has the
 * true one.
 */
static void print_mountstats(FILE *out, const struct stats_facts *facts, const struct sum *sum)
{
	print_mountstats_head(out, facts);
	fputs("\tevents:\t", out);
	for (unsigned i = 0; i < 27; i++)
		fputs("0 ", out);
	fputs("\n\tbytes:\t", out);
	for (unsigned i = 0; i < 8; i++)
		fputs("0 ", out);
	fputs("\n\tRPC iostats version: 1.1  p/v: 100003/4 (nfs)\n", out);
	fprintf(out,
		"\txprt:\ttcp 0 0 %" PRIu64 " 0 0 %" PRIu64 " %" PRIu64 " 0 0 %" PRIu64 " 0 0 0\n",
		sum->connects, sum->all.calls, sum->all.replies, sum->slot_waits);
	fputs("\tper-op statistics\n", out);
	for (unsigned i = 0; i < NFS_OP_LIMIT; i++) {
		const struct op_sum *op = &sum->op[i];
		if (!op_used(op))
			continue;
		/* Here "ops" are the requests, and each retransmission is one more "trans". */
		uint64_t ops =
			op->calls - (op->retransmits < op->calls ? op->retransmits : op->calls);
		fprintf(out,
			"\t%12s: %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
			" %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
			op_label(i), ops, op->calls, op->timeouts, op->bytes_out, op->bytes_in,
			op->queue_ns / 1000000, op->rtt_ns / 1000000, op->total_ns / 1000000,
			op->errors);
	}
	fputc('\n', out);
}

/* For vsockfsctl watch, which makes rates of two of them. */
static void print_lines(FILE *out, const struct stats_facts *facts, const struct sum *sum)
{
	fprintf(out, "age %" PRIu64 "\n", facts->age_ns);
	for (unsigned i = 0; i < NFS_OP_LIMIT; i++) {
		const struct op_sum *op = &sum->op[i];
		if (op_used(op))
			fprintf(out,
				"%s %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
				" %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n",
				op_label(i), op->calls, op->replies, op->retransmits, op->errors,
				op->bytes_out, op->bytes_in, op->queue_ns, op->rtt_ns,
				op->total_ns);
	}
}

void stats_text_print(FILE *out, enum stats_form form, const struct stats_facts *facts,
	const struct nfs_stats *const *stats, unsigned workers)
{
	struct sum sum;

	sum_up(&sum, stats, workers);
	switch (form) {
	case STATS_TABLE: print_table(out, facts, &sum); break;
	case STATS_JSON: print_json(out, facts, &sum); break;
	case STATS_MOUNTSTATS: print_mountstats(out, facts, &sum); break;
	case STATS_LINES: print_lines(out, facts, &sum); break;
	}
}
