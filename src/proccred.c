/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proccred.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "nfs41/idmap_rules.h"
#include "util/log.h"

/* Both tables: an entry lives in one of the WAYS places of its set, the oldest gives way. */
#define SETS 64
#define WAYS 4
/* "Groups:" and RPC_CRED_GROUPS_MAX numbers end well within this; a name of 64 escaped bytes is
 * all that stands before them of a process's own choice. */
#define STATUS_MAX 4096

struct identity {
	uid_t uid;
	gid_t gid;
	unsigned ngroups;
	gid_t groups[RPC_CRED_GROUPS_MAX];
};

struct shared {
	struct identity identity;
	struct rpc_cred *cred; /* NULL: place is free */
};

struct cached {
	pid_t pid;
	uid_t uid;
	gid_t gid;
	uint64_t until; /* ms, CLOCK_MONOTONIC_COARSE */
	struct rpc_cred *cred;
};

struct proccred {
	int proc_fd; /* -1: no /proc */
	enum rpc_sec sec;
	struct rpc_cred *fixed; /* the one credential of sec=none, else NULL */
	char machine[RPC_CRED_MACHINE_MAX + 1];
	pthread_mutex_t lock; /* what follows; never held over a system call */
	unsigned shared_next, cached_next;
	struct shared shared[SETS][WAYS];
	struct cached cached[SETS][WAYS];
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int open_proc(void)
{
	int fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;

	if (fd >= 0 && (fstatfs(fd, &fs) < 0 || fs.f_type != PROC_SUPER_MAGIC)) {
		close(fd);
		fd = -1;
	}
	if (fd < 0)
		log_warn("/proc is not mounted: supplementary groups are not sent to the server, "
			 "and "
			 "programs that wait for it end late when they are killed");
	return fd;
}

int proccred_new(enum rpc_sec sec, struct proccred **out)
{
	struct proccred *table = calloc(1, sizeof(*table));
	int err;

	if (!table)
		return -ENOMEM;
	table->proc_fd = -1;
	table->sec = sec;
	if (sec == RPC_SEC_NONE) {
		err = rpc_cred_new_none(&table->fixed);
		if (err) {
			free(table);
			return err;
		}
	} else if (gethostname(table->machine, sizeof(table->machine) - 1) < 0) {
		table->machine[0] = '\0';
	}
	table->proc_fd = open_proc();
	pthread_mutex_init(&table->lock, NULL);
	*out = table;
	return 0;
}

void proccred_free(struct proccred *table)
{
	if (!table)
		return;
	for (unsigned i = 0; i < SETS * WAYS; i++) {
		rpc_cred_unref(table->shared[i / WAYS][i % WAYS].cred);
		rpc_cred_unref(table->cached[i / WAYS][i % WAYS].cred);
	}
	rpc_cred_unref(table->fixed);
	if (table->proc_fd >= 0)
		close(table->proc_fd);
	pthread_mutex_destroy(&table->lock);
	free(table);
}

int proccred_proc_fd(const struct proccred *table)
{
	return table->proc_fd;
}

/* The rest of the line that starts with "Groups:", or NULL. */
static const char *find_groups(const char *text, const char *end)
{
	static const char key[] = "Groups:";
	const size_t key_len = sizeof(key) - 1;

	for (const char *line = text; line && line < end;) {
		if ((size_t)(end - line) >= key_len && memcmp(line, key, key_len) == 0)
			return line + key_len;
		line = memchr(line, '\n', (size_t)(end - line));
		if (line)
			line++;
	}
	return NULL;
}

unsigned proccred_parse_groups(const char *text, size_t len, gid_t *groups)
{
	const char *end = text + len;
	const char *p = find_groups(text, end);
	unsigned n = 0;

	while (p && n < RPC_CRED_GROUPS_MAX) {
		uint64_t value = 0;

		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
		if (p == end || *p < '0' || *p > '9')
			break;
		for (; p < end && *p >= '0' && *p <= '9'; p++) {
			value = value * 10 + (uint64_t)(*p - '0');
			if (value > UINT32_MAX)
				return n;
		}
		if (p == end)
			break;
		groups[n++] = (gid_t)value;
	}
	return n;
}

/* Fills in the groups of `pid`. False when this says nothing about the process (no descriptors
 * left, no memory) and must not be remembered. */
static bool read_groups(const struct proccred *table, pid_t pid, struct identity *identity)
{
	char name[32], text[STATUS_MAX];
	size_t len = 0;
	ssize_t n;

	if (pid <= 0 || table->proc_fd < 0)
		return true;
	snprintf(name, sizeof(name), "%d/status", pid);
	int fd = openat(table->proc_fd, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT || errno == ESRCH;
	do {
		n = read(fd, text + len, sizeof(text) - len);
		if (n > 0)
			len += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	bool known = n == 0 || errno == ESRCH;
	close(fd);
	identity->ngroups = proccred_parse_groups(text, len, identity->groups);
	return known;
}

static unsigned hash(uint32_t a, uint32_t b, uint32_t c)
{
	uint64_t h = (a * UINT64_C(0x9e3779b97f4a7c15)) ^ (b * UINT64_C(0xc2b2ae3d27d4eb4f)) ^
		     (c * UINT64_C(0x165667b19e3779f9));

	return (unsigned)((h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9) >> 58) % SETS;
}

static struct cached *cached_find(struct proccred *table, pid_t pid, uid_t uid, gid_t gid)
{
	struct cached *set = table->cached[hash((uint32_t)pid, uid, gid)];

	for (unsigned i = 0; i < WAYS; i++)
		if (set[i].cred && set[i].pid == pid && set[i].uid == uid && set[i].gid == gid)
			return &set[i];
	return NULL;
}

static void cached_put(struct proccred *table, pid_t pid, uid_t uid, gid_t gid, uint64_t now,
	struct rpc_cred *cred)
{
	struct cached *entry = cached_find(table, pid, uid, gid);

	if (!entry)
		entry = &table->cached[hash((uint32_t)pid, uid, gid)][table->cached_next++ % WAYS];
	rpc_cred_unref(entry->cred);
	*entry = (struct cached){pid, uid, gid, now + PROCCRED_TTL_MS, rpc_cred_ref(cred)};
}

static bool identity_equal(const struct identity *a, const struct identity *b)
{
	return a->uid == b->uid && a->gid == b->gid && a->ngroups == b->ngroups &&
	       memcmp(a->groups, b->groups, a->ngroups * sizeof(*a->groups)) == 0;
}

/* The shared credential of `identity`, encoded now where there is none; a new reference. */
static struct rpc_cred *shared_get(struct proccred *table, const struct identity *identity)
{
	uint32_t groups = identity->ngroups;

	for (unsigned i = 0; i < identity->ngroups; i++)
		groups = groups * 31 + identity->groups[i];
	struct shared *set = table->shared[hash(identity->uid, identity->gid, groups)];
	for (unsigned i = 0; i < WAYS; i++)
		if (set[i].cred && identity_equal(&set[i].identity, identity))
			return rpc_cred_ref(set[i].cred);

	struct rpc_cred *cred;
	int err = rpc_sec_is_gss(table->sec)
			  ? rpc_cred_new_gss(table->sec, identity->uid, &cred)
			  : rpc_cred_new_sys(table->machine, identity->uid, identity->gid,
				    identity->groups, identity->ngroups, &cred);
	if (err)
		return NULL;
	struct shared *entry = &set[table->shared_next++ % WAYS];
	rpc_cred_unref(entry->cred);
	*entry = (struct shared){*identity, cred};
	return rpc_cred_ref(cred);
}

/* Who it is to the server; a group that is nobody there is left out. */
static void map_identity(struct identity *identity)
{
	unsigned kept = 0;

	idmap_to_server(identity->uid, false, &identity->uid);
	idmap_to_server(identity->gid, true, &identity->gid);
	for (unsigned i = 0; i < identity->ngroups; i++)
		if (idmap_to_server(identity->groups[i], true, &identity->groups[kept]))
			kept++;
	identity->ngroups = kept;
}

/* Groups are the server's business. */
static struct rpc_cred *proccred_get_gss(struct proccred *table, uid_t uid)
{
	const struct identity identity = {.uid = uid};

	pthread_mutex_lock(&table->lock);
	struct rpc_cred *cred = shared_get(table, &identity);
	pthread_mutex_unlock(&table->lock);
	return cred;
}

struct rpc_cred *proccred_get(struct proccred *table, pid_t pid, uid_t uid, gid_t gid)
{
	struct identity identity = {.uid = uid, .gid = gid};
	struct rpc_cred *cred = NULL;
	uint64_t now = now_ms();

	if (table->fixed)
		return rpc_cred_ref(table->fixed);

	if (rpc_sec_is_gss(table->sec))
		return proccred_get_gss(table, uid);

	pthread_mutex_lock(&table->lock);
	struct cached *entry = cached_find(table, pid, uid, gid);
	if (entry && now < entry->until)
		cred = rpc_cred_ref(entry->cred);
	pthread_mutex_unlock(&table->lock);
	if (cred)
		return cred;

	bool known = read_groups(table, pid, &identity);
	map_identity(&identity);
	pthread_mutex_lock(&table->lock);
	cred = shared_get(table, &identity);
	if (cred && known)
		cached_put(table, pid, uid, gid, now, cred);
	pthread_mutex_unlock(&table->lock);
	return cred;
}
