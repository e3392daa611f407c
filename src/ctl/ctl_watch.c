/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ctl.h"

/* Rates between two looks at the counters, as nfsiostat(8) shows them. */

#define OPS_MAX 128

struct watch_op {
	char name[32];
	uint64_t rpcs, replies, retransmissions, errors;
	uint64_t bytes_out, bytes_in;
	uint64_t queue_ns, rtt_ns, total_ns;
};

struct watch_sample {
	uint64_t age_ns;
	struct watch_op ops[OPS_MAX];
	unsigned count;
};

static void take_line(const char *line, struct watch_sample *sample)
{
	struct watch_op op;

	if (sscanf(line, "age %" SCNu64, &sample->age_ns) == 1 || sample->count == OPS_MAX)
		return;
	if (sscanf(line,
		    "%31s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
		    " %" SCNu64 " %" SCNu64 " %" SCNu64,
		    op.name, &op.rpcs, &op.replies, &op.retransmissions, &op.errors, &op.bytes_out,
		    &op.bytes_in, &op.queue_ns, &op.rtt_ns, &op.total_ns) == 10)
		sample->ops[sample->count++] = op;
}

static int take_sample(const char *path, struct watch_sample *sample)
{
	char *text, *rest;
	int status = ctl_ask_text(path, "stats lines", -1, &text);

	if (status != 0)
		return status;
	*sample = (struct watch_sample){0};
	rest = text;
	for (char *line; (line = strsep(&rest, "\n"));)
		take_line(line, sample);
	free(text);
	return 0;
}

/* What has come to `op` since `before`. */
static struct watch_op since(const struct watch_sample *before, struct watch_op op)
{
	for (unsigned i = 0; i < before->count; i++) {
		const struct watch_op *was = &before->ops[i];
		if (strcmp(was->name, op.name) != 0)
			continue;
		op.rpcs -= was->rpcs;
		op.replies -= was->replies;
		op.retransmissions -= was->retransmissions;
		op.errors -= was->errors;
		op.bytes_out -= was->bytes_out;
		op.bytes_in -= was->bytes_in;
		op.queue_ns -= was->queue_ns;
		op.rtt_ns -= was->rtt_ns;
		op.total_ns -= was->total_ns;
	}
	return op;
}

static double per(double what, uint64_t count)
{
	return count ? what / (double)count : 0;
}

static void print_row(const struct watch_op *op, double seconds)
{
	double kib = (double)(op->bytes_out + op->bytes_in) / 1024;

	printf("%-20s %9.1f %10.1f %8.1f %7" PRIu64 " %7" PRIu64 " %9.3f %9.3f %9.3f\n", op->name,
		(double)op->rpcs / seconds, kib / seconds, per(kib, op->replies),
		op->retransmissions, op->errors, per((double)op->queue_ns / 1e6, op->replies),
		per((double)op->rtt_ns / 1e6, op->replies),
		per((double)op->total_ns / 1e6, op->replies));
}

static void add(struct watch_op *sum, const struct watch_op *op)
{
	sum->rpcs += op->rpcs;
	sum->replies += op->replies;
	sum->retransmissions += op->retransmissions;
	sum->errors += op->errors;
	sum->bytes_out += op->bytes_out;
	sum->bytes_in += op->bytes_in;
	sum->queue_ns += op->queue_ns;
	sum->rtt_ns += op->rtt_ns;
	sum->total_ns += op->total_ns;
}

static void print_interval(
	const char *path, const struct watch_sample *before, const struct watch_sample *now)
{
	/* A daemon that took over begins to count anew. */
	static const struct watch_sample none;
	const struct watch_sample *from = now->age_ns > before->age_ns ? before : &none;
	double seconds = (double)(now->age_ns - from->age_ns) / 1e9;
	struct watch_op sum = {.name = "total"};
	char clock[16];
	time_t at = time(NULL);
	struct tm tm;

	strftime(clock, sizeof(clock), "%H:%M:%S", localtime_r(&at, &tm));
	printf("%s %s, %.1f s\n", clock, path, seconds);
	printf("%-20s %9s %10s %8s %7s %7s %9s %9s %9s\n", "OPERATION", "RPCs/s", "KiB/s",
		"KiB/RPC", "retrans", "errors", "queue ms", "rtt ms", "total ms");
	for (unsigned i = 0; i < now->count; i++) {
		struct watch_op op = since(from, now->ops[i]);
		if (op.rpcs == 0 && op.replies == 0)
			continue;
		print_row(&op, seconds);
		add(&sum, &op);
	}
	print_row(&sum, seconds);
	putchar('\n');
}

int ctl_watch(const char *path, const struct ctl_options *options)
{
	static struct watch_sample samples[2];
	const struct timespec pause = {.tv_sec = (time_t)options->interval_s,
		.tv_nsec =
			(long)((options->interval_s - (double)(time_t)options->interval_s) * 1e9)};
	int status = take_sample(path, &samples[0]);

	for (unsigned long i = 0; status == 0 && (options->count == 0 || i < options->count); i++) {
		nanosleep(&pause, NULL);
		status = take_sample(path, &samples[(i + 1) % 2]);
		if (status != 0)
			break;
		print_interval(path, &samples[i % 2], &samples[(i + 1) % 2]);
		status = ctl_flush();
	}
	return status;
}
