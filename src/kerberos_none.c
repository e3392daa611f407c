/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>

#include "kerberos.h"

/* Instead of kerberos.c in a program built without libgssapi, whose options refuse Kerberos. */

bool kerberos_built(void)
{
	return false;
}

bool kerberos_has_keytab(void)
{
	return false;
}

int kerberos_start(const struct options *options, int *fd)
{
	return -EPROTONOSUPPORT;
}

void kerberos_prepare(void)
{
}
