/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every operation of the protocol layer against a real server, one compound after another:
 * ops SOURCE, in an empty and writable export. Prints TAP.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nfs41/client.h"
#include "nfs41/error.h"
#include "nfs41/op.h"
#include "util/log.h"

#define DATA_SIZE 300000

static struct nfs_client *client;
static struct nfs_conn *conn;
static struct rpc_cred *cred;
static struct loop *loop;
static struct buf_pool *pool;
static struct loop_task task;
static struct nfs_compound *sent;
static sem_t finished;
static const char *failure;
static unsigned points, failures;

static struct nfs_fh root, dir, file;
static struct nfs_stateid opened;
static const struct nfs_bitmap want = {
	.word = {1u << FATTR4_TYPE | 1u << FATTR4_CHANGE | 1u << FATTR4_SIZE | 1u << FATTR4_FSID |
			 1u << FATTR4_FILEID,
		1u << (FATTR4_MODE - 32) | 1u << (FATTR4_NUMLINKS - 32) |
			1u << (FATTR4_OWNER - 32) | 1u << (FATTR4_OWNER_GROUP - 32) |
			1u << (FATTR4_RAWDEV - 32) | 1u << (FATTR4_SPACE_USED - 32) |
			1u << (FATTR4_TIME_ACCESS - 32) | 1u << (FATTR4_TIME_METADATA - 32) |
			1u << (FATTR4_TIME_MODIFY - 32) | 1u << (FATTR4_MOUNTED_ON_FILEID - 32)}};

static void point(bool ok, const char *title)
{
	printf("%s %u - %s\n", ok ? "ok" : "not ok", ++points, title);
	failures += !ok;
}

static void on_done(struct nfs_compound *c)
{
	sem_post(&finished);
}

static void on_send(struct loop_task *unused)
{
	nfs_compound_send(sent, on_done, NULL);
}

static struct nfs_compound *begin(uint32_t label, const struct nfs_fh *fh)
{
	struct nfs_compound *c = nfs_compound_new(conn, cred, label);

	if (!c)
		abort();
	if (fh)
		nfs_op_putfh(c, fh);
	else
		nfs_op_putrootfh(c);
	return c;
}

/* Sends it and waits. The status; frees it. */
static int run(struct nfs_compound *c)
{
	uint32_t failed = 0;

	sent = c;
	task.run = on_send;
	loop_post(loop, &task);
	sem_wait(&finished);
	int status = c->status;
	if (status != 0 && c->ops_ok < c->nops)
		failed = c->ops[c->ops_ok].op;
	if (status != 0)
		printf("# %s: %s\n", nfs_op_name(failed),
			status > 0 ? nfs_error_name((uint32_t)status) : strerror(-status));
	nfs_compound_free(c);
	return status;
}

static void find_root(char *path)
{
	struct nfs_compound *c = begin(OP_LOOKUP, NULL);
	struct nfs_access_res access = {0};
	struct nfs_fsattr fs = {.maxname = 0};
	struct nfs_attr attr = {.type = 0};
	struct nfs_bitmap fs_want = {{0}};
	struct rpc_sec_list flavors = {0};

	for (char *word = strtok(path, "/"); word; word = strtok(NULL, "/"))
		nfs_op_lookup(c, word, strlen(word));
	nfs_bitmap_set(&fs_want, FATTR4_SUPPORTED_ATTRS);
	nfs_bitmap_set(&fs_want, FATTR4_FSID);
	nfs_bitmap_set(&fs_want, FATTR4_LEASE_TIME);
	nfs_bitmap_set(&fs_want, FATTR4_MAXNAME);
	nfs_bitmap_set(&fs_want, FATTR4_MAXREAD);
	nfs_bitmap_set(&fs_want, FATTR4_SPACE_TOTAL);
	nfs_bitmap_set(&fs_want, FATTR4_FILES_TOTAL);
	nfs_op_getfh(c, &root);
	nfs_op_getattr(c, &want, &attr);
	nfs_op_getfsattr(c, &fs_want, &fs);
	nfs_op_access(c, ACCESS4_READ | ACCESS4_LOOKUP | ACCESS4_MODIFY, &access);
	nfs_op_secinfo_no_name(c, 0, &flavors);
	bool ok = run(c) == 0;
	point(ok && attr.type == NF4DIR && memcmp(&attr.have, &want, sizeof(want)) == 0,
		"LOOKUP, GETFH, GETATTR");
	point(ok && fs.maxname >= 255 && fs.space_total > 0 && fs.lease_time > 0 &&
			nfs_bitmap_has(&fs.supported, FATTR4_MODE),
		"GETATTR of the file system");
	point(ok && (access.granted & ACCESS4_MODIFY), "ACCESS");
	point(ok && rpc_sec_list_has(&flavors, RPC_SEC_SYS), "SECINFO_NO_NAME");
}

static bool create(uint32_t type, const char *name, const char *link, struct nfs_attr *attr)
{
	const struct nfs_setattr set = {.set = NFS_SET_MODE | NFS_SET_MTIME,
		.mode = 0750,
		.mtime = {.tv_sec = 1000000000, .tv_nsec = 7}};
	const struct nfs_create_args args = {.type = type,
		.name = name,
		.name_len = strlen(name),
		.link = link,
		.rdev_major = 4,
		.rdev_minor = 5,
		.set = type == NF4LNK ? NULL : &set};
	struct nfs_change_info cinfo;
	struct nfs_compound *c = begin(OP_CREATE, &dir);

	nfs_op_create(c, &args, &cinfo);
	nfs_op_getattr(c, &want, attr);
	return run(c) == 0 && attr->type == type;
}

static void make_things(void)
{
	struct nfs_setattr set = {.set = NFS_SET_MODE, .mode = 0777};
	struct nfs_create_args args = {.type = NF4DIR, .name = "d", .name_len = 1, .set = &set};
	struct nfs_compound *c = begin(OP_CREATE, &root);
	struct nfs_change_info cinfo = {0};
	char target[64] = "";
	struct nfs_readlink_res link = {.target = target, .cap = sizeof(target)};
	struct nfs_attr attr;

	nfs_op_create(c, &args, &cinfo);
	nfs_op_getfh(c, &dir);
	point(run(c) == 0 && cinfo.before != cinfo.after, "CREATE of a directory");
	point(create(NF4FIFO, "fifo", NULL, &attr) && attr.mode == 0750 &&
			attr.mtime.tv_sec == 1000000000 && attr.mtime.tv_nsec == 7,
		"CREATE of a FIFO with mode and time");
	point(create(NF4CHR, "chr", NULL, &attr) && attr.rdev_major == 4 && attr.rdev_minor == 5,
		"CREATE of a device");
	point(create(NF4LNK, "ln", "over/there", &attr), "CREATE of a symbolic link");
	c = begin(OP_READLINK, &dir);
	nfs_op_lookup(c, "ln", 2);
	nfs_op_readlink(c, &link);
	point(run(c) == 0 && strcmp(target, "over/there") == 0, "READLINK");
}

static void open_file(
	enum nfs_open_how how, enum nfs_open_claim claim, const char *name, const char *title)
{
	struct nfs_setattr set = {.set = NFS_SET_MODE, .mode = 0640};
	struct nfs_open_args args = {
		.access = OPEN4_SHARE_ACCESS_BOTH | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
		.owner = nfs_client_owner(client),
		.how = how,
		.set = &set,
		.verifier = {1, 2, 3, 4, 5, 6, 7, 8},
		.claim = claim,
		.name = name,
		.name_len = name ? strlen(name) : 0};
	struct nfs_compound *c = begin(OP_OPEN, name ? &dir : &file);
	struct nfs_open_res res = {.rflags = 0};
	struct nfs_attr attr = {.mode = 0};
	uint32_t tested = 1;

	nfs_op_open(c, &args, &res);
	nfs_op_getfh(c, &file);
	nfs_op_getattr(c, &want, &attr);
	bool ok = run(c) == 0 && attr.mode == 0640 && attr.type == NF4REG;
	opened = res.stateid;
	c = begin(OP_TEST_STATEID, &file);
	nfs_op_test_stateid(c, &opened, &tested);
	point(ok && run(c) == 0 && tested == NFS4_OK, title);
}

static void close_file(const char *title)
{
	struct nfs_compound *c = begin(OP_CLOSE, &file);

	nfs_op_close(c, &opened);
	point(run(c) == 0, title);
}

static void write_and_read(void)
{
	struct nfs_compound *c = begin(OP_WRITE, &file);
	struct buf *data = buf_get(pool), *back = buf_get(pool), *middle = buf_get(pool);
	struct nfs_write_res written = {0};
	struct nfs_read_res got = {0}, first = {0};
	uint8_t verifier[NFS4_VERIFIER_SIZE];
	struct nfs_attr attr = {.size = 0};

	for (size_t i = 0; i < DATA_SIZE; i++)
		data->data[i] = (uint8_t)(i * 31 + i / 257);
	nfs_op_write(c, &opened, 3, UNSTABLE4, data, data->data, DATA_SIZE, &written);
	nfs_op_commit(c, 0, 0, verifier);
	nfs_op_getattr(c, &want, &attr);
	point(run(c) == 0 && written.count == DATA_SIZE && attr.size == DATA_SIZE + 3 &&
			memcmp(verifier, written.verifier, sizeof(verifier)) == 0,
		"WRITE, COMMIT");
	c = begin(OP_READ, &file);
	nfs_op_read(c, &opened, 0, 5, middle, middle->data, &first);
	nfs_op_getattr(c, &want, &attr);
	point(run(c) == 0 && first.len == 5 && !first.eof && middle->data[2] == 0 &&
			memcmp(middle->data + 3, data->data, 2) == 0,
		"READ in the middle of a compound");
	c = begin(OP_READ, &file);
	nfs_op_getattr(c, &want, &attr);
	nfs_op_read(c, &opened, 3, DATA_SIZE + 10, back, back->data, &got);
	point(run(c) == 0 && got.len == DATA_SIZE && got.eof &&
			memcmp(back->data, data->data, DATA_SIZE) == 0,
		"READ at its end");
	buf_unref(data);
	buf_unref(back);
	buf_unref(middle);
}

static void set_attributes(void)
{
	const struct nfs_setattr set = {.set = NFS_SET_SIZE | NFS_SET_MODE | NFS_SET_UID |
					       NFS_SET_GID | NFS_SET_ATIME | NFS_SET_MTIME_NOW,
		.size = 5000000001,
		.mode = 04711,
		.uid = 1234,
		.gid = 4321,
		.atime = {.tv_sec = 99, .tv_nsec = 98}};
	struct nfs_compound *c = begin(OP_SETATTR, &file);
	struct nfs_bitmap done = {{0}};
	struct nfs_attr attr = {.size = 0};

	nfs_op_setattr(c, &opened, &set, &done);
	nfs_op_getattr(c, &want, &attr);
	point(run(c) == 0 && attr.size == 5000000001 && attr.uid == 1234 && attr.gid == 4321 &&
			attr.atime.tv_sec == 99 && attr.atime.tv_nsec == 98 &&
			attr.mtime.tv_sec > 1500000000 && nfs_bitmap_has(&done, FATTR4_MODE),
		"SETATTR");
}

static void locks(void)
{
	struct nfs_lock_args args = {.range = {.type = WRITE_LT, .offset = 10, .length = 20},
		.new_owner = true,
		.open_stateid = opened,
		.owner = nfs_client_owner(client)};
	struct nfs_lock_denied denied = {.owner = 0};
	struct nfs_compound *c = begin(OP_LOCK, &file);
	struct nfs_stateid lock = {0};
	uint64_t other = nfs_client_owner(client);

	nfs_op_lock(c, &args, &lock, &denied);
	point(run(c) == 0 && lock.seqid == 1, "LOCK of a new owner");
	args = (struct nfs_lock_args){
		.range = {.type = READ_LT, .offset = 100, .length = UINT64_MAX},
		.lock_stateid = lock,
		.owner = args.owner};
	c = begin(OP_LOCK, &file);
	nfs_op_lock(c, &args, &lock, &denied);
	point(run(c) == 0 && lock.seqid == 2, "LOCK of the same owner");
	c = begin(OP_LOCKT, &file);
	nfs_op_lockt(c, &(struct nfs_lock_range){READ_LT, 0, 50}, other, &denied);
	point(run(c) == NFS4ERR_DENIED && denied.range.offset == 10 && denied.range.length == 20 &&
			denied.range.type == WRITE_LT && denied.owner == args.owner,
		"LOCKT tells who is in the way");
	args = (struct nfs_lock_args){.range = {.type = WRITE_LT, .offset = 15, .length = 1},
		.new_owner = true,
		.open_stateid = opened,
		.owner = other};
	denied.owner = 0;
	c = begin(OP_LOCK, &file);
	nfs_op_lock(c, &args, NULL, &denied);
	point(run(c) == NFS4ERR_DENIED && denied.owner != 0 && denied.owner != other,
		"LOCK is denied");
	c = begin(OP_LOCKU, &file);
	nfs_op_locku(c, &(struct nfs_lock_range){WRITE_LT, 0, UINT64_MAX}, &lock, &lock);
	nfs_op_lockt(c, &(struct nfs_lock_range){WRITE_LT, 0, UINT64_MAX}, other, &denied);
	point(run(c) == 0 && lock.seqid == 3, "LOCKU, LOCKT");
	c = begin(OP_FREE_STATEID, NULL);
	nfs_op_free_stateid(c, &lock);
	point(run(c) == 0, "FREE_STATEID");
}

static void list(void)
{
	uint8_t data[4096], verifier[NFS4_VERIFIER_SIZE] = {0};
	struct nfs_readdir_res res = {.data = data, .cap = sizeof(data)};
	struct nfs_bitmap entry_want = want;
	struct nfs_dirent entry;
	unsigned seen = 0, files = 0, replies = 0;
	uint64_t cookie = 0;

	nfs_bitmap_set(&entry_want, FATTR4_RDATTR_ERROR);
	nfs_bitmap_set(&entry_want, FATTR4_FILEHANDLE);
	do {
		struct nfs_compound *c = begin(OP_READDIR, &dir);
		size_t pos = 0;

		nfs_op_readdir(c, cookie, verifier, 300, 600, &entry_want, &res);
		if (run(c) != 0 || ++replies > 50)
			break;
		while (nfs_dir_next(&res, &pos, &entry) == 1) {
			seen++;
			files += entry.attr.type == NF4REG && nfs_fh_equal(&entry.attr.fh, &file);
		}
		cookie = res.last_cookie;
		memcpy(verifier, res.verifier, sizeof(verifier));
	} while (!res.eof);
	point(res.eof && seen == 6 && files == 1 && replies > 1, "READDIR in several replies");
}

static void names(void)
{
	struct nfs_compound *c = begin(OP_LINK, &file);
	struct nfs_change_info cinfo = {.before = 0};
	struct nfs_rename_res renamed = {.source = {0}};
	struct nfs_attr attr = {.nlink = 0};

	nfs_op_savefh(c);
	nfs_op_putfh(c, &dir);
	nfs_op_link(c, "hard", 4, &cinfo);
	nfs_op_restorefh(c);
	nfs_op_getattr(c, &want, &attr);
	point(run(c) == 0 && attr.nlink == 2 && cinfo.before != cinfo.after,
		"SAVEFH, LINK, RESTOREFH");
	c = begin(OP_RENAME, &dir);
	nfs_op_savefh(c);
	nfs_op_putfh(c, &root);
	nfs_op_rename(c, "hard", 4, "moved", 5, &renamed);
	nfs_op_lookup(c, "moved", 5);
	point(run(c) == 0 && renamed.target.before != renamed.target.after, "RENAME");
	c = begin(OP_REMOVE, &root);
	nfs_op_remove(c, "moved", 5, &cinfo);
	point(run(c) == 0, "REMOVE");
	c = begin(OP_LOOKUP, &root);
	nfs_op_lookup(c, "moved", 5);
	point(run(c) == NFS4ERR_NOENT, "LOOKUP of what is gone");
}

static void exercise(char *path)
{
	find_root(path);
	make_things();
	open_file(NFS_OPEN_EXCLUSIVE, NFS_CLAIM_NAME, "excl", "OPEN, EXCLUSIVE4_1");
	close_file("CLOSE");
	open_file(NFS_OPEN_GUARDED, NFS_CLAIM_NAME, "new", "OPEN, GUARDED4");
	write_and_read();
	locks();
	close_file("CLOSE after locks");
	open_file(NFS_OPEN_NOCREATE, NFS_CLAIM_FH, NULL, "OPEN, CLAIM_FH");
	close_file("CLOSE after CLAIM_FH");
	open_file(NFS_OPEN_UNCHECKED, NFS_CLAIM_NAME, "new", "OPEN, UNCHECKED4");
	set_attributes();
	close_file("CLOSE after SETATTR");
	point(create(NF4SOCK, "sock", NULL, &(struct nfs_attr){.type = 0}), "CREATE of a socket");
	list();
	names();
}

static void ready(void *arg, int err, const char *why)
{
	failure = err ? why : NULL;
	sem_post(&finished);
}

static void stopped(void *arg)
{
	loop_stop(loop);
}

static void *run_loop(void *arg)
{
	if (loop_run(loop) < 0)
		abort();
	return NULL;
}

int main(int argc, char **argv)
{
	struct nfs_client_config config = {.minor = -1,
		.timeo_ns = UINT64_C(10000000000),
		.retrans = 2,
		.rsize = 1 << 20,
		.wsize = 1 << 20,
		.max_requests = 8};
	const char *path, *why;
	pthread_t thread;

	if (argc != 2 || address_parse_source(argv[1], &config.address, &path, &why) < 0)
		return 2;
	char *copy = strdup(path);
	log_init(LOG_TARGET_STDERR, false);
	if (!copy || sem_init(&finished, 0, 0) < 0 || loop_new(LOOP_AUTO, &loop) < 0 ||
		buf_pool_new(1 << 20, 8, 0, &pool) < 0 ||
		rpc_cred_new_sys("ops-test", 0, 0, NULL, 0, &cred) < 0)
		return 2;
	config.cred = cred;
	if (nfs_client_new(&config, &client) < 0 || nfs_client_attach(client, loop, &conn) < 0)
		return 2;
	nfs_client_start(client, ready, NULL);
	pthread_create(&thread, NULL, run_loop, NULL);
	sem_wait(&finished);
	point(!failure, failure ? failure : "EXCHANGE_ID, CREATE_SESSION, RECLAIM_COMPLETE");
	if (!failure)
		exercise(copy);
	printf("1..%u\n", points);
	nfs_client_stop(client, UINT64_C(5000000000), stopped, NULL);
	pthread_join(thread, NULL);
	nfs_client_free(client);
	loop_free(loop);
	buf_pool_free(pool);
	rpc_cred_unref(cred);
	free(copy);
	return failures > 0;
}
