/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * floor STREAM PATH POINT: mounts one file of an NFSv4.1 server, and does nothing that a FUSE
 * daemon can leave undone. Each FUSE READ or WRITE is one compound, sent and answered by one
 * thread, its payload neither copied nor looked at; names, attributes and opens are answered from
 * memory. What vsockfs adds for the same bytes is what it costs more than this.
 */
#define FUSE_USE_VERSION 35
#include "floor_nfs.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const double FOREVER = 1e9;

static struct {
	struct floor_nfs nfs;
	const char *name;
	fuse_req_t waiting[FLOOR_SLOTS];
	unsigned idle[FLOOR_SLOTS]; /* slots, as a stack */
	unsigned idle_count;
	void *data;
} mounted;

static void attributes(fuse_ino_t ino, struct stat *st)
{
	*st = (struct stat){.st_ino = ino, .st_nlink = 1};
	st->st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0644;
	st->st_size = ino == FUSE_ROOT_ID ? 0 : (off_t)mounted.nfs.size;
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = FLOOR_IO;
	conn->max_read = FLOOR_IO; /* as the mount option has it */
	conn->max_background = FLOOR_SLOTS;
	conn->congestion_threshold = FLOOR_SLOTS;
	conn->want &= ~(unsigned)(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ |
				  FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = {
		.ino = FUSE_ROOT_ID + 1, .attr_timeout = FOREVER, .entry_timeout = FOREVER};

	if (parent != FUSE_ROOT_ID || strcmp(name, mounted.name) != 0) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	attributes(entry.ino, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	struct stat st;

	(void)file;
	attributes(ino, &st);
	fuse_reply_attr(req, &st, FOREVER);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	(void)ino;
	file->noflush = 1;
	fuse_reply_open(req, file);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *file)
{
	(void)ino;
	(void)file;
	fuse_reply_err(req, 0);
}

/* The loop reads a request only while a slot is idle. */
static void ask(fuse_req_t req, enum floor_kind kind, off_t offset, size_t size, const void *data)
{
	unsigned slot = mounted.idle[--mounted.idle_count];

	mounted.waiting[slot] = req;
	floor_nfs_send(&mounted.nfs, slot, kind, (uint64_t)offset, (uint32_t)size, data);
}

static void on_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *file)
{
	(void)ino;
	(void)file;
	ask(req, FLOOR_READ, offset, size < FLOOR_IO ? size : FLOOR_IO, NULL);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
	struct fuse_file_info *file)
{
	(void)ino;
	(void)file;
	ask(req, FLOOR_WRITE, offset, size, data);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *file)
{
	(void)ino;
	(void)datasync;
	(void)file;
	ask(req, FLOOR_COMMIT, 0, 0, NULL);
}

static const struct fuse_lowlevel_ops operations = {
	.init = on_init,
	.lookup = on_lookup,
	.getattr = on_getattr,
	.open = on_open,
	.release = on_release,
	.read = on_read,
	.write = on_write,
	.fsync = on_fsync,
};

static void answer(void)
{
	struct floor_reply reply;
	fuse_req_t req;

	floor_nfs_receive(&mounted.nfs, mounted.data, &reply);
	req = mounted.waiting[reply.slot];
	mounted.idle[mounted.idle_count++] = reply.slot;
	if (reply.kind == FLOOR_READ)
		fuse_reply_buf(req, mounted.data, reply.count);
	else if (reply.kind == FLOOR_WRITE)
		fuse_reply_write(req, reply.count);
	else
		fuse_reply_err(req, 0);
}

static void serve(struct fuse_session *session)
{
	struct fuse_buf buffer = {0};
	struct pollfd fds[] = {
		{mounted.nfs.fd, POLLIN, 0},
		{fuse_session_fd(session), POLLIN, 0},
	};

	fcntl(fds[1].fd, F_SETFL, O_NONBLOCK);
	while (!fuse_session_exited(session)) {
		bool room = mounted.idle_count > 0;

		if (poll(fds, room ? 2 : 1, -1) < 0)
			break;
		if (fds[0].revents)
			answer();
		while (mounted.idle_count > 0 && fuse_session_receive_buf(session, &buffer) > 0)
			fuse_session_process_buf(session, &buffer);
	}
	free(buffer.mem);
}

int main(int argc, char **argv)
{
	char *words[] = {argv[0], "-o", "max_read=1048576,fsname=floor,subtype=floor"};
	struct fuse_args args = FUSE_ARGS_INIT(3, words);
	struct fuse_session *session;

	if (argc != 4) {
		fprintf(stderr, "usage: floor tcp:PORT|unix:PATH FILE MOUNTPOINT\n");
		return 2;
	}
	floor_nfs_connect(&mounted.nfs, argv[1], argv[2]);
	mounted.name = strrchr(argv[2], '/') + 1;
	for (unsigned slot = 0; slot < mounted.nfs.slots; slot++)
		mounted.idle[mounted.idle_count++] = slot;
	mounted.data = aligned_alloc(4096, FLOOR_IO + 4096);
	session = fuse_session_new(&args, &operations, sizeof(operations), NULL);
	if (!mounted.data || !session || fuse_set_signal_handlers(session) != 0 ||
		fuse_session_mount(session, argv[3]) != 0)
		return 1;
	serve(session);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	free(mounted.data);
	return 0;
}
