/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "caller.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The lines of interest come behind "Groups:", which few processes have more than a line of. */
#define TEXT_MAX 8192
/* include/linux/sched.h */
#define FLAG_EXITING 0x4u

#define BIT(sig) (UINT64_C(1) << ((sig)-1))
/* What is neither caught nor ignored ends a program, but for these. */
static const uint64_t harmless = BIT(SIGCHLD) | BIT(SIGCONT) | BIT(SIGURG) | BIT(SIGWINCH) |
				 BIT(SIGSTOP) | BIT(SIGTSTP) | BIT(SIGTTIN) | BIT(SIGTTOU);

static bool find_mask(const char *text, const char *key, uint64_t *mask)
{
	const char *line = strstr(text, key);
	if (!line)
		return false;
	*mask = strtoull(line + strlen(key), NULL, 16);
	return true;
}

int caller_parse_status(const char *text, size_t len)
{
	char copy[TEXT_MAX + 1];
	uint64_t own, shared, blocked, ignored, caught;
	len = len < TEXT_MAX ? len : TEXT_MAX;
	memcpy(copy, text, len);
	copy[len] = '\0';
	/* A name has its newlines escaped, so that it cannot pass for one of these. */
	if (!find_mask(copy, "\nSigPnd:\t", &own) || !find_mask(copy, "\nShdPnd:\t", &shared) ||
		!find_mask(copy, "\nSigBlk:\t", &blocked) ||
		!find_mask(copy, "\nSigIgn:\t", &ignored) ||
		!find_mask(copy, "\nSigCgt:\t", &caught))
		return -1;
	uint64_t fatal = (own | shared) & ~(blocked | ignored | caught | harmless);
	/* The kernel turns most fatal signals into this one at once. */
	fatal |= (own | shared) & BIT(SIGKILL);
	return fatal != 0;
}

bool caller_parse_stat(const char *text, size_t len)
{
	char state;
	unsigned flags;
	char copy[TEXT_MAX + 1];
	len = len < TEXT_MAX ? len : TEXT_MAX;
	memcpy(copy, text, len);
	copy[len] = '\0';
	/* the name may have anything in it */
	const char *end = strrchr(copy, ')');
	if (!end || sscanf(end + 1, " %c %*d %*d %*d %*d %*d %u", &state, &flags) != 2)
		return false;
	return state == 'Z' || state == 'X' || (flags & FLAG_EXITING);
}

/* Bytes read, or -errno. */
static ssize_t read_text(int proc_fd, pid_t tid, const char *name, char text[TEXT_MAX])
{
	char path[48];
	size_t len = 0;
	ssize_t n;
	snprintf(path, sizeof(path), "%d/%s", tid, name);
	int fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	do {
		n = read(fd, text + len, TEXT_MAX - len);
		if (n > 0)
			len += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	int err = n < 0 ? -errno : 0;
	close(fd);
	return err ? err : (ssize_t)len;
}

/* What /proc does not show may be hidden (hidepid=); this needs no right to look. */
static bool is_gone(pid_t tid)
{
	cpu_set_t cpus;
	return sched_getaffinity(tid, sizeof(cpus), &cpus) < 0 && errno == ESRCH;
}

enum caller caller_look(int proc_fd, pid_t tid)
{
	char text[TEXT_MAX];
	if (tid <= 0)
		return CALLER_UNKNOWN;
	if (is_gone(tid))
		return CALLER_ENDING;
	if (proc_fd < 0)
		return CALLER_UNKNOWN;
	ssize_t len = read_text(proc_fd, tid, "status", text);
	int fatal = len > 0 ? caller_parse_status(text, (size_t)len) : -1;
	if (fatal < 0)
		return CALLER_UNKNOWN;
	if (fatal)
		return CALLER_ENDING;
	len = read_text(proc_fd, tid, "stat", text);
	return len > 0 && caller_parse_stat(text, (size_t)len) ? CALLER_ENDING : CALLER_ALIVE;
}

void caller_comm(int proc_fd, pid_t tid, char out[CALLER_COMM_MAX])
{
	char text[TEXT_MAX] = {0};
	ssize_t len = proc_fd >= 0 && tid > 0 ? read_text(proc_fd, tid, "comm", text) : 0;
	size_t n = 0;
	while ((ssize_t)n < len && n < CALLER_COMM_MAX - 1 && text[n] != '\n')
		n++;
	if (n == 0)
		text[n++] = '?';
	memcpy(out, text, n);
	out[n] = '\0';
}
