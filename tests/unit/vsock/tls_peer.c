/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tls_peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* after the above */
#include <cmocka.h>

static char directory[] = "/tmp/vsockfs-tls-XXXXXX";

static int run(const char *command)
{
	char line[1024];

	snprintf(line, sizeof(line), "cd %s && { %s; } >log 2>&1", directory, command);
	return system(line);
}

int tls_files_make(void **state)
{
	static const char make[] =
		"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		"-subj /CN=server -addext subjectAltName=DNS:server.example "
		"-keyout server.key -out server.pem";

	return mkdtemp(directory) && run(make) == 0 ? 0 : -1;
}

int tls_files_remove(void **state)
{
	return run("rm -f log server.pem server.key") == 0 ? rmdir(directory) : -1;
}

const char *tls_file(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

static int choose(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *in,
	unsigned in_len, void *arg)
{
	if (in_len != 7 || memcmp(in, "\6sunrpc", 7) != 0)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = in + 1;
	*len = 6;
	return SSL_TLSEXT_ERR_OK;
}

static void *main_of_peer(void *arg)
{
	struct tls_peer *peer = arg;

	peer->shaken = SSL_accept(peer->ssl);
	if (peer->shaken == 1)
		peer->talk(peer);
	close(peer->fd);
	return NULL;
}

void tls_peer_start(struct tls_peer *peer, int fd)
{
	peer->fd = fd;
	peer->context = SSL_CTX_new(TLS_server_method());
	assert_int_equal(SSL_CTX_use_certificate_file(
				 peer->context, tls_file("server.pem"), SSL_FILETYPE_PEM),
		1);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(
				 peer->context, tls_file("server.key"), SSL_FILETYPE_PEM),
		1);
	SSL_CTX_set_alpn_select_cb(peer->context, choose, NULL);
	if (peer->wants_certificate)
		SSL_CTX_set_verify(
			peer->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	peer->ssl = SSL_new(peer->context);
	SSL_set_fd(peer->ssl, fd);
	assert_int_equal(pthread_create(&peer->thread, NULL, main_of_peer, peer), 0);
}

void tls_peer_join(struct tls_peer *peer)
{
	if (!peer->ssl)
		return;
	pthread_join(peer->thread, NULL);
	SSL_free(peer->ssl);
	peer->ssl = NULL;
	SSL_CTX_free(peer->context);
}
