/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_VSOCK_TLS_PRIV_H
#define VSOCKFS_VSOCK_TLS_PRIV_H

#include <openssl/ssl.h>

#include "vsock/tls.h"

/* What tls_context.c reads and tls.c uses. */
struct tls_context {
	SSL_CTX *ssl;
	BIO_METHOD *method;
	char *name;
	bool has_cert;
	uint64_t key_bytes;
};

/* tls.c */
BIO_METHOD *tls_bio_method_new(void);
int tls_asked(SSL *ssl, void *arg);

#endif
