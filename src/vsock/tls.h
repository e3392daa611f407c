/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_VSOCK_TLS_H
#define VSOCKFS_VSOCK_TLS_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

/*
 * The client's side of TLS 1.3 (by OpenSSL), for RPC-with-TLS (RFC 9289): ALPN is "sunrpc", the
 * server's certificate is always checked, sessions are not resumed and no data is sent early.
 * Nothing here does I/O after tls_context_new: bytes go in and out through memory, so a stream's
 * loop moves them as it moves others. Kernel TLS is for TCP alone, and so not used.
 */

struct tls_config {
	const char *ca;	    /* PEM file: the certificates that are trusted */
	const char *name;   /* the DNS name or IP address that the server's certificate is for */
	const char *cert;   /* PEM file: this machine's certificate with its chain, or NULL */
	const char *key;    /* PEM file of its private key */
	uint64_t key_bytes; /* how much one connection may carry; 0: what the cipher is good for */
};

struct tls_context; /* what all connections share; immutable, any thread */

#ifdef VSOCKFS_TLS
/* Reads the files. 0, or -errno with a sentence in `why`. */
int tls_context_new(
	const struct tls_config *config, struct tls_context **context, char *why, size_t size);
void tls_context_free(struct tls_context *context); /* NULL is allowed */
#else
static inline int tls_context_new(
	const struct tls_config *config, struct tls_context **context, char *why, size_t size)
{
	(void)config;
	(void)context;
	snprintf(why, size, "built without TLS");
	return -EOPNOTSUPP;
}

static inline void tls_context_free(struct tls_context *context)
{
	(void)context;
}
#endif

/* Most bytes of plain text in one record. */
#define TLS_RECORD_MAX 16384

/* One connection's, on one thread. The context outlives it. */
struct tls;

int tls_new(const struct tls_context *context, struct tls **tls); /* 0 or -ENOMEM */
void tls_free(struct tls *tls);

/* Where bytes from the peer are to be received, and how many at most; not while tls_has_input. */
void *tls_room(struct tls *tls, size_t *len);
/* So many came; 0: the stream has ended. */
void tls_came(struct tls *tls, size_t len);
/* There is something that can be decrypted, perhaps. */
bool tls_has_input(const struct tls *tls);

/*
 * What is to be sent, after any of the calls below, failed ones included (an alert); then that so
 * many bytes of it were. Any amount piles up.
 */
const void *tls_output(const struct tls *tls, size_t *len);
void tls_sent(struct tls *tls, size_t len);

/* Goes on with the handshake: 0; -EAGAIN: more has to come; or as tls_read. */
int tls_handshake(struct tls *tls);
/*
 * Decrypts into `data`: bytes, -EAGAIN: more has to come, 0: the peer has said good-bye, or -errno
 * for good, with tls_why: -EKEYREJECTED: one side does not accept the other; -EBADMSG: what came
 * is not what the peer has sent; -ECONNRESET: the stream ended without a good-bye; -EKEYEXPIRED: it
 * has carried all that it should under one key.
 */
ssize_t tls_read(struct tls *tls, void *data, size_t len);
/* Encrypts 1..TLS_RECORD_MAX bytes. 0 or -errno as tls_read. */
int tls_write(struct tls *tls, const void *data, size_t len);
/* New keys, asked of the peer as well, with the next write. Long connections do so by themselves.
 */
void tls_update_keys(struct tls *tls);
/* Says good-bye, unless something has failed. */
void tls_end(struct tls *tls);

/* What has failed, for people; NULL: nothing that needs words. */
const char *tls_why(const struct tls *tls);

#endif
