/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "nfs41/error.h"

struct trace {
	_Atomic uint64_t threshold;
	pthread_mutex_t mutex;
	/* under the mutex */
	struct trace_entry *kept; /* TRACE_KEPT; NULL until somebody asks */
	uint64_t last;		  /* number given out last */
	uint64_t until;		  /* ns: nobody will have asked for long */
};

int trace_new(struct trace **trace)
{
	struct trace *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->threshold = TRACE_OFF;
	pthread_mutex_init(&t->mutex, NULL);
	*trace = t;
	return 0;
}

void trace_free(struct trace *trace)
{
	if (!trace)
		return;
	free(trace->kept);
	pthread_mutex_destroy(&trace->mutex);
	free(trace);
}

const _Atomic uint64_t *trace_threshold(const struct trace *trace)
{
	return &trace->threshold;
}

void trace_add(struct trace *trace, const struct trace_entry *entry, uint64_t now)
{
	pthread_mutex_lock(&trace->mutex);
	if (now > trace->until || !trace->kept) {
		atomic_store(&trace->threshold, TRACE_OFF);
	} else {
		struct trace_entry *kept = &trace->kept[trace->last % TRACE_KEPT];
		*kept = *entry;
		kept->number = ++trace->last;
	}
	pthread_mutex_unlock(&trace->mutex);
}

/* Under the mutex: what is to be kept from now on. */
static int trace_ask(struct trace *trace, uint64_t slower, uint64_t now)
{
	if (!trace->kept && !(trace->kept = calloc(TRACE_KEPT, sizeof(*trace->kept))))
		return -ENOMEM;
	/* Somebody else may want more. */
	uint64_t before = now > trace->until ? TRACE_OFF : atomic_load(&trace->threshold);
	atomic_store(&trace->threshold, slower < before ? slower : before);
	trace->until = now + TRACE_LEASE;
	return 0;
}

static void print_name(FILE *out, const char *name)
{
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;
		if (c <= 0x20 || c == 0x7f || c == '\\')
			fprintf(out, "\\x%02x", c);
		else
			fputc(c, out);
	}
}

static void print_status(FILE *out, const struct trace_entry *entry)
{
	if (entry->rpc_count == 0)
		fputs("- -", out);
	else if (entry->rpc_status >= 0)
		fprintf(out, "%s %s", nfs_op_name(entry->rpc),
			nfs_error_name((uint32_t)entry->rpc_status));
	else
		fprintf(out, "%s %d", nfs_op_name(entry->rpc), entry->rpc_status);
}

static void print_entry(FILE *out, const struct trace_entry *entry)
{
	fprintf(out,
		"%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu32 " %d %" PRIu64 " %d %s ",
		entry->number, entry->ended, entry->took, entry->rpc_ns, entry->rpc_count,
		(int)entry->pid, entry->ino, -entry->err, trace_opcode_name(entry->opcode));
	print_status(out, entry);
	fputc(' ', out);
	print_name(out, entry->comm);
	fputs(" \"", out);
	print_name(out, entry->name);
	fputc('\n', out);
}

/* Under the mutex. */
static void trace_print_kept(struct trace *trace, uint64_t slower, uint64_t after, FILE *out)
{
	uint64_t first = trace->last > TRACE_KEPT ? trace->last - TRACE_KEPT + 1 : 1;
	uint64_t from = after < trace->last ? after + 1 : trace->last + 1;
	fprintf(out, "%" PRIu64 " %" PRIu64 "\n", trace->last, from < first ? first - from : 0);
	for (uint64_t n = from < first ? first : from; n <= trace->last; n++) {
		const struct trace_entry *entry = &trace->kept[(n - 1) % TRACE_KEPT];
		if (entry->took >= slower)
			print_entry(out, entry);
	}
}

int trace_print(struct trace *trace, uint64_t slower, uint64_t after, uint64_t now, FILE *out)
{
	char *text = NULL;
	size_t len;
	FILE *copy = open_memstream(&text, &len);
	if (!copy)
		return -ENOMEM;
	pthread_mutex_lock(&trace->mutex);
	int err = trace_ask(trace, slower, now);
	if (!err)
		trace_print_kept(trace, slower, after, copy);
	pthread_mutex_unlock(&trace->mutex);
	if (fclose(copy) != 0)
		err = -ENOMEM;
	if (!err)
		fwrite(text, 1, len, out);
	free(text);
	return err;
}

static const char *const opcode_names[] = {
	[FUSE_LOOKUP] = "LOOKUP",
	[FUSE_FORGET] = "FORGET",
	[FUSE_GETATTR] = "GETATTR",
	[FUSE_SETATTR] = "SETATTR",
	[FUSE_READLINK] = "READLINK",
	[FUSE_SYMLINK] = "SYMLINK",
	[FUSE_MKNOD] = "MKNOD",
	[FUSE_MKDIR] = "MKDIR",
	[FUSE_UNLINK] = "UNLINK",
	[FUSE_RMDIR] = "RMDIR",
	[FUSE_RENAME] = "RENAME",
	[FUSE_LINK] = "LINK",
	[FUSE_OPEN] = "OPEN",
	[FUSE_READ] = "READ",
	[FUSE_WRITE] = "WRITE",
	[FUSE_STATFS] = "STATFS",
	[FUSE_RELEASE] = "RELEASE",
	[FUSE_FSYNC] = "FSYNC",
	[FUSE_SETXATTR] = "SETXATTR",
	[FUSE_GETXATTR] = "GETXATTR",
	[FUSE_LISTXATTR] = "LISTXATTR",
	[FUSE_REMOVEXATTR] = "REMOVEXATTR",
	[FUSE_FLUSH] = "FLUSH",
	[FUSE_INIT] = "INIT",
	[FUSE_OPENDIR] = "OPENDIR",
	[FUSE_READDIR] = "READDIR",
	[FUSE_RELEASEDIR] = "RELEASEDIR",
	[FUSE_FSYNCDIR] = "FSYNCDIR",
	[FUSE_GETLK] = "GETLK",
	[FUSE_SETLK] = "SETLK",
	[FUSE_SETLKW] = "SETLKW",
	[FUSE_ACCESS] = "ACCESS",
	[FUSE_CREATE] = "CREATE",
	[FUSE_INTERRUPT] = "INTERRUPT",
	[FUSE_BMAP] = "BMAP",
	[FUSE_DESTROY] = "DESTROY",
	[FUSE_IOCTL] = "IOCTL",
	[FUSE_POLL] = "POLL",
	[FUSE_NOTIFY_REPLY] = "NOTIFY_REPLY",
	[FUSE_BATCH_FORGET] = "BATCH_FORGET",
	[FUSE_FALLOCATE] = "FALLOCATE",
	[FUSE_READDIRPLUS] = "READDIRPLUS",
	[FUSE_RENAME2] = "RENAME",
	[FUSE_LSEEK] = "LSEEK",
	[FUSE_COPY_FILE_RANGE] = "COPY_FILE_RANGE",
	[FUSE_SETUPMAPPING] = "SETUPMAPPING",
	[FUSE_REMOVEMAPPING] = "REMOVEMAPPING",
	[FUSE_SYNCFS] = "SYNCFS",
	[52] = "STATX", /* Linux 6.6 */
};

bool trace_opcode_named(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_LOOKUP:
	case FUSE_SYMLINK:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_RENAME:
	case FUSE_RENAME2:
	case FUSE_LINK:
	case FUSE_CREATE: return true;
	default: return false;
	}
}

const char *trace_opcode_name(uint32_t opcode)
{
	const char *name = NULL;
	if (opcode < sizeof(opcode_names) / sizeof(opcode_names[0]))
		name = opcode_names[opcode];
	return name ? name : "UNKNOWN";
}
