/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mountinfo.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

#define MOUNTINFO_NOSYMFOLLOW 256 /* MS_NOSYMFOLLOW, which older headers lack */

void mountinfo_unescape(char *text)
{
	char *out = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' &&
			text[2] <= '7' && text[3] >= '0' && text[3] <= '7') {
			*out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 |
					(text[3] - '0'));
			text += 3;
		} else {
			*out++ = *text;
		}
	}
	*out = '\0';
}

static bool copy_field(char *out, size_t size, char *field)
{
	mountinfo_unescape(field);
	size_t len = strlen(field);
	if (len >= size)
		return false;
	memcpy(out, field, len + 1);
	return true;
}

static void parse_user(struct mountinfo *info, const char *super_options)
{
	const char *p = strstr(super_options, ",user_id=");

	info->fuse_user = p;
	info->user = p ? (uid_t)strtoul(p + strlen(",user_id="), NULL, 10) : 0;
	p = strstr(super_options, ",gid=");
	info->has_gid = p;
	info->gid = p ? (gid_t)strtoul(p + strlen(",gid="), NULL, 10) : 0;
}

bool mountinfo_has(const char *list, const char *word, size_t len)
{
	while (*list) {
		size_t n = strcspn(list, ",");
		if (n == len && memcmp(list, word, len) == 0)
			return true;
		list += n + (list[n] == ',');
	}
	return false;
}

static unsigned long parse_flags(const char *list)
{
	static const struct {
		const char *word;
		unsigned long flag;
	} flags[] = {{"ro", MS_RDONLY}, {"nosuid", MS_NOSUID}, {"nodev", MS_NODEV},
		{"noexec", MS_NOEXEC}, {"sync", MS_SYNCHRONOUS}, {"dirsync", MS_DIRSYNC},
		{"noatime", MS_NOATIME}, {"nodiratime", MS_NODIRATIME}, {"relatime", MS_RELATIME},
		{"nosymfollow", MOUNTINFO_NOSYMFOLLOW}};
	unsigned long found = 0;

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (mountinfo_has(list, flags[i].word, strlen(flags[i].word)))
			found |= flags[i].flag;
	return found;
}

/* "36 35 0:98 / /mnt rw,noatime shared:1 - fuse.vsockfs 2:/export rw,user_id=0" */
static bool parse_line(char *line, const char *path, const char *type, struct mountinfo *info)
{
	char *fields[6], *save = NULL, *tail = strstr(line, " - ");
	struct mountinfo found;

	if (!tail)
		return false;
	*tail = '\0';
	for (unsigned i = 0; i < 6; i++) {
		fields[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!fields[i])
			return false;
	}
	mountinfo_unescape(fields[4]);
	if (strcmp(fields[4], path) != 0)
		return false;
	if (sscanf(fields[0], "%" SCNu32, &found.id) != 1 ||
		sscanf(fields[2], "%" SCNu32 ":%" SCNu32, &found.major, &found.minor) != 2)
		return false;

	char *its_type = strtok_r(tail + 3, " ", &save);
	char *source = strtok_r(NULL, " ", &save);
	char *super_options = strtok_r(NULL, " \n", &save);
	if (!super_options || !copy_field(found.type, sizeof(found.type), its_type) ||
		!copy_field(found.source, sizeof(found.source), source) ||
		(type && strcmp(found.type, type) != 0))
		return false;
	parse_user(&found, super_options);
	found.flags = parse_flags(fields[5]) | parse_flags(super_options);
	snprintf(found.super, sizeof(found.super), "%s", super_options);
	*info = found;
	return true;
}

int mountinfo_find(FILE *file, const char *path, const char *type, struct mountinfo *info)
{
	char *line = NULL;
	size_t size = 0;
	bool found = false;

	/* A mount that hides another one on the same place is listed after it. */
	errno = 0;
	while (getline(&line, &size, file) >= 0)
		if (parse_line(line, path, type, info))
			found = true;
	free(line);
	if (ferror(file))
		return errno ? -errno : -EIO;
	return found ? 0 : -ENOENT;
}

int mountinfo_find_self(const char *path, struct mountinfo *info)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");

	if (!file)
		return -errno;
	int r = mountinfo_find(file, path, NULL, info);
	fclose(file);
	return r;
}

int mountinfo_find_device(uint32_t major, uint32_t minor)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t size = 0;
	uint32_t ids[2], device[2];
	bool found = false;

	if (!file)
		return -errno;
	while (!found && getline(&line, &size, file) >= 0)
		found = sscanf(line, "%" SCNu32 " %" SCNu32 " %" SCNu32 ":%" SCNu32, &ids[0],
				&ids[1], &device[0], &device[1]) == 4 &&
			device[0] == major && device[1] == minor;
	int err = found ? 0 : ferror(file) ? -EIO : -ENOENT;
	free(line);
	fclose(file);
	return err;
}

int mountinfo_find_path(const char *path, char resolved[PATH_MAX], struct mountinfo *info)
{
	int r = mountinfo_canonical(path, resolved);

	if (r == 0)
		r = mountinfo_find_self(resolved, info);
	if (r == -ENOENT && realpath(path, resolved))
		r = mountinfo_find_self(resolved, info);
	return r;
}

int mountinfo_canonical(const char *path, char out[PATH_MAX])
{
	size_t len = strlen(path);

	if (len == 0)
		return -ENOENT;
	if (len >= PATH_MAX)
		return -ENAMETOOLONG;
	while (len > 1 && path[len - 1] == '/')
		len--;
	size_t dir = len;
	while (dir > 0 && path[dir - 1] != '/')
		dir--;
	const char *last = path + dir;
	size_t last_len = len - dir;

	/* "/", "." and ".." name no component of their parent. */
	if (last_len == 0 || (last_len <= 2 && memcmp(last, "..", last_len) == 0))
		return realpath(path, out) ? 0 : -errno;

	char parent[PATH_MAX];
	memcpy(parent, dir ? path : ".", dir ? dir : 1);
	parent[dir ? dir : 1] = '\0';
	if (!realpath(parent, out))
		return -errno;
	size_t out_len = strlen(out);
	if (out_len == 1)
		out_len = 0;
	if (out_len + 1 + last_len >= PATH_MAX)
		return -ENAMETOOLONG;
	out[out_len] = '/';
	memcpy(out + out_len + 1, last, last_len);
	out[out_len + 1 + last_len] = '\0';
	return 0;
}
