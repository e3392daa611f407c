/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "vsock/stream_priv.h"

/* Encrypted before the kernel is asked to take it. */
#define STREAM_TLS_BURST (4 * TLS_RECORD_MAX)
/* A shorter piece shares a record with what follows it, at the price of a copy. */
#define STREAM_TLS_ALONE (TLS_RECORD_MAX / 2)

/* Between a stream and its socket. */
struct stream_tls {
	struct tls *tls;
	bool shaking; /* hands */
	bool mute;    /* the peer does not listen any more: what it has said is still to be read */
	/* the owner's receive */
	bool wanted, wait_all, serving;
	uint8_t *data;
	size_t len, got;
	uint8_t stage[TLS_RECORD_MAX];
};

/* One record of what begins at `skip` in iov[*i]. Returns its bytes, or -errno. */
static ssize_t stream_tls_record(
	struct stream_tls *layer, const struct iovec *iov, size_t n, size_t *i, size_t *skip)
{
	const uint8_t *data = (const uint8_t *)iov[*i].iov_base + *skip;
	size_t len = iov[*i].iov_len - *skip;

	if (len >= STREAM_TLS_ALONE) {
		len = len < TLS_RECORD_MAX ? len : TLS_RECORD_MAX;
		*skip += len;
	} else {
		len = 0;
		while (*i < n && len < TLS_RECORD_MAX) {
			size_t left = iov[*i].iov_len - *skip, room = TLS_RECORD_MAX - len;
			size_t part = left < room ? left : room;
			memcpy(layer->stage + len, (const uint8_t *)iov[*i].iov_base + *skip, part);
			len += part;
			*skip += part;
			if (part < left)
				break;
			++*i;
			*skip = 0;
		}
		data = layer->stage;
	}
	if (*i < n && *skip == iov[*i].iov_len) {
		++*i;
		*skip = 0;
	}
	int err = tls_write(layer->tls, data, len);
	return err ? err : (ssize_t)len;
}

/* Takes some of what is queued. True if it called back. */
static bool stream_tls_encrypt(struct stream *stream)
{
	struct stream_tls *layer = stream->layer_state;
	struct iovec iov[IOV_MAX];
	size_t bytes, done = 0, i = 0, skip = 0;
	size_t n = stream_gather(stream, iov, &bytes);

	while (i < n && done < STREAM_TLS_BURST) {
		ssize_t len = stream_tls_record(layer, iov, n, &i, &skip);
		if (len < 0) {
			stream->send_err = (int)len;
			return false;
		}
		done += (size_t)len;
	}
	return stream_advance(stream, done);
}

static void stream_tls_write(struct stream *stream)
{
	struct stream_tls *layer = stream->layer_state;
	size_t len;
	const void *data = tls_output(layer->tls, &len);
	ssize_t n = send(stream->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n >= 0) {
		tls_sent(layer->tls, (size_t)n);
		if ((size_t)n < len)
			stream_await_writable(stream);
	} else if (errno == EAGAIN) {
		stream_await_writable(stream);
	} else if ((errno == EPIPE || errno == ECONNRESET) &&
		   (stream->receiving || layer->wanted)) {
		/* Why it has closed the connection may be on its way: an alert. */
		layer->mute = true;
	} else if (errno != EINTR) {
		stream->send_err = -errno;
	}
}

static bool stream_tls_push(struct stream *stream)
{
	struct stream_tls *layer = stream->layer_state;
	bool called = false;
	size_t len;

	while (stream_can_write(stream) && !layer->mute) {
		tls_output(layer->tls, &len);
		if (len > 0)
			stream_tls_write(stream);
		else if (!layer->shaking && !TAILQ_EMPTY(&stream->queue))
			called |= stream_tls_encrypt(stream);
		else
			break;
	}
	return called;
}

static void stream_tls_receive(struct stream *stream)
{
	struct stream_tls *layer = stream->layer_state;

	stream->receiving = true;
	stream->recv.data = tls_room(layer->tls, &stream->recv.len);
	stream->recv.wait_all = false;
	loop_recv_start(stream->loop, &stream->recv);
}

static void stream_tls_finish(struct stream *stream, ssize_t result)
{
	struct stream_tls *layer = stream->layer_state;

	layer->wanted = false;
	stream->ops->received(stream->arg, result);
}

/* Decrypts for the owner, who asks for more from within. */
static void stream_tls_serve(struct stream *stream)
{
	struct stream_tls *layer = stream->layer_state;

	layer->serving = true;
	while (layer->wanted && stream->state != STREAM_CLOSED) {
		ssize_t n = tls_read(layer->tls, layer->data + layer->got, layer->len - layer->got);
		bool some = layer->got > 0;
		if (n > 0) {
			layer->got += (size_t)n;
			if (layer->got == layer->len)
				stream_tls_finish(stream, (ssize_t)layer->got);
		} else if (n == -EAGAIN && (!some || layer->wait_all)) {
			stream_tls_receive(stream);
			break;
		} else {
			/* An error comes again. */
			stream_tls_finish(stream, some ? (ssize_t)layer->got : n);
		}
	}
	layer->serving = false;
}

static void stream_tls_shake(struct stream *stream)
{
	struct stream_tls *layer = stream->layer_state;
	int err = tls_handshake(layer->tls);

	if (err == -EAGAIN) {
		stream_tls_receive(stream);
		return;
	}
	layer->shaking = false;
	/* What was wrong the peer learns, too. */
	if (err)
		stream_push(stream);
	stream->ops->secured(stream->arg, err);
}

static void stream_tls_received(struct loop_recv *recv, ssize_t result)
{
	struct stream *stream = (struct stream *)((char *)recv - offsetof(struct stream, recv));
	struct stream_tls *layer = stream->layer_state;

	stream->receiving = false;
	if (stream->state == STREAM_CLOSED) {
		stream_check_closed(stream);
		return;
	}
	if (result < 0 && result != -ECONNRESET && result != -EPIPE) {
		if (layer->shaking)
			stream->ops->secured(stream->arg, (int)result);
		else if (layer->wanted)
			stream_tls_finish(stream, result);
		return;
	}
	tls_came(layer->tls, result > 0 ? (size_t)result : 0);
	if (layer->shaking)
		stream_tls_shake(stream);
	else
		stream_tls_serve(stream);
}

static void stream_tls_recv(struct stream *stream, void *data, size_t len, bool wait_all)
{
	struct stream_tls *layer = stream->layer_state;

	layer->wanted = true;
	layer->data = data;
	layer->len = len;
	layer->wait_all = wait_all;
	layer->got = 0;
	if (layer->serving)
		return;
	if (tls_has_input(layer->tls))
		stream_post(stream);
	else
		stream_tls_receive(stream);
}

static void stream_tls_run(struct stream *stream)
{
	struct stream_tls *layer = stream->layer_state;

	if (layer->shaking)
		stream_tls_shake(stream);
	else
		stream_tls_serve(stream);
}

static void stream_tls_close(struct stream *stream)
{
	struct stream_tls *layer = stream->layer_state;

	if (!stream_can_write(stream) || layer->mute)
		return;
	size_t len;
	tls_end(layer->tls);
	const void *data = tls_output(layer->tls, &len);
	/* A good-bye that does not fit is none. */
	if (len > 0 && send(stream->fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void stream_tls_free(struct stream *stream)
{
	struct stream_tls *layer = stream->layer_state;

	tls_free(layer->tls);
	free(layer);
}

static const char *stream_tls_why(const struct stream *stream)
{
	const struct stream_tls *layer = stream->layer_state;

	return tls_why(layer->tls);
}

int stream_secure(struct stream *stream, const struct tls_context *context)
{
	static const struct stream_layer tls_layer = {stream_tls_push, stream_tls_recv,
		stream_tls_run, stream_tls_close, stream_tls_free, stream_tls_why};
	struct stream_tls *layer = malloc(sizeof(*layer));

	if (!layer)
		return -ENOMEM;
	memset(layer, 0, offsetof(struct stream_tls, stage));
	int err = tls_new(context, &layer->tls);
	if (err) {
		free(layer);
		return err;
	}
	layer->shaking = true;
	stream->layer_state = layer;
	stream->layer = &tls_layer;
	stream->recv.done = stream_tls_received;
	stream_post(stream);
	return 0;
}
