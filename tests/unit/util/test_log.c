/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "util/log.h"

/* These stand in front of libc's, for the log and for this program alike. */
static char syslog_line[4096];
static int syslog_priority, syslog_options;

void openlog(const char *ident, int options, int facility)
{
	assert_string_equal(ident, "vsockfs");
	assert_int_equal(facility, LOG_DAEMON);
	syslog_options = options;
}

static void take_syslog(int priority, const char *format, va_list args)
{
	syslog_priority = priority;
	vsnprintf(syslog_line, sizeof(syslog_line), format, args);
}

void syslog(int priority, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	take_syslog(priority, format, args);
	va_end(args);
}

/* what syslog is when compiled with _FORTIFY_SOURCE */
void __syslog_chk(int priority, int flag, const char *format, ...);

void __syslog_chk(int priority, int flag, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	take_syslog(priority, format, args);
	va_end(args);
}

/* stderr goes into a pipe from capture_begin to capture_end, which returns what was written. */
static int capture_pipe[2], capture_saved;
static char captured[8192];

static void capture_begin(void)
{
	assert_int_equal(pipe2(capture_pipe, O_NONBLOCK), 0);
	capture_saved = dup(STDERR_FILENO);
	dup2(capture_pipe[1], STDERR_FILENO);
}

static const char *capture_end(void)
{
	ssize_t n;

	dup2(capture_saved, STDERR_FILENO);
	close(capture_saved);
	n = read(capture_pipe[0], captured, sizeof(captured) - 1);
	captured[n > 0 ? n : 0] = '\0';
	close(capture_pipe[0]);
	close(capture_pipe[1]);
	return captured;
}

static void test_lines_on_stderr(void **state)
{
	unsetenv("JOURNAL_STREAM");
	log_init(LOG_TARGET_STDERR, false);
	capture_begin();
	log_error("a %s", "word");
	log_warn("b");
	log_info("c %d", 7);
	assert_string_equal(capture_end(), "vsockfs: a word\nvsockfs: b\nvsockfs: c 7\n");
}

static void test_debug_only_when_asked(void **state)
{
	log_init(LOG_TARGET_STDERR, false);
	assert_false(log_debug_enabled());
	capture_begin();
	log_debug("hidden");
	assert_string_equal(capture_end(), "");
	log_init(LOG_TARGET_STDERR, true);
	assert_true(log_debug_enabled());
	capture_begin();
	log_debug("shown");
	assert_string_equal(capture_end(), "vsockfs: shown\n");
}

static void test_control_bytes_are_made_visible(void **state)
{
	log_init(LOG_TARGET_STDERR, false);
	capture_begin();
	log_error("%s", "x\ny\033[2J\x7f \xc3\xa9");
	assert_string_equal(capture_end(), "vsockfs: x\\x0ay\\x1b[2J\\x7f \xc3\xa9\n");
}

static void test_long_lines_are_cut(void **state)
{
	char text[6000];
	const char *line;

	memset(text, '\n', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	log_init(LOG_TARGET_STDERR, false);
	capture_begin();
	log_error("%s", text);
	line = capture_end();
	assert_in_range(strlen(line), 1000, 2048);
	assert_int_equal(line[strlen(line) - 1], '\n');
	assert_int_equal(strcspn(line, "\n"), strlen(line) - 1);
}

static void test_errno_is_kept(void **state)
{
	log_init(LOG_TARGET_STDERR, false);
	capture_begin();
	errno = ENOENT;
	log_error("%m");
	assert_string_equal(capture_end(), "vsockfs: No such file or directory\n");

	/* also when the write fails */
	capture_begin();
	close(STDERR_FILENO);
	errno = ENOENT;
	log_error("lost");
	assert_int_equal(errno, ENOENT);
	capture_end();
}

static void test_priorities_for_the_journal(void **state)
{
	struct stat st;
	char stream[64];

	capture_begin();
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init(LOG_TARGET_STDERR, true);
	log_error("e");
	log_warn("w");
	log_info("i");
	log_debug("d");
	assert_string_equal(capture_end(), "<3>e\n<4>w\n<6>i\n<7>d\n");

	/* inherited from a service whose stderr went elsewhere since */
	capture_begin();
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + 1);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init(LOG_TARGET_STDERR, true);
	log_error("e");
	assert_string_equal(capture_end(), "vsockfs: e\n");
	unsetenv("JOURNAL_STREAM");
}

static void test_syslog(void **state)
{
	log_init(LOG_TARGET_SYSLOG, false);
	/* opened at once: after switch-root there is no /dev/log any more */
	assert_true(syslog_options & LOG_NDELAY);
	capture_begin();
	log_warn("%s%d\n", "100%s", 5);
	assert_string_equal(capture_end(), "");
	assert_int_equal(syslog_priority, LOG_WARNING);
	assert_string_equal(syslog_line, "100%s5\\x0a");
	log_init(LOG_TARGET_STDERR, false);
}

static void test_limit(void **state)
{
	const uint64_t start = UINT64_C(1000000000000);
	struct log_limit limit = {0};

	capture_begin();
	for (unsigned i = 0; i < LOG_LIMIT_BURST; i++)
		assert_true(log_limit_pass(&limit, start));
	for (unsigned i = 0; i < 7; i++)
		assert_false(log_limit_pass(&limit, start + LOG_LIMIT_PACE / 2));
	assert_string_equal(capture_end(), "");
	capture_begin();
	assert_true(log_limit_pass(&limit, start + LOG_LIMIT_PACE));
	assert_string_equal(capture_end(), "vsockfs: 7 messages like the next one were left out\n");
	assert_false(log_limit_pass(&limit, start + LOG_LIMIT_PACE));
	/* after a long silence all are there again, and no more */
	for (unsigned i = 0; i < LOG_LIMIT_BURST; i++)
		assert_true(log_limit_pass(&limit, start + 1000 * LOG_LIMIT_PACE));
	assert_false(log_limit_pass(&limit, start + 1000 * LOG_LIMIT_PACE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines_on_stderr),
		cmocka_unit_test(test_debug_only_when_asked),
		cmocka_unit_test(test_control_bytes_are_made_visible),
		cmocka_unit_test(test_long_lines_are_cut),
		cmocka_unit_test(test_errno_is_kept),
		cmocka_unit_test(test_priorities_for_the_journal),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_syslog),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
