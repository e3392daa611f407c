/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "xprtsec.h"

#include "util/log.h"

int xprtsec_load(const struct options *options, struct tls_context **context)
{
	const struct tls_config config = {.ca = options->tls_ca,
		.name = options->tls_name,
		.cert = options->tls_cert,
		.key = options->tls_key};
	char why[512];

	*context = NULL;
	if (options->xprtsec == OPTIONS_XPRTSEC_NONE)
		return 0;
	int err = tls_context_new(&config, context, why, sizeof(why));
	if (err)
		log_error("-o xprtsec=: %s", why);
	return err;
}
