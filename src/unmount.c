/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unmount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "become.h"
#include "mounter.h"
#include "mountinfo.h"
#include "mounttree.h"

/* Exit statuses of umount(8) */
#define STATUS_USAGE   1
#define STATUS_FAILURE 32

struct unmount {
	bool lazy, force, read_only, verbose;
	const char *mount_namespace;
	const char *path;
};

static const char *unmount_name(const char *program)
{
	const char *slash = strrchr(program, '/');
	return slash ? slash + 1 : program;
}

bool unmount_is_called(const char *program)
{
	return strncmp(unmount_name(program), "umount.", strlen("umount.")) == 0;
}

static int unmount_parse(int argc, char **argv, struct unmount *u)
{
	int c;
	*u = (struct unmount){0};
	while ((c = getopt(argc, argv, "flnrvcit:N:")) != -1)
		switch (c) {
		case 'f': u->force = true; break;
		case 'l': u->lazy = true; break;
		case 'r': u->read_only = true; break;
		case 'v': u->verbose = true; break;
		case 'N': u->mount_namespace = optarg; break;
		case '?': return STATUS_USAGE;
		default: break;
		}
	if (optind + 1 != argc) {
		fprintf(stderr, "usage: %s DIR [-flnrv]\n", unmount_name(argv[0]));
		return STATUS_USAGE;
	}
	u->path = argv[optind];
	return 0;
}

/* From its directory, which is made sure of: by whichever names one comes there, what is unmounted
 * lies on the mount that it should. */
static void unmount_from(const char *directory, const char *name, uint32_t parent)
{
	char is[PATH_MAX];
	struct statx stx;
	if (chdir(directory) == 0 && getcwd(is, sizeof(is)) && strcmp(is, directory) == 0 &&
		statx(AT_FDCWD, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID, &stx) == 0 &&
		stx.stx_mnt_id == parent)
		umount2(name, UMOUNT_NOFOLLOW);
	if (chdir("/") < 0)
		perror("umount: /");
}

static void unmount_entry(const struct mounttree_entry *entry)
{
	char *slash = strrchr(entry->path, '/');
	if (!slash || slash == entry->path || !mounter_has_made(entry))
		return;
	*slash = '\0';
	unmount_from(entry->path, slash + 1, entry->parent);
	*slash = '/';
}

/* What lies on others first. What is in use stays, and so does what it lies on. */
static void unmount_below(uint32_t id)
{
	struct mounttree tree;
	if (mounttree_read_self(&tree) == 0)
		for (size_t i = tree.count; i > 0; i--)
			if (tree.entries[i - 1].vsockfs &&
				mounttree_is_below(&tree, &tree.entries[i - 1], id))
				unmount_entry(&tree.entries[i - 1]);
	mounttree_deinit(&tree);
}

/* umount(8) has given up its rights for the helper, and knows whose mount this user may unmount: it
 * is asked again, to do it itself. */
static int unmount_by_caller(const struct unmount *u, const char *path)
{
	execlp("umount", "umount", u->lazy ? "-il" : "-i", "--", path, (char *)NULL);
	fprintf(stderr, "umount: %s: umount -i: %s\n", path, strerror(errno));
	return STATUS_FAILURE;
}

static int unmount_fail(
	const struct unmount *u, const char *path, const struct mountinfo *info, int err)
{
	if (err == EPERM)
		return unmount_by_caller(u, path);
	if (err == EBUSY && u->read_only &&
		mount(NULL, path, NULL, MS_REMOUNT | MS_RDONLY | info->flags, NULL) == 0) {
		fprintf(stderr, "umount: %s is busy, and read-only by now\n", path);
		return 0;
	}
	fprintf(stderr, "umount: %s: %s.\n", path, err == EBUSY ? "target is busy" : strerror(err));
	return STATUS_FAILURE;
}

int unmount_run(int argc, char **argv)
{
	struct unmount u;
	struct mountinfo info;
	char path[PATH_MAX];
	int status = unmount_parse(argc, argv, &u);
	if (!status && u.mount_namespace)
		status = become_other(unmount_name(argv[0]), u.mount_namespace, NULL);
	if (status)
		return status;
	if (mountinfo_find_path(u.path, path, &info) != 0 ||
		strcmp(info.type, MOUNTINFO_VSOCKFS) != 0) {
		fprintf(stderr, "umount: %s: not mounted as %s.\n", u.path, MOUNTINFO_VSOCKFS);
		return STATUS_FAILURE;
	}
	if (!u.lazy && !u.force)
		unmount_below(info.id);
	if (umount2(path,
		    UMOUNT_NOFOLLOW | (u.lazy ? MNT_DETACH : 0) | (u.force ? MNT_FORCE : 0)) != 0)
		return unmount_fail(&u, path, &info, errno);
	if (u.verbose)
		printf("umount: %s unmounted\n", path);
	return 0;
}
