/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What works on a server: matrix [-w SECONDS] MOUNTPOINT SOURCE [TABLE]
 *
 * Tries each row of the manual's table in a directory of its own in a mount of SOURCE, and prints
 * its name, a tab and what was found. Given a TABLE in the same form, it says what differs, and
 * fails. The server may take so long (1 s) to find out that it can call back, before it delegates.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "attrs.h"
#include "nfs41/proto.h"

#define MIB 1048576

static struct nfs_bitmap supported;
static const char *mount_point;
static int wait_s = 1;
static char buffer[2 * MIB];

static void broken(const char *what)
{
	fprintf(stderr, "matrix: %s: %s\n", what, strerror(errno));
	exit(2);
}

/* Yes; no, when it is refused as not supported; any other failure ends the test. */
static const char *outcome(const char *what, bool done)
{
	if (!done && errno != EOPNOTSUPP)
		broken(what);
	return done ? "yes" : "no";
}

static int make(const char *name, size_t size)
{
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);

	memset(buffer, 'x', sizeof(buffer));
	if (fd < 0 || write(fd, buffer, size) != (ssize_t)size || fsync(fd) < 0)
		broken(name);
	return fd;
}

static const char *try_space(const char *name, int mode, char expected)
{
	int fd = make(name, MIB);
	const char *found =
		outcome(name, fallocate(fd, mode, MIB / 4, mode == 0 ? MIB : MIB / 4) == 0);

	if (strcmp(found, "yes") == 0 &&
		(pread(fd, buffer, sizeof(buffer), 0) < MIB || buffer[MIB / 3] != expected))
		broken(name);
	close(fd);
	return found;
}

static const char *try_allocate(void)
{
	return try_space("allocate", 0, 'x');
}

static const char *try_punch(void)
{
	return try_space("punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, '\0');
}

static const char *try_zero(void)
{
	return try_space("zero", FALLOC_FL_ZERO_RANGE, '\0');
}

static const char *try_seek(void)
{
	int fd = make("sparse", 1);

	if (ftruncate(fd, 0) < 0 || pwrite(fd, "x", 1, 3 * MIB) != 1 || fsync(fd) < 0)
		broken("sparse");
	off_t data = lseek(fd, 0, SEEK_DATA), hole = lseek(fd, 0, SEEK_HOLE);
	close(fd);
	if (data < 0 || hole < 0)
		broken("lseek");
	return data == 3 * MIB && hole == 0 ? "yes" : "no";
}

static const char *try_user(void)
{
	close(make("user", 0));
	return outcome("user.a", setxattr("user", "user.a", "1", 1, 0) == 0);
}

static const char *try_attribute(const char *on, const char *name)
{
	bool there = getxattr(on, name, buffer, sizeof(buffer)) >= 0 || errno == ENODATA;

	return outcome(name, there);
}

static const char *try_label(void)
{
	return try_attribute("user", "security.selinux");
}

static const char *try_acl(void)
{
	return try_attribute("user", "system.nfs4_acl");
}

static const char *try_dacl(void)
{
	return try_attribute("user", "system.nfs4_dacl");
}

static const char *try_sacl(void)
{
	return try_attribute("user", "system.nfs4_sacl");
}

static const char *try_posix(void)
{
	return try_attribute("user", "system.posix_acl_access");
}

static const char *try_posix_default(void)
{
	return try_attribute(".", "system.posix_acl_default");
}

/* Programs are told it by newer kernels than there may be here. */
static const char *try_birth(void)
{
	return nfs_bitmap_has(&supported, FATTR4_TIME_CREATE) ? "yes" : "no";
}

static const char *try_quota(void)
{
	return nfs_bitmap_has(&supported, FATTR4_QUOTA_AVAIL_HARD) ? "yes" : "no";
}

static const char *try_nanoseconds(void)
{
	const struct timespec times[] = {{1, 123456789}, {2, 987654321}};
	struct stat st;

	if (utimensat(AT_FDCWD, "user", times, 0) < 0 || stat("user", &st) < 0)
		broken("utimensat");
	return st.st_mtim.tv_nsec == times[1].tv_nsec ? "yes" : "no";
}

static const char *try_special(void)
{
	return outcome("mknod", mkfifo("fifo", 0600) == 0 &&
					mknod("socket", S_IFSOCK | 0600, 0) == 0 &&
					mknod("device", S_IFCHR | 0600, 0x0103) == 0);
}

/* A directory is read on behind a name after others in front of it were removed. */
static const char *try_cookies(void)
{
	unsigned before = 0, after = 0, total = 300;
	char name[32];

	if (mkdir("many", 0700) < 0)
		broken("mkdir");
	for (unsigned i = 0; i < total; i++) {
		snprintf(name, sizeof(name), "many/%u", i);
		close(make(name, 0));
	}
	DIR *dir = opendir("many");
	struct dirent *entry;
	while (dir && before < total / 2 && (entry = readdir(dir))) {
		snprintf(name, sizeof(name), "many/%.20s", entry->d_name);
		if (entry->d_name[0] != '.' && ++before < total / 3 && unlink(name) < 0)
			broken(name);
	}
	long place = dir ? telldir(dir) : -1;
	if (place < 0)
		broken("telldir");
	closedir(dir);
	dir = opendir("many");
	if (!dir)
		broken("opendir");
	seekdir(dir, place);
	while ((entry = readdir(dir)))
		after += entry->d_name[0] != '.';
	closedir(dir);
	return before + after == total ? "yes" : "no";
}

/* The number behind `word` in what vsockfsctl(1) prints, or 0. */
static unsigned stats(const char *word)
{
	const char *program = getenv("VSOCKFSCTL");
	char command[4096], line[1024];
	unsigned count = 0;

	snprintf(command, sizeof(command), "%s stats '%s'", program ? program : "vsockfsctl",
		mount_point);
	FILE *shown = popen(command, "r");
	while (shown && fgets(line, sizeof(line), shown)) {
		const char *at = line + strspn(line, " ");
		if (strncmp(at, word, strlen(word)) == 0 && at[strlen(word)] == ' ')
			count = (unsigned)strtoul(at + strlen(word), NULL, 10);
	}
	if (!shown || pclose(shown) != 0)
		broken(command);
	return count;
}

/* What is not there is asked for once. */
static const char *try_copy_by(const char *op, const char *other)
{
	unsigned before = 0;
	int from = make("from", MIB), to = make("to", 1);

	for (int i = 0; i < 2; i++) {
		loff_t in = 0, out = 0;
		before = stats(op) + (other ? stats(other) : 0);
		if (copy_file_range(from, &in, to, &out, MIB, 0) != MIB)
			broken("copy_file_range");
	}
	close(from);
	close(to);
	return stats(op) + (other ? stats(other) : 0) > before ? "yes" : "no";
}

static const char *try_copy(void)
{
	return try_copy_by("COPY", "CLONE");
}

static const char *try_clone(void)
{
	return try_copy_by("CLONE", NULL);
}

static const char *try_delegations(void)
{
	const struct timespec pause = {.tv_nsec = 100000000};
	char name[32];

	for (int i = 0; i < 10 * wait_s; i++) {
		snprintf(name, sizeof(name), "delegated%d", i);
		close(make(name, 1));
		for (int j = 0; j < 2; j++) {
			int fd = open(name, O_RDONLY);
			if (fd < 0 || read(fd, buffer, 1) != 1)
				broken(name);
			close(fd);
		}
		if (stats("delegations") > 0)
			return "yes";
		nanosleep(&pause, NULL);
	}
	return "no";
}

static const struct {
	const char *name;
	const char *(*try)(void);
} rows[] = {
	{"fallocate, mode 0", try_allocate},
	{"PUNCH_HOLE", try_punch},
	{"ZERO_RANGE", try_zero},
	{"SEEK_DATA, SEEK_HOLE", try_seek},
	{"copies on the server", try_copy},
	{"shared blocks", try_clone},
	{"user.*", try_user},
	{"security.selinux", try_label},
	{"system.nfs4_acl", try_acl},
	{"system.nfs4_dacl", try_dacl},
	{"system.nfs4_sacl", try_sacl},
	{"system.posix_acl_access", try_posix},
	{"system.posix_acl_default", try_posix_default},
	{"time of birth", try_birth},
	{"times in nanoseconds", try_nanoseconds},
	{"quotas in statfs", try_quota},
	{"pipes, sockets, devices", try_special},
	{"seekdir after removals", try_cookies},
	{"delegations", try_delegations},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

/* What the table says of a row: into `value`. */
static bool find(FILE *table, const char *name, char *value, size_t size)
{
	size_t len = strlen(name);

	rewind(table);
	while (fgets(value, (int)size, table)) {
		value[strcspn(value, "\n")] = '\0';
		if (strncmp(value, name, len) == 0 && value[len] == '\t') {
			memmove(value, value + len + 1, strlen(value + len));
			return true;
		}
	}
	return false;
}

static int compare(FILE *table, const char *name, const char *found)
{
	char said[256];

	if (!find(table, name, said, sizeof(said)))
		snprintf(said, sizeof(said), "nothing");
	if (strcmp(said, found) == 0)
		return 0;
	fprintf(stderr, "matrix: %s: the manual says %s\n", name, said);
	return 1;
}

static int count_lines(FILE *table)
{
	int c, lines = 0;

	rewind(table);
	while ((c = getc(table)) != EOF)
		lines += c == '\n';
	return lines;
}

int main(int argc, char **argv)
{
	FILE *table = NULL;
	char place[] = "matrix-XXXXXX";
	int option, differ = 0;

	while ((option = getopt(argc, argv, "w:")) == 'w')
		wait_s = atoi(optarg);
	argv += optind;
	if (option != -1 || argc - optind < 2 || argc - optind > 3)
		return 2;
	if (argc - optind == 3 && !(table = fopen(argv[2], "r")))
		broken(argv[2]);
	mount_point = argv[0];
	if (attrs_ask(argv[1], &supported) < 0 || chdir(argv[0]) < 0 || !mkdtemp(place) ||
		chdir(place) < 0)
		broken(argv[0]);
	for (size_t i = 0; i < ROWS; i++) {
		const char *found = rows[i].try();
		printf("%s\t%s\n", rows[i].name, found);
		if (table)
			differ += compare(table, rows[i].name, found);
	}
	if (table && count_lines(table) != (int)ROWS) {
		fprintf(stderr, "matrix: the manual has other rows\n");
		differ++;
	}
	return differ > 0;
}
