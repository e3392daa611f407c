/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A generator for systemd (systemd.generator(7)): mounts what the host has handed to this virtual
 * machine, with nothing configured inside. It never makes the boot fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "generator/cmdline.h"
#include "generator/entry.h"
#include "generator/unit.h"
#include "util/log.h"

#define GENERATOR_CREDENTIAL "/run/credentials/@system/vsockfs.fstab"
#define GENERATOR_CMDLINE    "/proc/cmdline"
/* A credential may have a megabyte; this is some hundred shares. */
#define GENERATOR_TEXT_MAX  (64 << 10)
#define GENERATOR_COUNT_MAX 256

struct generator {
	int dir_fd;
	const char *origin;
	unsigned line, count;
};

/* All of a file, as text, or NULL with errno (0: it is too long). */
static char *generator_read(const char *path, size_t *len)
{
	char *text = malloc(GENERATOR_TEXT_MAX + 1);
	int fd = text ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n = -1;
	*len = 0;
	while (fd >= 0 && (n = read(fd, text + *len, GENERATOR_TEXT_MAX + 1 - *len)) > 0)
		*len += (size_t)n;
	int saved = errno;
	if (fd >= 0)
		close(fd);
	if (n == 0 && *len <= GENERATOR_TEXT_MAX)
		return text;
	free(text);
	errno = n < 0 ? saved : 0;
	return NULL;
}

static void generator_take(
	struct generator *generator, int err, const struct entry *entry, const char *why)
{
	if (err > 0)
		return;
	if (!err && ++generator->count > GENERATOR_COUNT_MAX) {
		if (generator->count == GENERATOR_COUNT_MAX + 1)
			log_error("%s: too many shares", generator->origin);
		return;
	}
	if (!err) {
		err = unit_write(generator->dir_fd, entry, generator->origin);
		why = err == -EEXIST ? "an earlier one has the same mount point" : strerror(-err);
	}
	if (err)
		log_error("%s, share %u: %s", generator->origin, generator->line, why);
}

static void generator_read_credential(struct generator *generator)
{
	struct entry entry;
	const char *why = NULL;
	size_t len;
	char *text = generator_read(GENERATOR_CREDENTIAL, &len);
	if (!text) {
		if (errno != ENOENT)
			log_error("%s: %s", GENERATOR_CREDENTIAL,
				errno ? strerror(errno) : "too long");
		return;
	}
	generator->origin = GENERATOR_CREDENTIAL;
	generator->line = 0;
	for (const char *p = text, *end = text + len; p < end;) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		size_t n = (size_t)((newline ? newline : end) - p);
		generator->line++;
		int err = entry_parse_line(p, n, &entry, &why);
		generator_take(generator, err, &entry, why);
		p += n + (newline != NULL);
	}
	free(text);
}

static void generator_read_cmdline(struct generator *generator)
{
	struct entry entry;
	const char *why = NULL, *at;
	char value[CMDLINE_VALUE_MAX];
	size_t len;
	char *text = generator_read(GENERATOR_CMDLINE, &len);
	if (!text)
		return;
	text[len < GENERATOR_TEXT_MAX ? len : GENERATOR_TEXT_MAX] = '\0';
	generator->origin = GENERATOR_CMDLINE;
	generator->line = 0;
	for (at = text; cmdline_next(&at, "vsockfs.mount=", value);) {
		generator->line++;
		int err = entry_parse_word(value, strlen(value), &entry, &why);
		generator_take(generator, err, &entry, why);
	}
	free(text);
}

/* Only the host of a virtual machine has a say here, not who starts a container; an initramfs
 * mounts its root and nothing else. */
static bool generator_applies(void)
{
	const char *kind = getenv("SYSTEMD_VIRTUALIZATION");
	const char *initrd = getenv("SYSTEMD_IN_INITRD");
	return kind && strncmp(kind, "vm:", 3) == 0 && !(initrd && strcmp(initrd, "1") == 0);
}

int main(int argc, char **argv)
{
	struct generator generator = {0};
	log_set_name("vsockfs-generator");
	log_init(LOG_TARGET_STDERR, false);
	if (argc != 2 && argc != 4) {
		log_error("called by systemd with three directories");
		return 1;
	}
	if (!generator_applies())
		return 0;
	/* There is no journal yet. */
	log_init(LOG_TARGET_KMSG, false);
	umask(022);
	/* The last of the three: what is in fstab, or in a unit, comes first. */
	generator.dir_fd = open(argv[argc - 1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (generator.dir_fd < 0) {
		log_error("%s: %s", argv[argc - 1], strerror(errno));
		return 1;
	}
	generator_read_credential(&generator);
	generator_read_cmdline(&generator);
	close(generator.dir_fd);
	return 0;
}
