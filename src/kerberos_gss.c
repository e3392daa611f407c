/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <glob.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <krb5.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kerberos.h"
#include "kerberos_priv.h"
#include "options.h"

/* Where the machine's tickets are kept: in the memory of one process. */
#define KERBEROS_MACHINE_CACHE "MEMORY:vsockfs"

static void kerberos_explain(OM_uint32 major, OM_uint32 minor, char why[KERBEROS_WHY])
{
	OM_uint32 ignored, more = 0;
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	int type = minor ? GSS_C_MECH_CODE : GSS_C_GSS_CODE;
	gss_display_status(
		&ignored, minor ? minor : major, type, (gss_OID)gss_mech_krb5, &more, &text);
	snprintf(why, KERBEROS_WHY, "%.*s", (int)text.length, (char *)text.value);
	gss_release_buffer(&ignored, &text);
}

/* What programs are to see: the kernel's client has the same two. */
static int kerberos_errno(OM_uint32 major, OM_uint32 minor)
{
	bool expired = GSS_ROUTINE_ERROR(major) == GSS_S_CREDENTIALS_EXPIRED ||
		       minor == (OM_uint32)KRB5KRB_AP_ERR_TKT_EXPIRED;
	return expired ? -EKEYEXPIRED : -EACCES;
}

static int kerberos_failed(OM_uint32 major, OM_uint32 minor, char why[KERBEROS_WHY])
{
	kerberos_explain(major, minor, why);
	return kerberos_errno(major, minor);
}

/*
 * How well a key of the machine serves: MACHINE$, root/, nfs/, host/ as rpc.gssd has it, and those
 * for this host's name before all others. 0: not at all.
 */
static unsigned keytab_rank(krb5_context krb5, krb5_const_principal principal)
{
	static const char *const services[] = {"host", "nfs", "root"};
	char host[HOST_NAME_MAX + 1] = "", *name = NULL;
	unsigned rank = 0;
	gethostname(host, sizeof(host) - 1);
	if (krb5_unparse_name_flags(krb5, principal, KRB5_PRINCIPAL_UNPARSE_NO_REALM, &name) != 0)
		return 0;
	size_t len = strlen(name);
	const char *slash = strchr(name, '/');
	for (unsigned i = 0; slash && i < 3; i++)
		if (strlen(services[i]) == (size_t)(slash - name) &&
			strncmp(name, services[i], (size_t)(slash - name)) == 0)
			rank = i + 1 + (strcasecmp(slash + 1, host) == 0 ? 4 : 0);
	if (!slash && len > 1 && name[len - 1] == '$')
		rank = 8;
	krb5_free_unparsed_name(krb5, name);
	return rank;
}

/* The name of the best key in the keytab, to be freed, or NULL. */
static char *keytab_choose(krb5_context krb5, krb5_keytab keytab)
{
	krb5_kt_cursor cursor;
	krb5_keytab_entry entry;
	unsigned best = 0;
	char *name = NULL;
	if (krb5_kt_start_seq_get(krb5, keytab, &cursor) != 0)
		return NULL;
	while (krb5_kt_next_entry(krb5, keytab, &entry, &cursor) == 0) {
		unsigned rank = keytab_rank(krb5, entry.principal);
		char *text;
		if (rank > best && krb5_unparse_name(krb5, entry.principal, &text) == 0) {
			free(name);
			name = strdup(text);
			best = rank;
			krb5_free_unparsed_name(krb5, text);
		}
		krb5_free_keytab_entry_contents(krb5, &entry);
	}
	krb5_kt_end_seq_get(krb5, keytab, &cursor);
	return name;
}

/* The default keytab's name and the principal to be, both to be freed; false without one. */
static bool keytab_find(char **keytab_name, char **principal)
{
	krb5_context krb5;
	krb5_keytab keytab;
	char name[PATH_MAX];
	*keytab_name = *principal = NULL;
	if (krb5_init_context(&krb5) != 0)
		return false;
	if (krb5_kt_default(krb5, &keytab) == 0) {
		*principal = keytab_choose(krb5, keytab);
		if (*principal && krb5_kt_get_name(krb5, keytab, name, sizeof(name)) == 0)
			*keytab_name = strdup(name);
		krb5_kt_close(krb5, keytab);
	}
	krb5_free_context(krb5);
	if (*keytab_name)
		return true;
	free(*principal);
	return false;
}

bool kerberos_has_keytab(void)
{
	char *keytab, *principal;
	if (!keytab_find(&keytab, &principal))
		return false;
	free(keytab);
	free(principal);
	return true;
}

static OM_uint32 import_name(
	OM_uint32 *minor, const char *text, gss_const_OID type, gss_name_t *name)
{
	gss_buffer_desc buffer = {.length = strlen(text), .value = (void *)(uintptr_t)text};
	return gss_import_name(minor, &buffer, (gss_OID)(uintptr_t)type, name);
}

static OM_uint32 acquire(OM_uint32 *minor, gss_name_t name, const char *cache, const char *keytab,
	gss_cred_id_t *cred)
{
	gss_OID_set_desc mechs = {.count = 1, .elements = (gss_OID)(uintptr_t)gss_mech_krb5};
	gss_key_value_element_desc elements[] = {{"ccache", cache}, {"client_keytab", keytab}};
	const gss_key_value_set_desc store = {.count = keytab ? 2 : 1, .elements = elements};
	return gss_acquire_cred_from(
		minor, name, GSS_C_INDEFINITE, &mechs, GSS_C_INITIATE, &store, cred, NULL, NULL);
}

/* 0 with a credential; 1: there is no keytab; or as kerberos_begin. */
static int acquire_machine(gss_cred_id_t *cred, char why[KERBEROS_WHY])
{
	char *keytab, *principal;
	gss_name_t name = GSS_C_NO_NAME;
	OM_uint32 minor, ignored;
	if (!keytab_find(&keytab, &principal))
		return 1;
	OM_uint32 major = import_name(&minor, principal, GSS_KRB5_NT_PRINCIPAL_NAME, &name);
	if (!GSS_ERROR(major))
		major = acquire(&minor, name, KERBEROS_MACHINE_CACHE, keytab, cred);
	int err = GSS_ERROR(major) ? kerberos_failed(major, minor, why) : 0;
	gss_release_name(&ignored, &name);
	free(keytab);
	free(principal);
	return err;
}

static OM_uint32 kerberos_step(
	struct kerberos_context *context, gss_buffer_t token, OM_uint32 *minor)
{
	OM_uint32 ignored;
	gss_release_buffer(&ignored, &context->token);
	OM_uint32 major = gss_init_sec_context(minor, context->cred, &context->context,
		context->server, (gss_OID)(uintptr_t)gss_mech_krb5, GSS_C_MUTUAL_FLAG, 0,
		GSS_C_NO_CHANNEL_BINDINGS, token, NULL, &context->token, NULL, &context->lifetime);
	context->complete = major == GSS_S_COMPLETE;
	return major;
}

static bool is_own_file(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0 && st.st_uid == geteuid() &&
	       (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode));
}

/* Tries one cache that is none of krb5.conf's. */
static bool begin_with_cache(struct kerberos_context *context, const char *path)
{
	char name[PATH_MAX + 8];
	struct stat st;
	OM_uint32 minor;
	if (!is_own_file(path) || stat(path, &st) < 0)
		return false;
	snprintf(name, sizeof(name), "%s:%s", S_ISDIR(st.st_mode) ? "DIR" : "FILE", path);
	if (GSS_ERROR(acquire(&minor, GSS_C_NO_NAME, name, NULL, &context->cred)))
		return false;
	if (!GSS_ERROR(kerberos_step(context, GSS_C_NO_BUFFER, &minor)))
		return true;
	OM_uint32 ignored;
	gss_delete_sec_context(&ignored, &context->context, GSS_C_NO_BUFFER);
	gss_release_cred(&ignored, &context->cred);
	return false;
}

/* Where login programs leave tickets under names of their own. */
static bool begin_elsewhere(struct kerberos_context *context)
{
	static const char *const patterns[] = {"/tmp/krb5cc_%u*", "/run/user/%u/krb5cc*"};
	bool begun = false;
	for (unsigned i = 0; i < 2 && !begun; i++) {
		char pattern[64];
		glob_t found;
		snprintf(pattern, sizeof(pattern), patterns[i], (unsigned)geteuid());
		if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
			continue;
		for (size_t j = 0; j < found.gl_pathc && !begun; j++)
			begun = begin_with_cache(context, found.gl_pathv[j]);
		globfree(&found);
	}
	return begun;
}

int kerberos_begin(
	struct kerberos_context *context, const char *host, bool machine, char why[KERBEROS_WHY])
{
	char service[OPTIONS_GSSHOST_MAX + 8];
	OM_uint32 minor;
	*context = (struct kerberos_context){.cred = GSS_C_NO_CREDENTIAL};
	int err = machine ? acquire_machine(&context->cred, why) : 1;
	if (err < 0)
		return err;
	snprintf(service, sizeof(service), "nfs@%s", host);
	OM_uint32 major =
		import_name(&minor, service, GSS_C_NT_HOSTBASED_SERVICE, &context->server);
	if (!GSS_ERROR(major))
		major = kerberos_step(context, GSS_C_NO_BUFFER, &minor);
	if (!GSS_ERROR(major) || (err == 1 && begin_elsewhere(context)))
		return 0;
	return kerberos_failed(major, minor, why);
}

int kerberos_continue(
	struct kerberos_context *context, const void *token, size_t len, char why[KERBEROS_WHY])
{
	gss_buffer_desc buffer = {.length = len, .value = (void *)(uintptr_t)token};
	OM_uint32 minor;
	OM_uint32 major = kerberos_step(context, &buffer, &minor);
	return GSS_ERROR(major) ? kerberos_failed(major, minor, why) : 0;
}

int kerberos_export(struct kerberos_context *context, gss_buffer_t out, char why[KERBEROS_WHY])
{
	OM_uint32 minor;
	OM_uint32 major = gss_export_sec_context(&minor, &context->context, out);
	return GSS_ERROR(major) ? kerberos_failed(major, minor, why) : 0;
}

void kerberos_end(struct kerberos_context *context)
{
	OM_uint32 ignored;
	gss_release_buffer(&ignored, &context->token);
	if (context->context != GSS_C_NO_CONTEXT)
		gss_delete_sec_context(&ignored, &context->context, GSS_C_NO_BUFFER);
	gss_release_cred(&ignored, &context->cred);
	gss_release_name(&ignored, &context->server);
}
