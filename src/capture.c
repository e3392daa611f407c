/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "capture.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pcapng.h"
#include "util/log.h"
#include "util/loop.h"

#define CAPTURE_BUFFER (4u << 20) /* bytes; there are two, one being filled and one written */
#define CAPTURE_PAUSE  UINT64_C(100000000)  /* ns between looks at a buffer that fills slowly */
#define CAPTURE_GRACE  UINT64_C(2000000000) /* ns for a reader to take the rest */
/* After poll(2) has found room in a pipe, so much fits without waiting. */
#define CAPTURE_PIPE  4096
#define CAPTURE_STACK (256u << 10)
/* Port numbers of connections, one after the other. */
#define CAPTURE_PORT_FIRST 32768
#define CAPTURE_PORTS	   28000

struct capture {
	struct rpc_tap tap; /* first */
	/* of the options; connections read them without the mutex */
	atomic_uint snaplen;
	atomic_bool data;
	uint64_t limit; /* under the mutex */
	int fd;
	mode_t type; /* of what it is */
	pthread_t thread;
	bool running; /* there is a thread to join */

	pthread_mutex_t mutex;
	pthread_cond_t cond;
	struct pcapng_out fill;	   /* under the mutex; data is NULL unless packets are taken */
	uint64_t packets, dropped; /* the same */
	uint64_t dropped_told;	   /* the same: in packets' blocks */
	uint64_t bytes;		   /* the same: of all packets taken */
	bool stop;		   /* the same: no more packets */
	int err;		   /* the same: why it ended by itself */
	uint8_t *spare;		   /* the writing thread's */
	uint64_t stop_at;	   /* the same: ns; 0: not yet */
};

static uint64_t capture_clock(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* Under the mutex: takes no more packets, because of `err` or because it was asked to. */
static void capture_end(struct capture *capture, int err)
{
	atomic_store(&capture->tap.on, false);
	capture->stop = true;
	capture->err = err;
	pthread_cond_signal(&capture->cond);
}

/* Adds one packet, if there is room. Under the mutex. */
static void capture_add(struct capture *capture, struct pcapng_packet *packet)
{
	size_t before = capture->fill.len;
	packet->dropped = capture->dropped - capture->dropped_told;
	capture->fill.full = false;
	pcapng_put_packet(&capture->fill, packet);
	if (capture->fill.full) {
		capture->dropped++;
		return;
	}
	capture->bytes += capture->fill.len - before;
	if (capture->limit > 0 && capture->bytes > capture->limit) {
		capture->fill.len = before;
		capture_end(capture, -EFBIG);
		return;
	}
	capture->dropped_told = capture->dropped;
	capture->packets++;
	/* otherwise the thread looks by itself */
	if (capture->fill.len > CAPTURE_BUFFER / 2)
		pthread_cond_signal(&capture->cond);
}

static void capture_packet(struct capture *capture, struct pcapng_packet *packet)
{
	pthread_mutex_lock(&capture->mutex);
	if (!capture->stop && capture->fill.data)
		capture_add(capture, packet);
	pthread_mutex_unlock(&capture->mutex);
}

static struct pcapng_packet capture_next(const struct rpc_tap_flow *flow, bool sent, uint8_t flags)
{
	/* The beginning of each direction takes one number. */
	return (struct pcapng_packet){.interface = flow->index,
		.time = capture_clock(),
		.sent = sent,
		.port = (uint16_t)(CAPTURE_PORT_FIRST + flow->number % CAPTURE_PORTS),
		.seq = (uint32_t)flow->bytes[!sent] + 1,
		.ack = (uint32_t)flow->bytes[sent] + 1,
		.flags = flags};
}

static void capture_handshake(struct capture *capture, const struct rpc_tap_flow *flow)
{
	struct pcapng_packet packet = capture_next(flow, true, PCAPNG_SYN);
	packet.seq--;
	packet.ack = 0;
	capture_packet(capture, &packet);
	packet = capture_next(flow, false, PCAPNG_SYN | PCAPNG_ACK);
	packet.seq--;
	capture_packet(capture, &packet);
	packet = capture_next(flow, true, PCAPNG_ACK);
	capture_packet(capture, &packet);
}

/* How much of `len` bytes at `at` within the record is to be in the file. */
static uint32_t capture_keep(
	const struct capture *capture, const struct rpc_tap_record *record, size_t at, uint32_t len)
{
	uint32_t keep = len;
	unsigned snaplen = atomic_load(&capture->snaplen);
	if (!atomic_load(&capture->data) && at + keep > record->open)
		keep = at < record->open ? (uint32_t)(record->open - at) : 0;
	if (snaplen > 0 && keep > snaplen - PCAPNG_HEADERS)
		keep = snaplen - PCAPNG_HEADERS;
	return keep;
}

/* A record begins with a packet, so that readers find the next one behind what was left out. */
static void capture_data(struct capture *capture, struct rpc_tap_flow *flow,
	const struct rpc_tap_record *record, bool sent)
{
	size_t len = 0;
	for (unsigned i = 0; i < record->niov; i++)
		len += record->iov[i].iov_len;
	for (size_t at = 0; at < len;) {
		uint32_t n =
			len - at < PCAPNG_SEGMENT_MAX ? (uint32_t)(len - at) : PCAPNG_SEGMENT_MAX;
		struct pcapng_packet packet = capture_next(
			flow, sent, at + n == len ? PCAPNG_PSH | PCAPNG_ACK : PCAPNG_ACK);
		packet.len = n;
		packet.kept = capture_keep(capture, record, at, n);
		packet.iov = record->iov;
		packet.skip = at;
		capture_packet(capture, &packet);
		flow->bytes[!sent] += n;
		at += n;
	}
}

static void capture_record(
	struct rpc_tap *tap, struct rpc_tap_flow *flow, const struct rpc_tap_record *record)
{
	struct capture *capture = (struct capture *)tap;
	struct pcapng_packet packet;
	switch (record->event) {
	case RPC_TAP_UP: capture_handshake(capture, flow); break;
	case RPC_TAP_SENT: capture_data(capture, flow, record, true); break;
	case RPC_TAP_RECEIVED: capture_data(capture, flow, record, false); break;
	case RPC_TAP_DOWN:
		packet = capture_next(flow, true, PCAPNG_RST | PCAPNG_ACK);
		capture_packet(capture, &packet);
		break;
	}
}

int capture_new(struct capture **capture)
{
	struct capture *c = calloc(1, sizeof(*c));
	pthread_condattr_t attr;
	if (!c)
		return -ENOMEM;
	c->tap.record = capture_record;
	pthread_mutex_init(&c->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->cond, &attr);
	pthread_condattr_destroy(&attr);
	*capture = c;
	return 0;
}

void capture_free(struct capture *capture)
{
	if (!capture)
		return;
	capture_stop(capture);
	pthread_cond_destroy(&capture->cond);
	pthread_mutex_destroy(&capture->mutex);
	free(capture);
}

struct rpc_tap *capture_tap(struct capture *capture)
{
	return &capture->tap;
}

static bool capture_stopping(struct capture *capture)
{
	pthread_mutex_lock(&capture->mutex);
	bool stop = capture->stop;
	pthread_mutex_unlock(&capture->mutex);
	return stop;
}

/* Waits until a pipe's reader has made room. 0, or -ETIMEDOUT at the end of its time. */
static int capture_wait_reader(struct capture *capture)
{
	struct pollfd pfd = {.fd = capture->fd, .events = POLLOUT};
	for (;;) {
		int n = poll(&pfd, 1, CAPTURE_PAUSE / 1000000);
		if (n > 0 || (n < 0 && errno != EINTR))
			return 0;
		if (!capture_stopping(capture))
			continue;
		if (capture->stop_at == 0)
			capture->stop_at = loop_clock() + CAPTURE_GRACE;
		else if (loop_clock() >= capture->stop_at)
			return -ETIMEDOUT;
	}
}

static int capture_write(struct capture *capture, const uint8_t *data, size_t len)
{
	while (len > 0) {
		bool file = S_ISREG(capture->type);
		int err = file ? 0 : capture_wait_reader(capture);
		if (err)
			return err;
		size_t want = file || len < CAPTURE_PIPE ? len : CAPTURE_PIPE;
		ssize_t n = S_ISSOCK(capture->type)
				    ? send(capture->fd, data, want, MSG_DONTWAIT | MSG_NOSIGNAL)
				    : write(capture->fd, data, want);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		data += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Under the mutex. */
static void capture_free_buffers(struct capture *capture)
{
	free(capture->fill.data);
	free(capture->spare);
	capture->fill = (struct pcapng_out){0};
	capture->spare = NULL;
}

/* Takes what there is; false: there will be no more. */
static bool capture_take(struct capture *capture, uint8_t **data, size_t *len)
{
	uint64_t until = loop_clock() + CAPTURE_PAUSE;
	const struct timespec deadline = {.tv_sec = (time_t)(until / UINT64_C(1000000000)),
		.tv_nsec = (long)(until % UINT64_C(1000000000))};
	pthread_mutex_lock(&capture->mutex);
	int err = 0;
	while (!capture->stop && err != ETIMEDOUT && capture->fill.len <= CAPTURE_BUFFER / 2)
		err = pthread_cond_timedwait(&capture->cond, &capture->mutex, &deadline);
	*data = capture->fill.data;
	*len = capture->fill.len;
	capture->fill.data = capture->spare;
	capture->fill.len = 0;
	capture->spare = *data;
	bool more = !capture->stop;
	pthread_mutex_unlock(&capture->mutex);
	return more;
}

/* The last blocks. */
static int capture_write_end(struct capture *capture)
{
	uint8_t data[1024];
	struct pcapng_out out = {.data = data, .size = sizeof(data)};
	pcapng_put_statistics(
		&out, 0, capture_clock(), capture->packets + capture->dropped, capture->dropped);
	return capture_write(capture, data, out.len);
}

static int capture_run(struct capture *capture)
{
	uint8_t *data;
	size_t len;
	bool more;
	do {
		more = capture_take(capture, &data, &len);
		int err = capture_write(capture, data, len);
		if (err)
			return err;
	} while (more);
	return capture_write_end(capture);
}

static void *capture_main(void *arg)
{
	struct capture *capture = arg;
	int err = capture_run(capture);
	pthread_mutex_lock(&capture->mutex);
	capture_end(capture, err ? err : capture->err);
	err = capture->err;
	capture_free_buffers(capture);
	pthread_mutex_unlock(&capture->mutex);
	/* A pipe's reader sees the end now. */
	close(capture->fd);
	/* EPIPE: whoever read it has seen enough. */
	if (err && err != -EPIPE)
		log_warn("the packet capture has ended: %s",
			err == -EFBIG ? "its file is as long as it may be" : strerror(-err));
	return NULL;
}

/* Something that the daemon can write to without harm: 0, or -errno with a sentence. */
static int capture_check(
	int fd, const struct capture_facts *facts, mode_t *type, char *why, size_t why_size)
{
	struct statx stx;
	int flags = fcntl(fd, F_GETFL);
	/* A file on the mount itself is not asked for. */
	if (flags < 0 || statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE, &stx) < 0) {
		int err = -errno;
		snprintf(why, why_size, "%s", strerror(-err));
		return err;
	}
	*type = stx.stx_mode & S_IFMT;
	if ((flags & O_ACCMODE) == O_RDONLY ||
		!(S_ISREG(*type) || S_ISFIFO(*type) || S_ISSOCK(*type))) {
		snprintf(why, why_size, "a capture goes to a file or a pipe");
		return -EINVAL;
	}
	if (S_ISREG(*type) && (facts->major || facts->minor) && stx.stx_dev_major == facts->major &&
		stx.stx_dev_minor == facts->minor) {
		snprintf(why, why_size, "a capture of a mount cannot go to a file on it");
		return -EINVAL;
	}
	return 0;
}

/* Under the mutex, or before there are others. */
static int capture_begin(struct capture *capture, const struct capture_options *options,
	const struct capture_facts *facts)
{
	capture->fill = (struct pcapng_out){.data = malloc(CAPTURE_BUFFER), .size = CAPTURE_BUFFER};
	capture->spare = malloc(CAPTURE_BUFFER);
	if (!capture->fill.data || !capture->spare)
		return -ENOMEM;
	atomic_store(&capture->snaplen, options->snaplen);
	atomic_store(&capture->data, options->data);
	capture->limit = options->limit;
	capture->packets = capture->dropped = capture->dropped_told = 0;
	capture->bytes = 0;
	capture->stop = false;
	capture->stop_at = 0;
	capture->err = 0;
	pcapng_put_section(&capture->fill, "vsockfs " VSOCKFS_VERSION);
	for (unsigned i = 0; i < facts->workers; i++) {
		char name[32];
		snprintf(name, sizeof(name), "connection %u", i);
		pcapng_put_interface(&capture->fill, name, facts->source, options->snaplen);
	}
	pcapng_put_names(&capture->fill, "guest", facts->server);
	capture->bytes = capture->fill.len;
	return 0;
}

static int capture_start_thread(struct capture *capture)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, CAPTURE_STACK);
	/* SIGXFSZ, too: a file that may not be longer ends the capture alone. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = -pthread_create(&capture->thread, &attr, capture_main, capture);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	return err;
}

int capture_start(struct capture *capture, int fd_take, const struct capture_options *options,
	const struct capture_facts *facts, char *why, size_t why_size)
{
	if (capture->running && !capture_stopping(capture)) {
		snprintf(why, why_size, "a capture is under way already");
		close(fd_take);
		return -EBUSY;
	}
	capture_stop(capture);
	int err = capture_check(fd_take, facts, &capture->type, why, why_size);
	if (err) {
		close(fd_take);
		return err;
	}
	pthread_mutex_lock(&capture->mutex);
	capture->fd = fd_take;
	err = capture_begin(capture, options, facts);
	if (!err)
		err = capture_start_thread(capture);
	if (err) {
		capture_free_buffers(capture);
		close(fd_take);
		snprintf(why, why_size, "%s", strerror(-err));
	}
	capture->running = err == 0;
	atomic_store(&capture->tap.on, err == 0);
	pthread_mutex_unlock(&capture->mutex);
	return err;
}

int capture_stop(struct capture *capture)
{
	if (!capture->running)
		return -ENOENT;
	pthread_mutex_lock(&capture->mutex);
	bool ended = capture->stop;
	capture_end(capture, capture->err);
	pthread_mutex_unlock(&capture->mutex);
	pthread_join(capture->thread, NULL);
	capture->running = false;
	return ended ? -ENOENT : 0;
}

void capture_print(struct capture *capture, FILE *out)
{
	pthread_mutex_lock(&capture->mutex);
	bool active = capture->running && !capture->stop;
	if (!active && capture->bytes == 0)
		fputs("no capture\n", out);
	else
		fprintf(out, "%s: %" PRIu64 " packets, %" PRIu64 " lost, %" PRIu64 " bytes%s%s\n",
			active ? "capturing" : "no capture; the last one", capture->packets,
			capture->dropped, capture->bytes, capture->err ? "; " : "",
			capture->err == -EFBIG ? "it was as long as it may be"
			: capture->err	       ? strerror(-capture->err)
					       : "");
	pthread_mutex_unlock(&capture->mutex);
}
