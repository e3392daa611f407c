/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Streams of TLS, against a peer that OpenSSL runs by itself. */
#include "stream_fixture.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tls_peer.h"

#define BULK (3u << 20)

struct pair {
	struct end *end;
	struct tls_peer peer;
	struct tls_context *context;
	int secured, err;
	uint64_t key_bytes;
};

static struct pair *pair_now;

static void on_secured(void *arg, int err)
{
	struct end *end = arg;

	pair_now->secured++;
	pair_now->err = err;
	loop_stop(end->f->loop);
}

/* Up to the end of the handshake as our side sees it. */
static void pair_start(void **state, struct pair *pair, void (*talk)(struct tls_peer *peer))
{
	struct stream_ops ops = end_ops;
	struct tls_config config = {.name = "server.example", .key_bytes = pair->key_bytes};
	char why[256], ca[128];
	int fd[2], small = 64 << 10;

	pair_now = pair;
	/* it may skip the test: nothing is made before */
	pair->end = end_new(fixture_get(state));
	snprintf(ca, sizeof(ca), "%s", tls_file("server.pem"));
	config.ca = ca;
	assert_int_equal(tls_context_new(&config, &pair->context, why, sizeof(why)), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	static struct stream_ops kept;
	ops.secured = on_secured;
	kept = ops;
	assert_int_equal(
		stream_adopt(pair->end->f->loop, fd[0], &kept, pair->end, &pair->end->stream), 0);
	while (!pair->end->connected)
		fixture_run(pair->end->f);
	pair->peer.talk = talk;
	tls_peer_start(&pair->peer, fd[1]);
	assert_int_equal(stream_secure(pair->end->stream, pair->context), 0);
	while (!pair->secured)
		fixture_run(pair->end->f);
	assert_int_equal(pair->secured, 1);
}

static void pair_free(struct pair *pair)
{
	end_free(pair->end);
	tls_peer_join(&pair->peer);
	tls_context_free(pair->context);
}

static ssize_t receive(struct pair *pair, void *data, size_t len, bool wait_all)
{
	unsigned before = pair->end->received;

	stream_recv(pair->end->stream, data, len, wait_all);
	assert_int_equal(pair->end->received, before);
	while (pair->end->received == before)
		fixture_run(pair->end->f);
	return pair->end->result;
}

static void put(struct tls_peer *peer, const void *data, size_t len)
{
	assert_int_equal(SSL_write(peer->ssl, data, (int)len), (int)len);
}

static void get(struct tls_peer *peer, void *data, size_t len)
{
	for (size_t got = 0; got < len;) {
		int n = SSL_read(peer->ssl, (char *)data + got, (int)(len - got));
		assert_true(n > 0);
		got += (size_t)n;
	}
}

static int bye_of(struct tls_peer *peer)
{
	char byte;

	return SSL_get_error(peer->ssl, SSL_read(peer->ssl, &byte, 1));
}

static void talk_pieces(struct tls_peer *peer)
{
	char data[8] = {0};

	put(peer, "abc", 3);
	put(peer, "de", 2);
	get(peer, data, 6);
	assert_memory_equal(data, "answer", 6);
	put(peer, "f", 1);
	assert_int_equal(bye_of(peer), SSL_ERROR_ZERO_RETURN);
}

static void test_pieces(void **state)
{
	struct pair pair = {0};
	char data[8] = {0};

	pair_start(state, &pair, talk_pieces);
	assert_int_equal(pair.err, 0);
	assert_int_equal(receive(&pair, data, 4, true), 4);
	assert_memory_equal(data, "abcd", 4);
	assert_int_equal(receive(&pair, data, 8, false), 1);
	assert_memory_equal(data, "e", 1);
	struct letter *letter = letter_new(pair.end, "answer", 6);
	stream_send(pair.end->stream, &letter->msg);
	assert_int_equal(receive(&pair, data, 8, false), 1);
	assert_int_equal(letter->sent, 1);
	assert_int_equal(letter->err, 0);
	pair_free(&pair);
	free(letter);
}

static void fill(uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)(i * 31 + (i >> 12));
}

/* Takes all in, with new keys on the way, and sends it back likewise. */
static void talk_bulk(struct tls_peer *peer)
{
	uint8_t *data = malloc(BULK);

	usleep(20000); /* the other side has to wait for room */
	get(peer, data, BULK / 2);
	assert_int_equal(SSL_key_update(peer->ssl, SSL_KEY_UPDATE_REQUESTED), 1);
	put(peer, data, BULK / 2);
	get(peer, data + BULK / 2, BULK / 2);
	assert_int_equal(SSL_key_update(peer->ssl, SSL_KEY_UPDATE_NOT_REQUESTED), 1);
	put(peer, data + BULK / 2, BULK / 2);
	free(data);
	bye_of(peer);
}

/* Messages of headers and payloads of all lengths around those of a record. */
static void test_bulk(void **state)
{
	static const size_t sizes[] = {
		1, 100, 8191, 8192, 8193, 16383, 16384, 16385, 40000, 300001};
	struct pair pair = {0};
	struct letter *letters[256] = {0};
	size_t count = 0, at = 0;

	pair_start(state, &pair, talk_bulk);
	uint8_t *data = malloc(BULK), *back = calloc(1, BULK);
	fill(data, BULK);
	for (; at < BULK; count++) {
		size_t len = sizes[count % 10], left = BULK - at;
		len = len < left && count < 255 ? len : left;
		size_t head = len / 3;
		letters[count] = letter_new(pair.end, data + at, head);
		letters[count]->msg.iov[1] =
			(struct iovec){.iov_base = data + at + head, .iov_len = len - head};
		letters[count]->msg.niov = 2;
		stream_send(pair.end->stream, &letters[count]->msg);
		at += len;
	}
	size_t got = 0;
	for (unsigned i = 0; got < BULK; i++) {
		size_t len = i % 2 ? 70000 : 999;
		len = len < BULK - got ? len : BULK - got;
		ssize_t n = receive(&pair, back + got, len, i % 3 == 0);
		assert_true(n > 0 && (size_t)n <= len);
		assert_true(i % 3 != 0 || (size_t)n == len);
		got += (size_t)n;
	}
	assert_memory_equal(data, back, BULK);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(letters[i]->sent, 1);
		assert_int_equal(letters[i]->err, 0);
		free(letters[i]);
	}
	pair_free(&pair);
	free(data);
	free(back);
}

static void talk_bye(struct tls_peer *peer)
{
	put(peer, "x", 1);
	SSL_shutdown(peer->ssl);
}

static void talk_nothing(struct tls_peer *peer)
{
	put(peer, "x", 1);
}

static void test_ends(void **state)
{
	struct pair bye = {0}, cut = {0};
	char data[8];

	pair_start(state, &bye, talk_bye);
	assert_int_equal(receive(&bye, data, 8, true), 1);
	assert_int_equal(receive(&bye, data, 8, true), 0);
	assert_null(stream_why(bye.end->stream));
	pair_free(&bye);
	pair_start(state, &cut, talk_nothing);
	assert_int_equal(receive(&cut, data, 8, true), 1);
	assert_int_equal(receive(&cut, data, 8, true), -ECONNRESET);
	assert_int_equal(receive(&cut, data, 8, true), -ECONNRESET);
	pair_free(&cut);
}

static void talk_never(struct tls_peer *peer)
{
	fail_msg("there was a certificate");
}

/* The server learns that there is no certificate when our side takes all for done. */
static void test_refused_after_the_handshake(void **state)
{
	struct pair pair = {.peer.wants_certificate = true};
	struct letter *letter;
	char data[8];

	pair_start(state, &pair, talk_never);
	assert_int_equal(pair.err, 0);
	letter = letter_new(pair.end, "x", 1);
	stream_send(pair.end->stream, &letter->msg);
	assert_int_equal(receive(&pair, data, 8, false), -EKEYREJECTED);
	assert_non_null(strstr(stream_why(pair.end->stream), "certificate of this machine"));
	pair_free(&pair);
	free(letter);
}

/* It is heard even when there is nobody any more to send to. */
static void test_refused_and_gone(void **state)
{
	struct pair pair = {.peer.wants_certificate = true};
	struct letter *letter;
	char data[8];

	pair_start(state, &pair, talk_never);
	fixture_run_for(pair.end->f, MS);
	tls_peer_join(&pair.peer);
	letter = letter_new(pair.end, "x", 1);
	stream_send(pair.end->stream, &letter->msg);
	assert_int_equal(receive(&pair, data, 8, false), -EKEYREJECTED);
	assert_int_equal(pair.end->broken, 0);
	pair_free(&pair);
	free(letter);
}

static void talk_damage(struct tls_peer *peer)
{
	char record[] = "\x17\x03\x03\x00\x20this is no record of TLS at all.";

	put(peer, "x", 1);
	assert_int_equal(write(peer->fd, record, 37), 37);
	bye_of(peer);
}

static void test_damage(void **state)
{
	struct pair pair = {0};
	char data[8];

	pair_start(state, &pair, talk_damage);
	assert_int_equal(receive(&pair, data, 1, true), 1);
	assert_int_equal(receive(&pair, data, 8, false), -EBADMSG);
	assert_non_null(strstr(stream_why(pair.end->stream), "was changed"));
	pair_free(&pair);
}

static void talk_wait(struct tls_peer *peer)
{
	bye_of(peer);
}

/* What is queued comes back, and what is received ends without a word. */
static void test_close_while_full(void **state)
{
	struct pair pair = {0};
	struct letter *letter;
	char byte;

	pair_start(state, &pair, talk_wait);
	char *data = calloc(1, BULK);
	letter = letter_new(pair.end, data, BULK);
	stream_send(pair.end->stream, &letter->msg);
	stream_recv(pair.end->stream, &byte, 1, true);
	stream_close(pair.end->stream);
	while (!pair.end->closed)
		fixture_run(pair.end->f);
	assert_int_equal(pair.end->received, 0);
	assert_int_equal(letter->sent, 1);
	assert_int_equal(letter->err, -ECANCELED);
	pair_free(&pair);
	free(letter);
	free(data);
}

/* A connection that has carried much says so itself, when all that came before was given out. */
static void test_worn_keys(void **state)
{
	struct pair pair = {.key_bytes = 5};
	struct letter *letter;
	char data[8];

	pair_start(state, &pair, talk_pieces);
	assert_int_equal(receive(&pair, data, 5, true), 5);
	assert_memory_equal(data, "abcde", 5);
	letter = letter_new(pair.end, "answer", 6);
	stream_send(pair.end->stream, &letter->msg);
	assert_int_equal(receive(&pair, data, 1, false), -EKEYEXPIRED);
	/* the peer hears a good-bye */
	pair_free(&pair);
	free(letter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(test_pieces),
		ON_BOTH(test_bulk),
		ON_BOTH(test_ends),
		ON_BOTH(test_refused_after_the_handshake),
		ON_BOTH(test_refused_and_gone),
		ON_BOTH(test_damage),
		ON_BOTH(test_close_while_full),
		ON_BOTH(test_worn_keys),
	};

	/* the peers' own */
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, tls_files_make, tls_files_remove);
}
