/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vsock/tls.h"
#include "vsock/tls_priv.h"

/* 112 bits: what Debian and Fedora ask for anyway. */
#define TLS_SECURITY_LEVEL 2

/* Of RPC (RFC 9289, 5.1), as ALPN has it. */
static const unsigned char tls_protocols[] = "\6sunrpc";

struct tls_words {
	char *text;
	size_t size;
};

static int tls_wrong(struct tls_words *why, const char *what, const char *file)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	snprintf(why->text, why->size, "%s%s%s: %s", what, file ? "=" : "", file ? file : "",
		reason ? reason : "the library does not say why");
	ERR_clear_error();
	return -EINVAL;
}

/* The library's own words for a file that cannot be opened are none. */
static int tls_check_file(const char *what, const char *file, struct tls_words *why)
{
	if (access(file, R_OK) == 0)
		return 0;
	int err = errno;
	snprintf(why->text, why->size, "%s=%s: %s", what, file, strerror(err));
	return -err;
}

/* Nobody is asked for the passphrase of a key. */
static int tls_no_password(char *buffer, int size, int writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)arg;
	return 0;
}

static int tls_load_ca(SSL_CTX *ssl, const char *ca, struct tls_words *why)
{
	int err = tls_check_file("tls_ca", ca, why);

	if (err)
		return err;
	if (SSL_CTX_load_verify_locations(ssl, ca, NULL) != 1)
		return tls_wrong(why, "tls_ca", ca);
	/* What the file has is trusted, be it the server's own certificate. */
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ssl), X509_V_FLAG_PARTIAL_CHAIN);
	return 0;
}

static int tls_load_cert(SSL_CTX *ssl, const struct tls_config *config, struct tls_words *why)
{
	int err = tls_check_file("tls_cert", config->cert, why);

	if (!err)
		err = tls_check_file("tls_key", config->key, why);
	if (err)
		return err;
	if (SSL_CTX_use_certificate_chain_file(ssl, config->cert) != 1)
		return tls_wrong(why, "tls_cert", config->cert);
	if (SSL_CTX_use_PrivateKey_file(ssl, config->key, SSL_FILETYPE_PEM) != 1)
		return tls_wrong(why, "tls_key", config->key);
	return 0;
}

static int tls_set_up(SSL_CTX *ssl, struct tls_words *why)
{
	SSL_CTX_set_security_level(ssl, TLS_SECURITY_LEVEL);
	SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
	/* An idle connection keeps no records' buffers. */
	SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_default_passwd_cb(ssl, tls_no_password);
	SSL_CTX_set_cert_cb(ssl, tls_asked, NULL);
	if (SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) != 1 ||
		SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) != 1 ||
		SSL_CTX_set_alpn_protos(ssl, tls_protocols, sizeof(tls_protocols) - 1) != 0)
		return tls_wrong(why, "TLS 1.3", NULL);
	return 0;
}

int tls_context_new(
	const struct tls_config *config, struct tls_context **out, char *why, size_t size)
{
	struct tls_words words = {why, size};
	struct tls_context *context = calloc(1, sizeof(*context));
	int err = -ENOMEM;

	snprintf(why, size, "%s", strerror(ENOMEM));
	if (!context)
		return err;
	context->ssl = SSL_CTX_new(TLS_client_method());
	context->method = tls_bio_method_new();
	context->name = strdup(config->name);
	context->has_cert = config->cert;
	context->key_bytes = config->key_bytes;
	if (context->ssl && context->method && context->name) {
		err = tls_set_up(context->ssl, &words);
		if (!err)
			err = tls_load_ca(context->ssl, config->ca, &words);
		if (!err && config->cert)
			err = tls_load_cert(context->ssl, config, &words);
	}
	if (err) {
		tls_context_free(context);
		return err;
	}
	*out = context;
	return 0;
}

void tls_context_free(struct tls_context *context)
{
	if (!context)
		return;
	SSL_CTX_free(context->ssl);
	BIO_meth_free(context->method);
	free(context->name);
	free(context);
}
