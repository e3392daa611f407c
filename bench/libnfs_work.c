/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libnfs_work URL WORK FILE [DEPTH SECONDS]: the same work by libnfs's own asynchronous API,
 * without a mount. It prints how many operations it did and in how many seconds, connecting not
 * included.
 *
 *   read, write   the whole file, DEPTH READs of 1 MiB under way, or DEPTH WRITEs of 2 KiB (more
 *                 libnfs does not encode), and fsync
 *   random        4 KiB at random places, DEPTH of them under way, for so many SECONDS
 *   tree          all files of a directory's directories, DEPTH of them under way (more than 1, and
 *                 libnfs mixes up its OPEN_CONFIRMs)
 */
#include <errno.h>
#include <fcntl.h>
#include <nfsc/libnfs.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { UNIT = 1 << 20, WRITE_UNIT = 1 << 11, SMALL = 4096, DEPTH_MAX = 256, NAME = 512 };

struct job {
	char path[NAME];
	struct nfsfh *file;
	uint8_t *data;
};

static struct {
	struct nfs_context *nfs;
	struct nfsfh *file;
	uint64_t size, next;
	unsigned under_way, done;
	double end;	     /* of random */
	char (*names)[NAME]; /* of tree: those of next and later are not read yet */
	size_t name_count;
} work;

static struct job jobs[DEPTH_MAX];

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("libnfs_work: ", stderr);
	vfprintf(stderr, format, args);
	fprintf(stderr, ": %s\n", nfs_get_error(work.nfs));
	va_end(args);
	exit(1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Lets the library work until nothing is under way. */
static void finish(void)
{
	while (work.under_way > 0) {
		struct pollfd fd = {nfs_get_fd(work.nfs), (short)nfs_which_events(work.nfs), 0};

		if (poll(&fd, 1, 1000) < 0 || nfs_service(work.nfs, fd.revents) < 0)
			die("the connection");
	}
}

static void start_read(struct job *job);

static void on_read(int status, struct nfs_context *nfs, void *data, void *private_data)
{
	(void)nfs;
	(void)data;
	if (status < 0)
		die("read");
	work.under_way--;
	work.done++;
	start_read(private_data);
}

static void start_read(struct job *job)
{
	bool small = work.end > 0;
	uint64_t at = small ? (uint64_t)random() % (work.size / SMALL) * SMALL : work.next;

	if (small ? now() >= work.end : at >= work.size)
		return;
	work.next += small ? 0 : UNIT;
	if (nfs_pread_async(work.nfs, work.file, at, small ? SMALL : UNIT, on_read, job) != 0)
		die("read");
	work.under_way++;
}

static void start_write(struct job *job);

static void on_write(int status, struct nfs_context *nfs, void *data, void *private_data)
{
	(void)nfs;
	(void)data;
	if (status != WRITE_UNIT)
		die("write");
	work.under_way--;
	work.done++;
	start_write(private_data);
}

static void start_write(struct job *job)
{
	if (work.next >= work.size)
		return;
	if (nfs_pwrite_async(
		    work.nfs, work.file, work.next, WRITE_UNIT, job->data, on_write, job) != 0)
		die("write");
	work.next += WRITE_UNIT;
	work.under_way++;
}

static void start_file(struct job *job);

static void on_file_closed(int status, struct nfs_context *nfs, void *data, void *private_data)
{
	(void)nfs;
	(void)data;
	if (status < 0)
		die("close");
	work.under_way--;
	work.done++;
	start_file(private_data);
}

static void on_file_read(int status, struct nfs_context *nfs, void *data, void *private_data)
{
	struct job *job = private_data;

	(void)data;
	if (status < 0 || nfs_close_async(nfs, job->file, on_file_closed, job) != 0)
		die("%s", job->path);
}

static void on_file_open(int status, struct nfs_context *nfs, void *data, void *private_data)
{
	struct job *job = private_data;

	job->file = data;
	if (status < 0 || nfs_pread_async(nfs, job->file, 0, UNIT, on_file_read, job) != 0)
		die("%s", job->path);
}

static void start_file(struct job *job)
{
	if (work.next >= work.name_count)
		return;
	memcpy(job->path, work.names[work.next++], NAME);
	if (nfs_open_async(work.nfs, job->path, O_RDONLY, on_file_open, job) != 0)
		die("%s", job->path);
	work.under_way++;
}

static void add_names(const char *directory, bool deeper)
{
	struct nfsdir *dir;
	struct nfsdirent *entry;
	char path[NAME];

	if (nfs_opendir(work.nfs, directory, &dir) < 0)
		die("%s", directory);
	while ((entry = nfs_readdir(work.nfs, dir))) {
		if (entry->name[0] == '.')
			continue;
		if (snprintf(path, NAME, "%s/%s", directory, entry->name) >= NAME)
			die("%s is too long", entry->name);
		if (deeper) {
			add_names(path, false);
			continue;
		}
		work.names = realloc(work.names, (work.name_count + 1) * NAME);
		if (!work.names)
			die("memory");
		memcpy(work.names[work.name_count++], path, NAME);
	}
	nfs_closedir(work.nfs, dir);
}

static void start_all(void (*start)(struct job *), unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		start(&jobs[i]);
	finish();
}

static void do_file(const char *path, int flags, void (*start)(struct job *), unsigned depth)
{
	struct nfs_stat_64 st;

	if (nfs_open(work.nfs, path, flags, &work.file) < 0 ||
		nfs_fstat64(work.nfs, work.file, &st) < 0)
		die("%s", path);
	work.size = st.nfs_size;
	if (work.size < UNIT)
		die("%s is too short", path);
	start_all(start, depth);
	if ((flags & O_ACCMODE) != O_RDONLY && nfs_fsync(work.nfs, work.file) < 0)
		die("fsync");
	nfs_close(work.nfs, work.file);
}

int main(int argc, char **argv)
{
	unsigned depth = argc > 4 ? (unsigned)atoi(argv[4]) : 4;
	const char *what = argc > 2 ? argv[2] : "";
	uint8_t *data = calloc(1, UNIT);
	struct nfs_url *url;
	double start;

	if (argc < 4 || depth < 1 || depth > DEPTH_MAX || !data) {
		fprintf(stderr,
			"usage: libnfs_work URL read|write|random|tree FILE [DEPTH SECONDS]\n");
		return 2;
	}
	for (unsigned i = 0; i < DEPTH_MAX; i++)
		jobs[i].data = data;
	work.nfs = nfs_init_context();
	url = work.nfs ? nfs_parse_url_dir(work.nfs, argv[1]) : NULL;
	if (!url || nfs_mount(work.nfs, url->server, url->path) < 0)
		die("%s", argv[1]);
	start = now();
	if (strcmp(what, "read") == 0) {
		do_file(argv[3], O_RDONLY, start_read, depth);
	} else if (strcmp(what, "write") == 0) {
		do_file(argv[3], O_WRONLY, start_write, depth);
	} else if (strcmp(what, "random") == 0) {
		work.end = start + (argc > 5 ? atof(argv[5]) : 2);
		do_file(argv[3], O_RDONLY, start_read, depth);
	} else if (strcmp(what, "tree") == 0) {
		add_names(argv[3], true);
		start_all(start_file, depth);
	} else {
		die("%s", what);
	}
	printf("%u %.6f\n", work.done, now() - start);
	nfs_destroy_url(url);
	nfs_destroy_context(work.nfs);
	free(work.names);
	free(data);
	return 0;
}
