/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_KERBEROS_PRIV_H
#define VSOCKFS_KERBEROS_PRIV_H

#include <gssapi/gssapi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* kerberos.c has the processes, kerberos_gss.c what they do with libgssapi. */

#define KERBEROS_WHY 256

/* The beginning of a context: the first token is in `token`, to be released with the rest. */
struct kerberos_context {
	gss_name_t server;
	gss_cred_id_t cred;
	gss_ctx_id_t context;
	gss_buffer_desc token;
	OM_uint32 lifetime; /* seconds */
	bool complete;
};

/*
 * Begins a context with nfs@`host`. `machine`: with the keytab, whose tickets this process then
 * keeps; otherwise, and without a keytab, with those of the user that this process belongs to. 0,
 * -EKEYEXPIRED, or -EACCES, with a text in `why`.
 */
int kerberos_begin(
	struct kerberos_context *context, const char *host, bool machine, char why[KERBEROS_WHY]);
/* The server's token in, another one in context->token if there is one. As above. */
int kerberos_continue(
	struct kerberos_context *context, const void *token, size_t len, char why[KERBEROS_WHY]);
/* A complete context for another process; it is gone here. As above. */
int kerberos_export(struct kerberos_context *context, gss_buffer_t out, char why[KERBEROS_WHY]);
void kerberos_end(struct kerberos_context *context);

#endif
