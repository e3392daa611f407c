/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest, and two that were restored from one snapshot of it: twin SOURCE. The first process
 * opens a file, locks it and is forked twice, with all of its memory; then it is gone. In each copy
 * the streams are replaced by others that are silent for ever, as a restored guest finds them. One
 * goes on, then the other. Each makes directories of its own, writes to its open file, and says
 * what became of its lock; none does anything but what any user of the session layer does.
 *
 * Prints "a: ..." and "b: ..." lines, and ends with 0 if every operation went well.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nfs41/client.h"
#include "nfs41/op.h"
#include "nfs41/reclaim.h"
#include "util/log.h"

#define TWIN_DIRS    20
#define TWIN_FDS_MAX 64

static struct loop *loop;
static struct nfs_client *client;
static struct nfs_conn *conn;
static struct rpc_cred *cred;
static struct nfs_state *state;
static struct reclaim *reclaim;
static struct nfs_open *open_file;
static struct nfs_lock *lock;
static struct nfs_fh dir;
static unsigned lost_locks;
static int status; /* of the last compound, or start */

static void fail(const char *what)
{
	printf("failed: %s: %d\n", what, status);
	exit(1);
}

static void on_lost(void *arg, const struct nfs_fh *fh, bool is_lock, int err)
{
	lost_locks += is_lock;
}

static void on_ready(void *arg, int err, const char *why)
{
	status = err;
	loop_stop(loop);
}

static void on_stopped(void *arg)
{
	loop_stop(loop);
}

static void on_done(struct nfs_compound *c)
{
	status = c->status;
	nfs_compound_free(c);
	loop_stop(loop);
}

static void run(struct nfs_compound *c)
{
	nfs_compound_send(c, on_done, NULL);
	loop_run(loop);
}

static struct nfs_compound *in_dir(uint32_t label)
{
	struct nfs_compound *c = nfs_compound_new(conn, cred, label);
	nfs_op_putfh(c, &dir);
	return c;
}

static void find_dir(char *path)
{
	struct nfs_compound *c = nfs_compound_new(conn, cred, OP_LOOKUP);
	nfs_op_putrootfh(c);
	for (char *word = strtok(path, "/"); word; word = strtok(NULL, "/"))
		nfs_op_lookup(c, word, strlen(word));
	nfs_op_getfh(c, &dir);
	run(c);
	if (status != 0)
		fail("LOOKUP");
}

static void make_file(void)
{
	const struct nfs_setattr set = {.set = NFS_SET_MODE, .mode = 0644};
	/* a delegation would be recalled from one that does not run */
	struct nfs_open_args args = {
		.access = OPEN4_SHARE_ACCESS_BOTH | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
		.owner = nfs_client_owner(client),
		.how = NFS_OPEN_UNCHECKED,
		.set = &set,
		.claim = NFS_CLAIM_NAME,
		.name = "file",
		.name_len = 4};
	struct nfs_open_res res;
	struct nfs_fh fh;
	struct nfs_compound *c = in_dir(OP_OPEN);
	nfs_op_open(c, &args, &res);
	nfs_op_getfh(c, &fh);
	run(c);
	if (status != 0)
		fail("OPEN");
	open_file =
		nfs_open_new(state, &fh, OPEN4_SHARE_ACCESS_BOTH, args.owner, cred, &res.stateid);
}

static void lock_file(void)
{
	const struct range range = {0, 99, RANGE_WRITE};
	uint64_t owner = nfs_client_owner(client);
	const struct nfs_lock_args args = {.range = {WRITE_LT, 0, 100},
		.new_owner = true,
		.open_stateid = nfs_open_stateid(state, open_file),
		.owner = owner};
	struct nfs_stateid stateid;
	struct nfs_compound *c = nfs_compound_new(conn, cred, OP_LOCK);
	nfs_op_putfh(c, &open_file->fh);
	nfs_op_lock(c, &args, &stateid, NULL);
	run(c);
	if (status != 0)
		fail("LOCK");
	lock = nfs_lock_get(state, open_file, 1, NFS_LOCK_OF_PROCESS, owner);
	nfs_lock_reserve(state, lock);
	nfs_lock_changed(state, lock, &stateid, &range);
}

static void make_dirs(const char *name)
{
	for (unsigned i = 0; i < TWIN_DIRS; i++) {
		char full[32];
		const struct nfs_setattr set = {.set = NFS_SET_MODE, .mode = 0755};
		snprintf(full, sizeof(full), "%s%u", name, i);
		const struct nfs_create_args args = {
			.type = NF4DIR, .name = full, .name_len = strlen(full), .set = &set};
		struct nfs_change_info cinfo;
		struct nfs_compound *c = in_dir(OP_CREATE);
		nfs_op_create(c, &args, &cinfo);
		run(c);
		if (status != 0)
			fail(full);
	}
}

/* Through the open file, if its locks are still what the program believes. */
static int write_file(const char *name)
{
	struct nfs_stateid stateid;
	struct nfs_write_res res;
	int err = nfs_open_use(state, open_file, &stateid);
	if (err)
		return err;
	if (nfs_lock_stateid(state, lock, &stateid))
		stateid.seqid = 0;
	struct nfs_compound *c = nfs_compound_new(conn, cred, OP_WRITE);
	nfs_op_putfh(c, &open_file->fh);
	nfs_op_write(c, &stateid, 0, FILE_SYNC4, NULL, (const uint8_t *)name, 1, &res);
	run(c);
	return status;
}

/* What the descriptor is replaced by: a socket that nobody answers on, or an eventfd that no other
 * process reads; -1: it stays. */
static int replacement(int fd)
{
	int type, pair[2];
	char path[32], target[64] = "";
	socklen_t len = sizeof(type);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof(target) - 1) < 0)
		return -1;
	if (strstr(target, "eventfd"))
		return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
		return -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		fail("socketpair");
	return pair[0];
}

static void replace_files(void)
{
	int by[TWIN_FDS_MAX];
	for (int fd = 0; fd < TWIN_FDS_MAX; fd++)
		by[fd] = -1;
	/* those made here come last */
	int end = dup(0);
	for (int fd = 3; fd < end && fd < TWIN_FDS_MAX; fd++)
		by[fd] = replacement(fd);
	for (int fd = 3; fd < end && fd < TWIN_FDS_MAX; fd++)
		if (by[fd] >= 0)
			dup2(by[fd], fd);
}

static int live_on(const char *name)
{
	uint64_t before = nfs_client_id(client);
	replace_files();
	make_dirs(name);
	int wrote = write_file(name);
	printf("%s: made %u other %d lost %u write %d\n", name, TWIN_DIRS,
		before != nfs_client_id(client), lost_locks, wrote);
	fflush(stdout);
	return 0;
}

/* Waits for a byte before it begins, and lasts until the other end is closed. */
static pid_t fork_twin(const char *name, int go[2], int done[2])
{
	char byte;
	if (pipe(go) < 0 || pipe(done) < 0)
		fail("pipe");
	pid_t pid = fork();
	if (pid != 0)
		return pid;
	close(go[1]);
	if (read(go[0], &byte, 1) != 1)
		exit(1);
	live_on(name);
	if (write(done[1], "", 1) != 1 || read(go[0], &byte, 1) != 1)
		exit(1);
	/* once more, now that both are there */
	int wrote = write_file(name);
	printf("%s: again %d\n", name, wrote);
	nfs_client_stop(client, UINT64_C(5000000000), on_stopped, NULL);
	loop_run(loop);
	fflush(stdout);
	exit(0);
}

static void begin(struct nfs_client_config *config, char *path)
{
	const struct reclaim_config with = {.lost = on_lost};
	struct reclaim_config reclaim_config = with;
	if (loop_new(LOOP_POLL, &loop) < 0 || nfs_state_new(&state) < 0)
		fail("start");
	reclaim_config.state = state;
	if (reclaim_new(&reclaim_config, &reclaim) < 0 || nfs_client_new(config, &client) < 0)
		fail("start");
	nfs_client_set_reclaim(client, &reclaim_ops, reclaim);
	nfs_client_attach(client, loop, &conn);
	nfs_client_start(client, on_ready, NULL);
	loop_run(loop);
	if (status != 0)
		fail("connect");
	find_dir(path);
	make_file();
	lock_file();
}

static int end_of(pid_t pid)
{
	int how;
	return waitpid(pid, &how, 0) == pid && WIFEXITED(how) ? WEXITSTATUS(how) : 1;
}

int main(int argc, char **argv)
{
	struct nfs_client_config config = {.minor = -1,
		.timeo_ns = UINT64_C(10000000000),
		.rsize = 65536,
		.wsize = 65536,
		.max_requests = 8};
	const char *path, *why;
	int go[2][2], done[2][2];
	pid_t pid[2];
	char byte;
	if (argc != 2 || address_parse_source(argv[1], &config.address, &path, &why) < 0)
		return 2;
	log_init(LOG_TARGET_STDERR, false);
	if (rpc_cred_new_sys("twin-test", 0, 0, NULL, 0, &cred) < 0)
		return 2;
	config.cred = cred;
	begin(&config, strdup(path));
	pid[0] = fork_twin("a", go[0], done[0]);
	pid[1] = fork_twin("b", go[1], done[1]);
	/* the one that they were made from is no more */
	replace_files();
	for (unsigned i = 0; i < 2; i++) {
		close(done[i][1]);
		if (write(go[i][1], "", 1) != 1 || read(done[i][0], &byte, 1) != 1)
			return 1;
	}
	for (unsigned i = 0; i < 2; i++)
		if (write(go[i][1], "", 1) != 1)
			return 1;
	return end_of(pid[0]) | end_of(pid[1]);
}
