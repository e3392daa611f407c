/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sending, receiving and closing, over socket pairs. */
#include "stream_fixture.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>
/* after <sys/socket.h> */
#include <linux/vm_sockets.h>

#include "vsock/socket.h"
#include "vsock/stream_priv.h"

struct pair {
	struct end *end;
	int fd; /* the other side, blocking */
};

static struct pair pair_new(void **state, int type)
{
	struct fixture *f = fixture_get(state);
	struct pair pair = {.end = end_new(f)};
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, type, 0, fd), 0);
	letter_reset_order();
	end_adopt(pair.end, fd[0]);
	pair.fd = fd[1];
	return pair;
}

static void pair_free(struct pair *pair)
{
	end_free(pair->end);
	if (pair->fd >= 0)
		close(pair->fd);
}

static void test_receives(void **state)
{
	struct pair pair = pair_new(state, SOCK_STREAM);
	char data[8] = {0};

	write_all(pair.fd, "abcde", 5);
	stream_recv(pair.end->stream, data, 3, true);
	assert_int_equal(pair.end->received, 0);
	fixture_run(pair.end->f);
	assert_int_equal(pair.end->result, 3);
	assert_string_equal(data, "abc");
	stream_recv(pair.end->stream, data, 8, false);
	fixture_run(pair.end->f);
	assert_int_equal(pair.end->result, 2);
	assert_memory_equal(data, "de", 2);

	close(pair.fd);
	pair.fd = -1;
	stream_recv(pair.end->stream, data, 8, true);
	fixture_run(pair.end->f);
	assert_int_equal(pair.end->result, 0);
	assert_int_equal(pair.end->received, 3);
	pair_free(&pair);
}

#define BATCH 1500

/* Packets keep the borders of sendmsg(2): all that is queued in a turn leaves as one. */
static void test_sends_of_a_turn_leave_together(void **state)
{
	struct pair pair = pair_new(state, SOCK_SEQPACKET);
	struct letter *letters[3];
	char got[64];

	for (int i = 0; i < 3; i++) {
		letters[i] = letter_new(pair.end, "01234567890123456789", 5);
		letters[i]->msg.iov[1] = (struct iovec){"abcdef", (size_t)i};
		letters[i]->msg.niov = 2;
		stream_send(pair.end->stream, &letters[i]->msg);
		assert_int_equal(letters[i]->sent, 0);
	}
	assert_int_equal(recv(pair.fd, got, sizeof(got), MSG_DONTWAIT), -1);
	fixture_run_for(pair.end->f, 2 * MS);
	assert_int_equal(recv(pair.fd, got, sizeof(got), MSG_DONTWAIT), 18);
	assert_memory_equal(got, "0123401234a01234ab", 18);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(letters[i]->sent, 1);
		assert_int_equal(letters[i]->err, 0);
		assert_int_equal(letters[i]->order, i);
		free(letters[i]);
	}
	pair_free(&pair);
}

/* More parts than one sendmsg(2) takes, empty messages and empty parts among them. */
static void test_more_than_one_call_takes(void **state)
{
	struct pair pair = pair_new(state, SOCK_STREAM);
	struct letter *letters[BATCH];
	char *got = calloc(1, BATCH * 3), digits[10] = "0123456789";
	size_t total = 0;

	for (unsigned i = 0; i < BATCH; i++) {
		letters[i] = letter_new(pair.end, &digits[i % 10], i % 7 ? 1 : 0);
		letters[i]->msg.iov[1] = (struct iovec){"", 0};
		letters[i]->msg.iov[2] =
			(struct iovec){&digits[i % 10], i % 7 ? 2 - (i % 10 == 9) : 0};
		letters[i]->msg.niov = i % 14 ? 3 : 0;
		for (unsigned k = 0; k < letters[i]->msg.niov; k++)
			total += letters[i]->msg.iov[k].iov_len;
		stream_send(pair.end->stream, &letters[i]->msg);
	}
	stream_flush(pair.end->stream);
	for (unsigned i = 0; i < BATCH; i++) {
		assert_int_equal(letters[i]->sent, 1);
		assert_int_equal(letters[i]->order, i);
	}
	assert_int_equal(recv(pair.fd, got, BATCH * 3, MSG_DONTWAIT), total);
	for (size_t i = 0, at = 0; i < BATCH; i++) {
		if (i % 7 == 0)
			continue;
		assert_int_equal(got[at++], digits[i % 10]);
		assert_int_equal(got[at++], digits[i % 10]);
		if (i % 10 != 9)
			assert_int_equal(got[at++], digits[i % 10 + 1]);
	}
	for (unsigned i = 0; i < BATCH; i++)
		free(letters[i]);
	free(got);
	pair_free(&pair);
}

#define BULK (6u << 20)

static uint8_t *bulk;

static void *bulk_echo(void *arg)
{
	int fd = *(int *)arg;
	uint8_t *data = malloc(BULK);

	/* all of it first, slowly: the sender meets full buffers */
	for (size_t at = 0; at < BULK; at += BULK / 16) {
		usleep(1000);
		read_all(fd, data + at, BULK / 16);
	}
	write_all(fd, data, BULK);
	free(data);
	return NULL;
}

static void test_bulk_goes_and_comes_back(void **state)
{
	struct pair pair = pair_new(state, SOCK_STREAM);
	const size_t sizes[] = {1, 4, 999983, 65536, 3, 17};
	struct letter *letters[2000];
	uint8_t *back = calloc(1, BULK);
	unsigned n = 0;
	pthread_t thread;

	bulk = malloc(BULK);
	for (size_t i = 0; i < BULK; i++)
		bulk[i] = (uint8_t)(i * 2654435761u >> 13);
	assert_int_equal(pthread_create(&thread, NULL, bulk_echo, &pair.fd), 0);
	for (size_t at = 0; at < BULK; n++) {
		letters[n] = letter_new(pair.end, bulk, 0);
		letters[n]->msg.niov = STREAM_MSG_IOV;
		for (int i = 0; i < STREAM_MSG_IOV; i++) {
			size_t len = sizes[(n + (unsigned)i * 5) % 6];
			if (len > BULK - at)
				len = BULK - at;
			letters[n]->msg.iov[i] = (struct iovec){bulk + at, len};
			at += len;
		}
		stream_send(pair.end->stream, &letters[n]->msg);
	}
	stream_recv(pair.end->stream, back, BULK, true);
	fixture_run(pair.end->f);
	assert_int_equal(pair.end->result, BULK);
	assert_memory_equal(back, bulk, BULK);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(letters[i]->sent, 1);
		assert_int_equal(letters[i]->err, 0);
		assert_int_equal(letters[i]->order, i);
		free(letters[i]);
	}
	free(back);
	free(bulk);
	pair_free(&pair);
}

/* From `sent`, another message and a flush, which must not call back within. */
static void letter_sends_the_next(struct letter *letter)
{
	struct letter *next = letter + 1;

	stream_send(letter->end->stream, &next->msg);
	stream_flush(letter->end->stream);
	assert_int_equal(next->sent, 0);
}

static void test_sent_may_send(void **state)
{
	struct pair pair = pair_new(state, SOCK_STREAM);
	struct letter *letters = calloc(2, sizeof(*letters));
	char got[8];

	letter_init(&letters[0], pair.end, "one", 3);
	letter_init(&letters[1], pair.end, "two", 3);
	letters[0].on_sent = letter_sends_the_next;
	stream_send(pair.end->stream, &letters[0].msg);
	stream_flush(pair.end->stream);
	assert_int_equal(letters[0].sent, 1);
	assert_int_equal(letters[1].sent, 1);
	assert_int_equal(recv(pair.fd, got, 8, MSG_DONTWAIT), 6);
	assert_memory_equal(got, "onetwo", 6);
	free(letters);
	pair_free(&pair);
}

static void test_messages_wait_for_the_connection(void **state)
{
	struct fixture *f = fixture_get(state);
	struct end *end = end_new(f);
	struct letter *letter = letter_new(end, "early", 5);
	char got[8];
	int fd[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_int_equal(stream_adopt(f->loop, fd[0], &end_ops, end, &end->stream), 0);
	stream_send(end->stream, &letter->msg);
	stream_flush(end->stream);
	assert_int_equal(letter->sent, 0);
	fixture_run(f);
	assert_int_equal(end->connected, 1);
	fixture_run_for(f, 2 * MS);
	assert_int_equal(letter->sent, 1);
	assert_int_equal(recv(fd[1], got, 8, MSG_DONTWAIT), 5);
	end_free(end);
	free(letter);
	close(fd[1]);
}

/* A socket that keeps each call's bytes apart tells how many they were. */
static void test_a_call_hands_over_no_more_than_it_may(void **state)
{
	enum { MAX = 1000, FIRST = 2 * MAX + 1, SECOND = 500 };
	static const size_t expected[] = {MAX, MAX, 1 + SECOND};
	struct pair pair = pair_new(state, SOCK_SEQPACKET);
	char data[FIRST + SECOND], back[FIRST + SECOND];
	struct letter *letters[] = {
		letter_new(pair.end, data, FIRST), letter_new(pair.end, data + FIRST, SECOND)};
	size_t got = 0;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (char)(i % 251);
	pair.end->stream->send_max = MAX;
	stream_send(pair.end->stream, &letters[0]->msg);
	stream_send(pair.end->stream, &letters[1]->msg);
	fixture_run_for(pair.end->f, 2 * MS);
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		ssize_t n = recv(pair.fd, back + got, sizeof(back) - got, MSG_DONTWAIT);
		assert_int_equal(n, expected[i]);
		got += (size_t)n;
	}
	assert_memory_equal(back, data, sizeof(data));
	assert_int_equal(letters[0]->sent, 1);
	assert_int_equal(letters[1]->sent, 1);
	free(letters[0]);
	free(letters[1]);
	pair_free(&pair);
}

static void test_what_a_call_may_hand_over(void **state)
{
	struct sockaddr_vm vm = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST};
	struct sockaddr_storage peer = {.ss_family = AF_UNIX};

	(void)state;
	assert_int_equal(socket_send_max(&peer, "6.17.0"), SIZE_MAX);
	memcpy(&peer, &vm, sizeof(vm));
	assert_int_equal(socket_send_max(&peer, "5.10.0-33-amd64"), SIZE_MAX);
	assert_int_equal(socket_send_max(&peer, "6.16.12"), SIZE_MAX);
	assert_int_equal(socket_send_max(&peer, "6.17.0-rc1"), 28 << 10);
	assert_int_equal(socket_send_max(&peer, "7.2.13+deb14-amd64"), 28 << 10);
	assert_int_equal(socket_send_max(&peer, "unknown"), SIZE_MAX);
	vm.svm_cid = VMADDR_CID_LOCAL;
	memcpy(&peer, &vm, sizeof(vm));
	assert_int_equal(socket_send_max(&peer, "7.2.0"), SIZE_MAX);
}

/* Somebody else has filled the socket, so that not a byte can be sent at first. */
static void test_waits_for_room(void **state)
{
	struct pair pair = pair_new(state, SOCK_STREAM);
	struct fixture *f = pair.end->f;
	struct end *end = end_new(f);
	struct letter *letter = letter_new(end, "after", 5);
	char data[4096] = {0};
	size_t filled = 0;
	ssize_t n;

	while ((n = send(pair.fd, data, sizeof(data), MSG_DONTWAIT)) > 0)
		filled += (size_t)n;
	end_adopt(end, pair.fd);
	stream_send(end->stream, &letter->msg);
	fixture_run_for(f, 2 * MS);
	assert_int_equal(letter->sent, 0);
	assert_int_equal(end->broken, 0);
	for (filled += 5; filled > 0; filled -= (size_t)pair.end->result) {
		stream_recv(pair.end->stream, data, sizeof(data), false);
		fixture_run(f);
		assert_true(pair.end->result > 0);
	}
	assert_int_equal(letter->sent, 1);
	assert_int_equal(letter->err, 0);
	assert_memory_equal(data + pair.end->result - 5, "after", 5);
	end_free(end);
	free(letter);
	pair.fd = -1;
	pair_free(&pair);
}

/* Bytes that nobody reads keep messages queued; the close gives all of them back, in order. */
static void test_close_gives_messages_back(void **state)
{
	struct pair pair = pair_new(state, SOCK_STREAM);
	struct letter *letters[3];
	char *data = calloc(1, BULK);

	for (int i = 0; i < 3; i++) {
		letters[i] = letter_new(pair.end, data, i == 0 ? 10 : BULK);
		stream_send(pair.end->stream, &letters[i]->msg);
	}
	fixture_run_for(pair.end->f, 2 * MS);
	assert_int_equal(letters[0]->sent, 1);
	assert_int_equal(letters[1]->sent, 0);
	stream_close(pair.end->stream);
	assert_int_equal(letters[1]->sent, 0);
	fixture_run(pair.end->f);
	assert_int_equal(pair.end->closed, 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(letters[i]->sent, 1);
		assert_int_equal(letters[i]->err, i == 0 ? 0 : -ECANCELED);
		assert_int_equal(letters[i]->order, i);
		free(letters[i]);
	}
	free(data);
	pair_free(&pair);
}

static void test_close_ends_a_receive(void **state)
{
	struct pair pair = pair_new(state, SOCK_STREAM);
	char data[8] = {0}, got;

	stream_recv(pair.end->stream, data, sizeof(data), true);
	fixture_run_for(pair.end->f, 2 * MS);
	write_all(pair.fd, "ab", 2);
	fixture_run_for(pair.end->f, 2 * MS);
	stream_close(pair.end->stream);
	/* the peer sees the end at once */
	assert_int_equal(recv(pair.fd, &got, 1, MSG_DONTWAIT), 0);
	fixture_run(pair.end->f);
	assert_int_equal(pair.end->closed, 1);
	assert_int_equal(pair.end->received, 0);
	/* and nothing is written to the buffer any more */
	memset(data, 'x', sizeof(data));
	assert_int_equal(send(pair.fd, "cdefgh", 6, MSG_NOSIGNAL), -1);
	fixture_run_for(pair.end->f, 2 * MS);
	assert_memory_equal(data, "xxxxxxxx", 8);
	assert_int_equal(pair.end->received, 0);
	pair_free(&pair);
}

static void end_closes(struct end *end)
{
	stream_close(end->stream);
	assert_int_equal(end->closed, 0);
}

static void letter_closes(struct letter *letter)
{
	end_closes(letter->end);
}

static void test_close_from_callbacks(void **state)
{
	struct fixture *f = fixture_get(state);
	char data[4];
	int fd[2];

	for (int i = 0; i < 4; i++) {
		struct end *end = end_new(f);
		struct letter *a = letter_new(end, "a", 1), *b = letter_new(end, "b", 1);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
		end->on_connected = i == 0 ? end_closes : NULL;
		end->on_received = i == 1 ? end_closes : NULL;
		a->on_sent = i == 2 ? letter_closes : NULL;
		assert_int_equal(stream_adopt(f->loop, fd[0], &end_ops, end, &end->stream), 0);
		if (i == 3) {
			stream_close(end->stream);
		} else {
			fixture_run(f);
			assert_int_equal(end->connected, 1);
		}
		if (i == 1) {
			write_all(fd[1], "x", 1);
			stream_recv(end->stream, data, 1, true);
		} else if (i == 2) {
			stream_send(end->stream, &a->msg);
			stream_send(end->stream, &b->msg);
		}
		while (!end->closed)
			fixture_run(f);
		assert_int_equal(end->connected, i != 3);
		/* both had left when the first told of it */
		assert_int_equal(a->sent, i == 2);
		assert_int_equal(b->sent, i == 2);
		assert_int_equal(b->err, 0);
		end_free(end);
		free(a);
		free(b);
		close(fd[1]);
	}
}

static void test_broken_is_told_once(void **state)
{
	struct pair pair = pair_new(state, SOCK_STREAM);
	struct letter *a = letter_new(pair.end, "a", 1), *b = letter_new(pair.end, "b", 1);

	close(pair.fd);
	pair.fd = -1;
	stream_send(pair.end->stream, &a->msg);
	stream_flush(pair.end->stream);
	assert_int_equal(pair.end->broken, 0);
	fixture_run(pair.end->f);
	assert_int_equal(pair.end->broken, 1);
	assert_int_equal(pair.end->broken_err, -EPIPE);
	stream_send(pair.end->stream, &b->msg);
	fixture_run_for(pair.end->f, 2 * MS);
	assert_int_equal(pair.end->broken, 1);
	assert_int_equal(a->sent + b->sent, 0);
	stream_close(pair.end->stream);
	fixture_run(pair.end->f);
	assert_int_equal(pair.end->closed, 1);
	assert_int_equal(a->err, -ECANCELED);
	assert_int_equal(b->err, -ECANCELED);
	free(a);
	free(b);
	pair_free(&pair);
}

/* The peer goes while messages wait for room. */
static void test_broken_while_blocked(void **state)
{
	struct pair pair = pair_new(state, SOCK_STREAM);
	char *data = calloc(1, BULK);
	struct letter *letter = letter_new(pair.end, data, BULK);

	pair.end->on_broken = end_closes;
	stream_send(pair.end->stream, &letter->msg);
	fixture_run_for(pair.end->f, 2 * MS);
	assert_int_equal(letter->sent, 0);
	close(pair.fd);
	pair.fd = -1;
	while (!pair.end->closed)
		fixture_run(pair.end->f);
	assert_int_equal(pair.end->broken, 1);
	assert_true(pair.end->broken_err == -EPIPE || pair.end->broken_err == -ECONNRESET);
	assert_int_equal(letter->sent, 1);
	assert_int_equal(letter->err, -ECANCELED);
	free(letter);
	free(data);
	pair_free(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(test_receives),
		ON_BOTH(test_sends_of_a_turn_leave_together),
		ON_BOTH(test_more_than_one_call_takes),
		ON_BOTH(test_bulk_goes_and_comes_back),
		ON_BOTH(test_sent_may_send),
		ON_BOTH(test_messages_wait_for_the_connection),
		ON_BOTH(test_a_call_hands_over_no_more_than_it_may),
		cmocka_unit_test(test_what_a_call_may_hand_over),
		ON_BOTH(test_waits_for_room),
		ON_BOTH(test_close_gives_messages_back),
		ON_BOTH(test_close_ends_a_receive),
		ON_BOTH(test_close_from_callbacks),
		ON_BOTH(test_broken_is_told_once),
		ON_BOTH(test_broken_while_blocked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
