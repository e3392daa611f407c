/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define LOG_LINE_MAX 2048 /* bytes, with the newline; longer messages are cut */
/* The kernel refuses longer records (PRINTKRB_RECORD_MAX less its prefix). */
#define LOG_KMSG_MAX 960

static enum log_target log_target = LOG_TARGET_STDERR;
static const char *log_name = "vsockfs";
static atomic_bool log_debug_on;
static bool log_journal; /* stderr is the journal's stream, which takes <N> prefixes */
static int log_kmsg_fd = -1;

/* JOURNAL_STREAM is "DEV:INODE" of the stream; programs run from a service inherit it too. */
static bool log_stderr_is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	uintmax_t dev, ino;
	struct stat st;

	return stream && sscanf(stream, "%" SCNuMAX ":%" SCNuMAX, &dev, &ino) == 2 &&
	       fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_set_name(const char *name)
{
	log_name = name;
}

static bool log_open_kmsg(void)
{
	if (log_kmsg_fd < 0)
		log_kmsg_fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	return log_kmsg_fd >= 0;
}

void log_init(enum log_target target, bool debug)
{
	log_debug_on = debug;
	if (target == LOG_TARGET_KMSG && !log_open_kmsg())
		return;
	log_target = target;
	log_journal = target == LOG_TARGET_STDERR && log_stderr_is_journal();
	if (target == LOG_TARGET_SYSLOG)
		openlog(log_name, LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void log_set_debug(bool debug)
{
	log_debug_on = debug;
}

bool log_debug_enabled(void)
{
	return log_debug_on;
}

/* Copies `text` with its control bytes made visible; returns the length written. */
static size_t log_escape(char *out, size_t size, const char *text)
{
	static const char hex[] = "0123456789abcdef";
	size_t len = 0;

	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		bool control = c < 0x20 || c == 0x7f;
		if (size - len <= (control ? 4 : 1))
			break;
		if (control) {
			out[len++] = '\\';
			out[len++] = 'x';
			out[len++] = hex[c >> 4];
			out[len++] = hex[c & 15];
		} else {
			out[len++] = *text;
		}
	}
	out[len] = '\0';
	return len;
}

static void log_write_stderr(int priority, const char *message)
{
	char line[LOG_LINE_MAX];
	size_t len;

	if (log_journal)
		len = (size_t)snprintf(line, sizeof(line), "<%d>", priority);
	else
		len = (size_t)snprintf(line, sizeof(line), "%s: ", log_name);
	len += log_escape(line + len, sizeof(line) - len, message);
	line[len++] = '\n'; /* in place of the NUL */
	/* One write keeps the lines of several threads whole. */
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
}

/* One write is one record, of the facility "daemon". */
static void log_write_kmsg(int priority, const char *message)
{
	char line[LOG_KMSG_MAX];
	size_t len = (size_t)snprintf(
		line, sizeof(line), "<%d>%s[%d]: ", LOG_DAEMON | priority, log_name, (int)getpid());

	len += log_escape(line + len, sizeof(line) - len, message);
	while (write(log_kmsg_fd, line, len) < 0 && errno == EINTR)
		;
}

__attribute__((format(printf, 2, 0))) static void log_message(
	int priority, const char *format, va_list args)
{
	int saved = errno;
	char message[LOG_LINE_MAX], escaped[LOG_LINE_MAX];

	vsnprintf(message, sizeof(message), format, args);
	if (log_target == LOG_TARGET_STDERR) {
		log_write_stderr(priority, message);
	} else if (log_target == LOG_TARGET_KMSG) {
		log_write_kmsg(priority, message);
	} else {
		log_escape(escaped, sizeof(escaped), message);
		syslog(priority, "%s", escaped);
	}
	errno = saved;
}

void log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_message(LOG_ERR, format, args);
	va_end(args);
}

void log_warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_message(LOG_WARNING, format, args);
	va_end(args);
}

void log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_message(LOG_INFO, format, args);
	va_end(args);
}

void log_debug(const char *format, ...)
{
	va_list args;

	if (!log_debug_on)
		return;
	va_start(args, format);
	log_message(LOG_DEBUG, format, args);
	va_end(args);
}

bool log_limit_pass(struct log_limit *limit, uint64_t now)
{
	uint64_t paid_at = atomic_load(&limit->paid_at), next;

	do {
		next = (paid_at > now ? paid_at : now) + LOG_LIMIT_PACE;
		if (next - now > LOG_LIMIT_BURST * LOG_LIMIT_PACE) {
			atomic_fetch_add(&limit->held, 1);
			return false;
		}
	} while (!atomic_compare_exchange_weak(&limit->paid_at, &paid_at, next));
	unsigned held = atomic_exchange(&limit->held, 0);
	if (held > 0)
		log_warn("%u messages like the next one were left out", held);
	return true;
}
