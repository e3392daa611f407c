/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vsock/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "vsock/tls_priv.h"

/* Received at once: four records of full length. */
#define TLS_INPUT (4 * (TLS_RECORD_MAX + 512))
/* What our side alone may pile up; a peer cannot make it more. */
#define TLS_OUTPUT_MAX (1u << 20)
/*
 * AES-GCM is good for 2^38.5 bytes under one key (RFC 8446, 5.5), which a mount may well reach, and
 * the library counts them for nobody. The next connection has others. TLS could change them on this
 * one, but a server whose TLS is the kernel's (knfsd) says nothing more when it is asked to.
 */
#define TLS_KEY_BYTES (UINT64_C(1) << 37)

struct tls {
	const struct tls_context *context;
	SSL *ssl;
	bool greeted, heard; /* the handshake is done; data has come */
	bool asked;	     /* the server wants a certificate */
	bool ended;
	int err;	/* for good: -errno */
	uint64_t bytes; /* both ways */
	char why[224];

	uint8_t *out;
	size_t out_at, out_len, out_cap;
	size_t in_at, in_len;
	uint8_t in[TLS_INPUT];
};

static int tls_bio_read(BIO *bio, char *data, size_t len, size_t *done)
{
	struct tls *tls = BIO_get_data(bio);
	size_t n = tls->in_len - tls->in_at;

	BIO_clear_retry_flags(bio);
	if (n == 0) {
		if (!tls->ended)
			BIO_set_retry_read(bio);
		return 0;
	}
	n = n < len ? n : len;
	memcpy(data, tls->in + tls->in_at, n);
	tls->in_at += n;
	*done = n;
	return 1;
}

static int tls_bio_write(BIO *bio, const char *data, size_t len, size_t *done)
{
	struct tls *tls = BIO_get_data(bio);
	size_t need = tls->out_len + len;

	BIO_clear_retry_flags(bio);
	if (need > tls->out_cap) {
		size_t cap = need > TLS_INPUT ? need : TLS_INPUT;
		uint8_t *out = cap > TLS_OUTPUT_MAX ? NULL : realloc(tls->out, cap);
		if (!out)
			return 0;
		tls->out = out;
		tls->out_cap = cap;
	}
	memcpy(tls->out + tls->out_len, data, len);
	tls->out_len = need;
	*done = len;
	return 1;
}

static long tls_bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	if (command == BIO_CTRL_EOF)
		return ((struct tls *)BIO_get_data(bio))->ended;
	return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_bio_method_new(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");

	if (method) {
		BIO_meth_set_read_ex(method, tls_bio_read);
		BIO_meth_set_write_ex(method, tls_bio_write);
		BIO_meth_set_ctrl(method, tls_bio_ctrl);
	}
	return method;
}

/* A client has this called when the server asks for its certificate. */
int tls_asked(SSL *ssl, void *arg)
{
	struct tls *tls = SSL_get_app_data(ssl);

	(void)arg;
	tls->asked = true;
	return 1;
}

static int tls_set_name(SSL *ssl, const char *name)
{
	struct in6_addr number;

	if (inet_pton(AF_INET, name, &number) == 1 || inet_pton(AF_INET6, name, &number) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name);
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

int tls_new(const struct tls_context *context, struct tls **out)
{
	struct tls *tls = malloc(sizeof(*tls));

	if (!tls)
		return -ENOMEM;
	memset(tls, 0, offsetof(struct tls, in));
	tls->context = context;
	/* A machine that was cloned, or restored twice, must not make the same keys again: the
	 * kernel's random numbers know, the library's do not. */
	RAND_poll();
	BIO *bio = BIO_new(context->method);
	tls->ssl = bio ? SSL_new(context->ssl) : NULL;
	if (!tls->ssl) {
		BIO_free(bio);
		goto err;
	}
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	SSL_set_app_data(tls->ssl, tls);
	SSL_set_connect_state(tls->ssl);
	if (!tls_set_name(tls->ssl, context->name))
		goto err;
	*out = tls;
	return 0;

err:
	tls_free(tls);
	ERR_clear_error();
	return -ENOMEM;
}

void tls_free(struct tls *tls)
{
	SSL_free(tls->ssl);
	free(tls->out);
	free(tls);
}

void *tls_room(struct tls *tls, size_t *len)
{
	tls->in_at = tls->in_len = 0;
	*len = sizeof(tls->in);
	return tls->in;
}

void tls_came(struct tls *tls, size_t len)
{
	tls->in_len = len;
	tls->ended = len == 0;
}

bool tls_has_input(const struct tls *tls)
{
	return tls->in_at < tls->in_len || tls->ended || tls->err || SSL_pending(tls->ssl) > 0;
}

const void *tls_output(const struct tls *tls, size_t *len)
{
	*len = tls->out_len - tls->out_at;
	return tls->out + tls->out_at;
}

void tls_sent(struct tls *tls, size_t len)
{
	tls->out_at += len;
	if (tls->out_at == tls->out_len)
		tls->out_at = tls->out_len = 0;
}

/* In what words the server has refused. */
static void tls_say_alert(struct tls *tls, int alert)
{
	const char *name = SSL_alert_desc_string_long(alert);

	if (alert == TLS13_AD_CERTIFICATE_REQUIRED)
		snprintf(tls->why, sizeof(tls->why),
			"the server wants a certificate of this machine (xprtsec=mtls)");
	else if (alert >= SSL_AD_BAD_CERTIFICATE && alert <= SSL_AD_ACCESS_DENIED && tls->asked &&
		 tls->context->has_cert && alert != SSL_AD_ILLEGAL_PARAMETER)
		snprintf(tls->why, sizeof(tls->why),
			"the server does not accept this machine's certificate: %s", name);
	else
		snprintf(tls->why, sizeof(tls->why), "the server refuses TLS: %s", name);
}

static void tls_say_certificate(struct tls *tls, long result)
{
	if (result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH)
		snprintf(tls->why, sizeof(tls->why),
			"the server's certificate is not for the name %s (tls_name=)",
			tls->context->name);
	else
		snprintf(tls->why, sizeof(tls->why), "the server's certificate is not trusted: %s",
			X509_verify_cert_error_string(result));
}

static int tls_fail_library(struct tls *tls)
{
	unsigned long error = ERR_peek_error();
	int reason = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
	long verified = SSL_get_verify_result(tls->ssl);
	const char *words = ERR_reason_error_string(error);

	if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256) {
		tls_say_alert(tls, reason - SSL_AD_REASON_OFFSET);
		return -EKEYREJECTED;
	}
	if (!tls->greeted && verified != X509_V_OK) {
		tls_say_certificate(tls, verified);
		return -EKEYREJECTED;
	}
	snprintf(tls->why, sizeof(tls->why), "what the server sends is not TLS, or was changed: %s",
		words ? words : "no reason known");
	return tls->greeted ? -EBADMSG : -EKEYREJECTED;
}

static int tls_fail_end(struct tls *tls)
{
	if (!tls->greeted)
		snprintf(tls->why, sizeof(tls->why),
			"the server closed the connection during the TLS handshake");
	else if (!tls->heard)
		snprintf(tls->why, sizeof(tls->why),
			"the server closed the connection after the TLS handshake: does it %s?",
			tls->context->has_cert ? "know this machine's certificate"
					       : "want a certificate (xprtsec=mtls)");
	return -ECONNRESET;
}

/* What a call that returned `result` has come to. */
static int tls_judge(struct tls *tls, int result)
{
	switch (SSL_get_error(tls->ssl, result)) {
	case SSL_ERROR_NONE: return 0;
	case SSL_ERROR_WANT_READ: return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN: return tls->heard ? 0 : tls_fail_end(tls);
	default: break;
	}
	unsigned long error = ERR_peek_error();
	bool end = ERR_GET_LIB(error) == ERR_LIB_SSL &&
		   ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING;

	if (error == 0 || end)
		tls->err = tls->ended ? tls_fail_end(tls) : -ENOMEM;
	else
		tls->err = tls_fail_library(tls);
	ERR_clear_error();
	return tls->err;
}

/* The handshake is complete as TLS has it. */
static int tls_check(struct tls *tls)
{
	/* A server that is silent about ALPN (tlshd is) has been asked whether it speaks RPC by the
	 * question in front; the library refuses one that chooses something else. */
	if (!tls->context->has_cert || tls->asked)
		return 0;
	snprintf(tls->why, sizeof(tls->why),
		"the server wants no certificate of this machine: use xprtsec=tls");
	SSL_shutdown(tls->ssl);
	tls->err = -EKEYREJECTED;
	return tls->err;
}

int tls_handshake(struct tls *tls)
{
	ERR_clear_error();
	int err = tls_judge(tls, SSL_do_handshake(tls->ssl));

	if (!err)
		err = tls_check(tls);
	tls->greeted = !err;
	return err;
}

static bool tls_keys_worn(const struct tls *tls)
{
	uint64_t limit = tls->context->key_bytes;

	return tls->bytes >= (limit > 0 ? limit : TLS_KEY_BYTES);
}

ssize_t tls_read(struct tls *tls, void *data, size_t len)
{
	size_t n;

	if (!tls->err && tls_keys_worn(tls))
		tls->err = -EKEYEXPIRED;
	if (tls->err)
		return tls->err;
	ERR_clear_error();
	int result = SSL_read_ex(tls->ssl, data, len, &n);
	if (result <= 0)
		return tls_judge(tls, result);
	tls->bytes += n;
	tls->heard = true;
	return (ssize_t)n;
}

int tls_write(struct tls *tls, const void *data, size_t len)
{
	size_t n;

	ERR_clear_error();
	int result = SSL_write_ex(tls->ssl, data, len, &n);
	if (result <= 0)
		return tls_judge(tls, result);
	tls->bytes += n;
	return 0;
}

void tls_end(struct tls *tls)
{
	bool well = !tls->err || tls->err == -EKEYEXPIRED;

	if (tls->greeted && well && !tls->ended)
		SSL_shutdown(tls->ssl);
	ERR_clear_error();
}

const char *tls_why(const struct tls *tls)
{
	return tls->why[0] ? tls->why : NULL;
}
