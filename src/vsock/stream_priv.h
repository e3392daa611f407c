/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_VSOCK_STREAM_PRIV_H
#define VSOCKFS_VSOCK_STREAM_PRIV_H

#include "vsock/stream.h"

/* A stream, as stream.c and what may lie between it and its socket (stream_tls.c) share it. */

enum stream_state {
	STREAM_CONNECTING,
	STREAM_OPEN,
	STREAM_FAILED, /* not connected, or a send failed: the owner has to close it */
	STREAM_CLOSED, /* by the owner; waits for the end of its operations */
};

TAILQ_HEAD(stream_queue, stream_msg);

struct stream_layer {
	/* stream_push and stream_recv in its own way */
	bool (*push)(struct stream *stream);
	void (*recv)(struct stream *stream, void *data, size_t len, bool wait_all);
	/* Its own stream_post has come. */
	void (*run)(struct stream *stream);
	/* The socket is still there; then it is not. */
	void (*close)(struct stream *stream);
	void (*free)(struct stream *stream);
	const char *(*why)(const struct stream *stream);
};

struct stream {
	struct loop *loop;
	const struct stream_ops *ops;
	void *arg;
	int fd;
	enum stream_state state;
	struct sockaddr_storage peer;
	socklen_t peer_len;
	uint64_t deadline; /* of the connect, 0: none */
	struct loop_timer timer;
	struct loop_task task; /* connected at once; closed */
	struct loop_hook hook; /* flushes, while open */
	struct loop_recv recv;
	struct loop_poll writable; /* end of connect; room to send */
	bool tasked, receiving, blocked, pushing;
	size_t send_max; /* bytes for one sendmsg */
	int send_err;	 /* to be reported as broken */
	struct stream_queue queue;
	const struct stream_layer *layer; /* NULL: bytes go as they are */
	void *layer_state;
};

#define STREAM_OF(member_pointer, member) \
	((struct stream *)((char *)(member_pointer)-offsetof(struct stream, member)))

static inline bool stream_can_write(const struct stream *stream)
{
	return stream->state == STREAM_OPEN && !stream->blocked && !stream->send_err;
}

/* stream.c */
void stream_post(struct stream *stream);
void stream_await_writable(struct stream *stream);
/* Once closed, the last operation to end brings the task that ends the stream. */
void stream_check_closed(struct stream *stream);
/* Gathers what is queued, up to send_max, into `iov`, of IOV_MAX; returns how many, and their
 * bytes. */
size_t stream_gather(const struct stream *stream, struct iovec *iov, size_t *bytes);
/* So many bytes of it were taken. True if a message was finished with them, and so called back. */
bool stream_advance(struct stream *stream, size_t n);
/* Sends until nothing is left or the kernel takes no more. True if it called back. */
bool stream_push(struct stream *stream);

#endif
