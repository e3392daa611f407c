/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_TESTS_TLS_PEER_H
#define VSOCKFS_TESTS_TLS_PEER_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>

/* The other side of a TLS stream: a thread that blocks, with certificates of the test's own. */

struct tls_peer {
	SSL *ssl;
	int fd;
	bool wants_certificate;
	void (*talk)(struct tls_peer *peer); /* after the handshake, on its thread */
	int shaken;			     /* what SSL_accept returned */
	pthread_t thread;
	SSL_CTX *context;
};

/* Makes "server.pem" and the like with openssl(1) in a new directory; cmocka's group functions. */
int tls_files_make(void **state);
int tls_files_remove(void **state);
/* One of them; valid until the next call. */
const char *tls_file(const char *name);

void tls_peer_start(struct tls_peer *peer, int fd_take);
/* Waits for its end, which has closed the socket; once. */
void tls_peer_join(struct tls_peer *peer);

#endif
