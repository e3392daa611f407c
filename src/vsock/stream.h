/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_VSOCK_STREAM_H
#define VSOCKFS_VSOCK_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "util/loop.h"
#include "vsock/address.h"
#include "vsock/tls.h"

/*
 * One connected byte stream (AF_VSOCK, Unix or TCP) on one loop, whose thread makes every call and
 * gets every callback. Sends are gathered and leave in one sendmsg(2) per turn of the loop
 * (or at once with stream_flush); receives name their own buffer, one at a time, so that a payload
 * lands where it is wanted.
 */

struct stream;

struct stream_config {
	bool reserved_port;   /* bind below 1024 (vsock and tcp); EACCES without the right */
	uint32_t buffer_size; /* bytes of socket buffer to ask for each way, 0: the kernel's */
	uint64_t connect_timeout_ns; /* 0: the kernel's */
};

/*
 * Bytes to send. The iovecs and what they point to stay valid until `sent` is called: when the
 * kernel has taken all of it (err 0), or when the stream ended first (err -errno).
 */
#define STREAM_MSG_IOV 4
struct stream_msg {
	struct iovec iov[STREAM_MSG_IOV];
	unsigned niov;
	void (*sent)(struct stream_msg *msg, int err);
	/* private */
	size_t done; /* bytes the kernel has taken */
	TAILQ_ENTRY(stream_msg) entry;
};

struct stream_ops {
	/*
	 * The connection is made (0) or failed (-errno). After a failure the owner closes the
	 * stream (from here or later), and only `sent` and `closed` follow.
	 */
	void (*connected)(void *arg, int err);
	/* End of a stream_recv: bytes received, 0 at end of stream, -errno. */
	void (*received)(void *arg, ssize_t result);
	/* A send failed: -errno. The owner closes the stream; reported once, from the loop. */
	void (*broken)(void *arg, int err);
	/* Last callback, after stream_close: no buffer is in use any more, the stream is gone. */
	void (*closed)(void *arg);
	/* End of stream_secure: 0, or -errno, with stream_why; the owner closes the stream then. */
	void (*secured)(void *arg, int err);
};

/*
 * Starts to connect to `address`; never blocks (but on a TCP name, see address_resolve). 0 and
 * *stream, after which `connected` is called from the loop; or -errno and nothing is called:
 * -EACCES no reserved port may be bound, -EAFNOSUPPORT no such address family in this kernel, ...
 */
int stream_connect(struct loop *loop, const struct address *address,
	const struct stream_config *config, const struct stream_ops *ops, void *arg,
	struct stream **stream);

/*
 * Takes over a connected socket (tests, socketpair), and closes it on failure. As
 * stream_connect; `connected` is called too.
 */
int stream_adopt(struct loop *loop, int fd_take, const struct stream_ops *ops, void *arg,
	struct stream **stream);

/*
 * Receives up to `len` bytes (all of them with `wait_all`), len > 0. Only after `connected`,
 * and one at a time.
 */
void stream_recv(struct stream *stream, void *data, size_t len, bool wait_all);

/* Queues `msg` behind what is queued; also before `connected`. Never calls back from here. */
void stream_send(struct stream *stream, struct stream_msg *msg);
/*
 * Hands the queue to the kernel now and may call `sent`, which tests need to see what one send
 * does. Otherwise it happens before the loop sleeps; who sends from a loop hook that comes after
 * the stream's lets it return true.
 */
void stream_flush(struct stream *stream);

/*
 * Makes the stream one of TLS, with a handshake that ends with `secured`; bytes are sent and
 * received as before afterwards. Nothing is queued or received meanwhile. Errors of the stream may
 * then also be -EKEYREJECTED, -EBADMSG and -EKEYEXPIRED (tls.h). 0, -ENOMEM, or -EOPNOTSUPP: built
 * without TLS.
 */
#ifdef VSOCKFS_TLS
int stream_secure(struct stream *stream, const struct tls_context *context);
#else
static inline int stream_secure(struct stream *stream, const struct tls_context *context)
{
	(void)stream;
	(void)context;
	return -EOPNOTSUPP;
}
#endif
/* What TLS says of an error, or NULL. Valid as long as the stream. */
const char *stream_why(const struct stream *stream);

/*
 * Ends the stream and calls nothing from here: from the loop, messages not taken by the
 * kernel get `sent(-ECANCELED)`, then comes `closed`. A receive under way ends without `received`.
 * Nothing may be called on the stream after this. Any callback but `closed` may call it.
 */
void stream_close(struct stream *stream);

#endif
