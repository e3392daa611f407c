/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "generator/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vsock/address.h"

#define UNIT_TARGET	   "local-fs.target"
#define UNIT_VSOCK_MODULES "modprobe@fuse.service modprobe@vmw_vsock_virtio_transport.service"

static bool is_plain(char c, bool first)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == ':' || c == '_' || (c == '.' && !first);
}

int unit_name(const char *where, const char *suffix, char out[UNIT_NAME_MAX])
{
	size_t n = 0;
	const char *path = where + strspn(where, "/");
	for (const char *p = path; *p; p++) {
		if (n + 4 >= UNIT_NAME_MAX)
			return -ENAMETOOLONG;
		if (*p == '/')
			out[n++] = '-';
		else if (is_plain(*p, p == path))
			out[n++] = *p;
		else
			n += (size_t)snprintf(out + n, 5, "\\x%02x", (unsigned char)*p);
	}
	if (n + strlen(suffix) >= UNIT_NAME_MAX)
		return -ENAMETOOLONG;
	memcpy(out + n, suffix, strlen(suffix) + 1);
	return 0;
}

/* A setting, its value taken as it is: "%" begins a specifier. */
static void put(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=", name);
	for (; *value; value++)
		fputs(*value == '%' ? "%%" : (const char[]){*value, '\0'}, out);
	fputc('\n', out);
}

/* A new file in the directory, or NULL with errno. */
static FILE *create(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	if (fd >= 0 && !out)
		close(fd);
	return out;
}

static int finish(FILE *out)
{
	int err = ferror(out) ? -EIO : 0;
	return fclose(out) != 0 && !err ? -errno : err;
}

static bool uses_vsock(const struct entry *entry)
{
	struct address address;
	const char *path, *why;
	return address_parse_source(entry->source, &address, &path, &why) == 0 &&
	       address.proto == ADDRESS_VSOCK;
}

static void put_head(FILE *out, const char *origin)
{
	fputs("# Written by vsockfs-generator.\n[Unit]\n", out);
	fputs("Documentation=man:vsockfs-generator(8) man:vsockfs(1)\n", out);
	put(out, "SourcePath", origin);
}

static int write_mount(int dir_fd, const char *name, const struct entry *entry, const char *origin)
{
	FILE *out = create(dir_fd, name);
	if (!out)
		return -errno;
	put_head(out, origin);
	if (!entry->nofail && !entry->automount && !entry->noauto)
		put(out, "Before", UNIT_TARGET);
	if (uses_vsock(entry)) {
		put(out, "Wants", UNIT_VSOCK_MODULES);
		put(out, "After", UNIT_VSOCK_MODULES);
	}
	fputs("\n[Mount]\n", out);
	put(out, "What", entry->source);
	put(out, "Where", entry->where);
	put(out, "Type", "fuse.vsockfs");
	if (entry->options[0])
		put(out, "Options", entry->options);
	if (entry->mount_timeout[0])
		put(out, "TimeoutSec", entry->mount_timeout);
	return finish(out);
}

static int write_automount(
	int dir_fd, const char *name, const struct entry *entry, const char *origin)
{
	FILE *out = create(dir_fd, name);
	if (!out)
		return -errno;
	put_head(out, origin);
	if (!entry->nofail)
		put(out, "Before", UNIT_TARGET);
	fputs("\n[Automount]\n", out);
	put(out, "Where", entry->where);
	if (entry->idle_timeout[0])
		put(out, "TimeoutIdleSec", entry->idle_timeout);
	return finish(out);
}

static int pull_in(int dir_fd, const char *name, bool nofail)
{
	const char *directory = nofail ? UNIT_TARGET ".wants" : UNIT_TARGET ".requires";
	char link[UNIT_NAME_MAX + 64], target[UNIT_NAME_MAX + 4];
	if (mkdirat(dir_fd, directory, 0755) < 0 && errno != EEXIST)
		return -errno;
	snprintf(link, sizeof(link), "%s/%s", directory, name);
	snprintf(target, sizeof(target), "../%s", name);
	return symlinkat(target, dir_fd, link) < 0 ? -errno : 0;
}

int unit_write(int dir_fd, const struct entry *entry, const char *origin)
{
	char mount[UNIT_NAME_MAX], automount[UNIT_NAME_MAX];
	int err = unit_name(entry->where, ".mount", mount);
	if (!err)
		err = unit_name(entry->where, ".automount", automount);
	if (!err)
		err = write_mount(dir_fd, mount, entry, origin);
	if (!err && entry->automount)
		err = write_automount(dir_fd, automount, entry, origin);
	if (!err && !entry->noauto)
		err = pull_in(dir_fd, entry->automount ? automount : mount, entry->nofail);
	return err;
}
