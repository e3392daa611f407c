/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_RPC_SIDE_H
#define TESTS_RPC_SIDE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "messages.h"
#include "rpc/conn.h"

/* One end of a connection under test, with the other end in the test's hand. */

#define MAX_CALL 4096
#define ROOM	 (1 << 20)
#define SECOND	 UINT64_C(1000000000)

struct side;

/* Memory of its own, so that the sanitizer sees whoever uses it after `done`. */
struct test_call {
	struct rpc_call call;
	struct side *side;
	unsigned number;
	uint8_t head[RPC_MSG_HEAD_MAX + 64];
	uint8_t *sink;
	struct bytes tail;
	void (*then)(struct side *side); /* called by `done` */
};

/* What happened to it. */
struct side {
	struct rpc_conn *conn;
	struct rpc_cred *cred;
	unsigned ups, downs, called, calls;
	int down_err;
	unsigned done, order[512]; /* numbers of the calls done */
	int errs[512];
	struct bytes results, sunk; /* of the last call done */
	struct rpc_msg_call asked;
	struct bytes arguments;
	bool answer;
	int called_result, done_result;
	uint64_t sent_at, replied_at;
	size_t bytes_out, bytes_in;
	const char *reason;
};

extern struct loop *loop;
extern unsigned sendmsgs; /* sendmsg(2) calls so far */
extern const struct rpc_conn_ops side_ops;

/* Opens on the socket `fd`, if it is not negative. */
void side_init(struct side *side, int fd);
/* Its connection has ended. */
void side_deinit(struct side *side);
/* Opens a side; returns the other end of its socket, for bytes of any kind. */
int open_raw(struct side *side);
/* Ends it if it has not ended. */
void close_side(struct side *side);

struct test_call *new_call(struct side *side, size_t tail_len, bool sink);
/* A small call; returns its xid. */
uint32_t send_call(struct side *side, bool sink);

/* Runs until `side` has seen so many ends of calls, of the connection, and calls; 10 s at most. */
void run_until(struct side *side, unsigned done, unsigned downs, unsigned called);
/* Long enough for what is queued to leave and what is here to be read. */
void run_for(uint64_t ns);

void write_all(int fd, const void *data, size_t len);
void write_reply(int fd, uint32_t xid, size_t len);
/* `n` calls with 12 bytes of arguments, xid 42. */
void write_server_calls(int fd, unsigned n);

/* Between the two the log is caught; one line about `peer` says `what`, or NULL: nothing. */
void capture_log(void);
void assert_log(const char *peer, const char *what);

/* For main: argv[1] is the loop's back end. */
int run_on_backend(
	const char *name, int argc, char **argv, const struct CMUnitTest *tests, size_t count);

#endif
