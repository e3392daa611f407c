/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the server holds, told by a second and independent NFS client: libnfs, NFSv4.0 over TCP.
 *
 *   witness PORT /export tree DIR         every entry below DIR, regular files with their bytes
 *   witness PORT /export cat FILE         the bytes of one file
 *   witness PORT /export put FILE         standard input written over one file (made if missing)
 *   witness PORT /export rm FILE
 *   witness PORT /export mv OLD NEW
 *   witness PORT /export lock FILE        write lock on the whole file; "locked" or "denied" is
 *                                         printed, and a held lock is dropped at end of input
 *
 * A record of `tree` is one line "MODE NLINK UID GID SIZE NAMELEN BYTES\n" (MODE in octal), then
 * NAMELEN bytes of name relative to DIR, then BYTES bytes of file contents or symlink target.
 * Exit status: 0, or 1 with one line on standard error.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include <nfsc/libnfs.h>

enum { CHUNK = 256 * 1024 };

struct witness {
	struct nfs_context *nfs;
	char *chunk;
	size_t root_len; /* bytes of a path that `tree` leaves out of the names it prints */
};

static int fail(struct witness *w, const char *what, const char *path)
{
	fprintf(stderr, "witness: %s %s: %s\n", what, path, nfs_get_error(w->nfs));
	return -1;
}

static int copy_out(struct witness *w, const char *path, uint64_t size)
{
	struct nfsfh *file;
	uint64_t offset = 0;

	if (nfs_open(w->nfs, path, O_RDONLY, &file) < 0)
		return fail(w, "open", path);
	while (offset < size) {
		uint64_t want = size - offset < CHUNK ? size - offset : CHUNK;
		int got = nfs_pread(w->nfs, file, offset, want, w->chunk);

		if (got <= 0 || (uint64_t)got > want) {
			fail(w, got < 0 ? "read" : "short read of", path);
			break;
		}
		if (fwrite(w->chunk, 1, got, stdout) != (size_t)got) {
			perror("witness: standard output");
			break;
		}
		offset += got;
	}
	nfs_close(w->nfs, file);
	return offset == size ? 0 : -1;
}

static int print_entry(struct witness *w, const char *path)
{
	const char *name = path + w->root_len;
	struct nfs_stat_64 st;
	char *target = NULL;
	uint64_t bytes = 0;
	int r = 0;

	if (nfs_lstat64(w->nfs, path, &st) < 0)
		return fail(w, "stat", path);
	if (S_ISREG(st.nfs_mode))
		bytes = st.nfs_size;
	if (S_ISLNK(st.nfs_mode)) {
		if (nfs_readlink2(w->nfs, path, &target) < 0)
			return fail(w, "readlink", path);
		/* libnfs 4.0 leaves the end of the target unmarked */
		bytes = strnlen(target, st.nfs_size);
	}
	printf("%" PRIo64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %zu %" PRIu64 "\n%s",
		st.nfs_mode, st.nfs_nlink, st.nfs_uid, st.nfs_gid, st.nfs_size, strlen(name), bytes,
		name);
	if (target)
		fwrite(target, 1, bytes, stdout);
	else if (bytes > 0)
		r = copy_out(w, path, bytes);
	free(target);
	return r;
}

static int print_tree(struct witness *w, const char *dir)
{
	struct nfsdirent *entry;
	struct nfsdir *listing;
	int r = 0;

	if (nfs_opendir(w->nfs, dir, &listing) < 0)
		return fail(w, "opendir", dir);
	while (r == 0 && (entry = nfs_readdir(w->nfs, listing))) {
		char *path;

		if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0)
			continue;
		if (asprintf(&path, "%s/%s", dir, entry->name) < 0) {
			r = -1;
			break;
		}
		r = print_entry(w, path);
		if (r == 0 && S_ISDIR(entry->mode))
			r = print_tree(w, path);
		free(path);
	}
	nfs_closedir(w->nfs, listing);
	return r;
}

static int cat(struct witness *w, const char *path)
{
	struct nfs_stat_64 st;

	if (nfs_stat64(w->nfs, path, &st) < 0)
		return fail(w, "stat", path);
	return copy_out(w, path, st.nfs_size);
}

static int put(struct witness *w, const char *path)
{
	struct nfsfh *file;
	uint64_t offset = 0;
	ssize_t n;
	int r = 0;

	/* libnfs 4.0 creates with GUARDED4 whatever the flags say */
	if (nfs_open(w->nfs, path, O_WRONLY | O_TRUNC, &file) < 0 &&
		nfs_open2(w->nfs, path, O_WRONLY | O_CREAT, 0644, &file) < 0)
		return fail(w, "create", path);
	while (r == 0 && (n = read(STDIN_FILENO, w->chunk, CHUNK)) > 0) {
		if (nfs_pwrite(w->nfs, file, offset, n, w->chunk) != n)
			r = fail(w, "write", path);
		offset += n;
	}
	if (nfs_fsync(w->nfs, file) < 0 && r == 0)
		r = fail(w, "fsync", path);
	if (nfs_close(w->nfs, file) < 0 && r == 0)
		r = fail(w, "close", path);
	return r;
}

static int lock(struct witness *w, const char *path)
{
	struct nfs4_flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = UINT64_MAX};
	struct nfsfh *file;
	int r;

	if (nfs_open(w->nfs, path, O_RDWR, &file) < 0)
		return fail(w, "open", path);
	r = nfs_fcntl(w->nfs, file, NFS4_F_SETLK, &range);
	puts(r < 0 ? "denied" : "locked");
	fflush(stdout);
	if (r < 0) {
		nfs_close(w->nfs, file);
		return 0;
	}
	while (read(STDIN_FILENO, w->chunk, CHUNK) > 0)
		continue;
	range.l_type = F_UNLCK;
	r = nfs_fcntl(w->nfs, file, NFS4_F_SETLK, &range);
	if (r < 0)
		fail(w, "unlock", path);
	nfs_close(w->nfs, file);
	return r;
}

static int run(struct witness *w, const char *command, const char *path, const char *other)
{
	if (strcmp(command, "tree") == 0) {
		w->root_len = strlen(path) + 1;
		return print_tree(w, path);
	}
	if (strcmp(command, "cat") == 0)
		return cat(w, path);
	if (strcmp(command, "put") == 0)
		return put(w, path);
	if (strcmp(command, "lock") == 0)
		return lock(w, path);
	if (strcmp(command, "rm") == 0)
		return nfs_unlink(w->nfs, path) < 0 ? fail(w, "unlink", path) : 0;
	if (strcmp(command, "mv") == 0 && other)
		return nfs_rename(w->nfs, path, other) < 0 ? fail(w, "rename", path) : 0;
	fprintf(stderr, "witness: unknown command %s\n", command);
	return -1;
}

/* libnfs takes the port and the version from a URL only. */
static int mount_export(struct witness *w, const char *port, const char *export)
{
	struct nfs_url *url;
	char *text;
	int r = -1;

	if (asprintf(&text, "nfs://127.0.0.1%s?version=4&nfsport=%s&dircache=0", export, port) < 0)
		return -1;
	url = nfs_parse_url_dir(w->nfs, text);
	if (!url)
		fail(w, "parse", text);
	else if (nfs_mount(w->nfs, url->server, url->path) < 0)
		fail(w, "mount", text);
	else
		r = 0;
	nfs_destroy_url(url);
	free(text);
	return r;
}

int main(int argc, char **argv)
{
	struct witness w = {0};
	int r;

	if (argc < 5 || argc > 6) {
		fprintf(stderr, "usage: witness PORT EXPORT tree|cat|put|rm|mv|lock PATH [PATH]\n");
		return 1;
	}
	w.nfs = nfs_init_context();
	w.chunk = malloc(CHUNK);
	if (!w.nfs || !w.chunk) {
		fprintf(stderr, "witness: out of memory\n");
		return 1;
	}
	r = mount_export(&w, argv[1], argv[2]);
	if (r == 0)
		r = run(&w, argv[3], argv[4], argc == 6 ? argv[5] : NULL);
	if (fflush(stdout) != 0)
		r = -1;
	nfs_destroy_context(w.nfs);
	free(w.chunk);
	return r < 0 ? 1 : 0;
}
