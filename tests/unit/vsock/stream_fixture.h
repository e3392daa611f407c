/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TESTS_STREAM_FIXTURE_H
#define VSOCKFS_TESTS_STREAM_FIXTURE_H

#include "../util/loop_fixture.h"

#include "vsock/stream.h"

/* An end of a stream that writes down what it is told; a script may be hung on each event. */

struct end {
	struct fixture *f;
	struct stream *stream;
	unsigned connected, received, broken, closed;
	int connect_err, broken_err;
	ssize_t result;
	void (*on_connected)(struct end *end);
	void (*on_received)(struct end *end);
	void (*on_broken)(struct end *end);
};

/* A message that writes down its end; `order` counts the ends of all messages. */
struct letter {
	struct stream_msg msg;
	unsigned sent, order;
	int err;
	void (*on_sent)(struct letter *letter);
	struct end *end;
};

extern const struct stream_ops end_ops;

/* Makes what the loop runs next stop it: connected, received, broken and closed all do. */
struct end *end_new(struct fixture *f);
void end_adopt(struct end *end, int fd);
/* Closes the stream, if it has one, and waits for it. */
void end_free(struct end *end);

/* One buffer to send. */
void letter_init(struct letter *letter, struct end *end, const void *data, size_t len);
struct letter *letter_new(struct end *end, const void *data, size_t len);
void letter_reset_order(void);

/* Reads or writes all of it on a blocking descriptor, or fails the test. */
void read_all(int fd, void *data, size_t len);
void write_all(int fd, const void *data, size_t len);

#endif
