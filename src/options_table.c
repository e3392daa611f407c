/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options_table.h"

#include <ctype.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

/* Digits, with a point among or before them: no sign, exponent, "inf" or "nan" as strtod takes. */
bool option_seconds_parse(const char *text, double *seconds)
{
	size_t whole = strspn(text, "0123456789");
	size_t fraction = text[whole] == '.' ? strspn(text + whole + 1, "0123456789") : 0;
	size_t len = whole + (text[whole] == '.') + fraction;

	if (whole + fraction == 0 || text[len])
		return false;
	*seconds = strtod(text, NULL);
	return *seconds <= OPTION_SECONDS_MAX;
}

static bool set_actimeo(struct words *w, const char *value)
{
	double seconds;

	if (!option_seconds_parse(value, &seconds))
		return false;
	w->acregmin = w->acregmax = w->acdirmin = w->acdirmax = seconds;
	return true;
}

static bool set_hard(struct words *w, const char *value)
{
	w->o.soft = w->o.softerr = false;
	return true;
}

static bool set_soft(struct words *w, const char *value)
{
	w->o.soft = true;
	w->o.softerr = false;
	return true;
}

static bool set_softerr(struct words *w, const char *value)
{
	w->o.soft = w->o.softerr = true;
	return true;
}

static bool set_user(struct words *w, const char *value)
{
	w->nosuid = w->nodev = w->noexec = true;
	return true;
}

static bool set_owner(struct words *w, const char *value)
{
	w->nosuid = w->nodev = true;
	return true;
}

/* "4" leaves the minor version to minorversion=, whichever of the two comes first. */
static bool set_vers(struct words *w, const char *value)
{
	if (strcmp(value, "4") == 0) {
		w->vers_minor = -1;
		return true;
	}
	if (strcmp(value, "4.1") != 0 && strcmp(value, "4.2") != 0)
		return false;
	w->vers_minor = value[2] - '0';
	w->minorversion = -1;
	return true;
}

static bool set_minorversion(struct words *w, const char *value)
{
	if (strcmp(value, "1") != 0 && strcmp(value, "2") != 0)
		return false;
	w->minorversion = value[0] - '0';
	return true;
}

/* A number, or a name in the user database. */
static bool set_uid(struct words *w, const char *value)
{
	uint64_t id;
	const struct passwd *user = NULL;

	if (words_number(value, 0, OPTIONS_NO_ID - 1, &id))
		w->uid = (uint32_t)id;
	else if (*value && (user = getpwnam(value)))
		w->uid = user->pw_uid;
	else
		return false;
	return true;
}

static bool set_gid(struct words *w, const char *value)
{
	uint64_t id;
	const struct group *group = NULL;

	if (words_number(value, 0, OPTIONS_NO_ID - 1, &id))
		w->gid = (uint32_t)id;
	else if (*value && (group = getgrnam(value)))
		w->gid = group->gr_gid;
	else
		return false;
	return true;
}

static bool parse_mask(const char *value, uint32_t *mask)
{
	size_t len = strspn(value, "01234567");

	if (len == 0 || len > 8 || value[len])
		return false;
	unsigned long bits = strtoul(value, NULL, 8);
	if (bits > 0777)
		return false;
	*mask = (uint32_t)bits;
	return true;
}

static bool set_fmask(struct words *w, const char *value)
{
	return parse_mask(value, &w->o.fmask);
}

static bool set_dmask(struct words *w, const char *value)
{
	return parse_mask(value, &w->o.dmask);
}

static bool set_umask(struct words *w, const char *value)
{
	return set_fmask(w, value) && set_dmask(w, value);
}

static bool add_sec(struct rpc_sec_list *list, const char *name, size_t len)
{
	for (enum rpc_sec sec = 0; sec < RPC_SEC_COUNT; sec++) {
		if (strlen(rpc_sec_name(sec)) == len && memcmp(name, rpc_sec_name(sec), len) == 0) {
			rpc_sec_list_add(list, sec);
			return true;
		}
	}
	return false;
}

static bool set_sec(struct words *w, const char *value)
{
	struct rpc_sec_list list = {0};

	for (;; value++) {
		size_t len = strcspn(value, ":");
		if (!add_sec(&list, value, len))
			return false;
		value += len;
		if (!*value)
			break;
	}
	w->o.secs = list;
	return true;
}

static bool set_clientaddr(struct words *w, const char *value)
{
	size_t len = strlen(value);

	if (len == 0 || len > WORDS_CLIENTADDR_MAX)
		return false;
	for (const char *p = value; *p; p++)
		if (!isgraph((unsigned char)*p))
			return false;
	char *copy = strdup(value);
	if (!copy)
		return false;
	free(w->o.clientaddr);
	w->o.clientaddr = copy;
	return true;
}

static const struct option_choice choices_xprtsec[] = {{"none", OPTIONS_XPRTSEC_NONE},
	{"tls", OPTIONS_XPRTSEC_TLS}, {"mtls", OPTIONS_XPRTSEC_MTLS}, {NULL}};
static const struct option_choice choices_proto[] = {{"vsock", WORDS_PROTO_VSOCK},
	{"unix", WORDS_PROTO_UNIX}, {"tcp", WORDS_PROTO_TCP}, {"tcp6", WORDS_PROTO_TCP6}, {NULL}};
static const struct option_choice choices_io[] = {
	{"auto", LOOP_AUTO}, {"uring", LOOP_URING}, {"poll", LOOP_POLL}, {NULL}};
static const struct option_choice choices_ring[] = {
	{"auto", OPTIONS_RING_AUTO}, {"on", OPTIONS_RING_ON}, {"off", OPTIONS_RING_OFF}, {NULL}};
static const struct option_choice choices_cache[] = {{"none", OPTIONS_CACHE_NONE},
	{"auto", OPTIONS_CACHE_AUTO}, {"always", OPTIONS_CACHE_ALWAYS}, {NULL}};
static const struct option_choice choices_access[] = {
	{"client", WORDS_ACCESS_DEFAULT}, {"server", WORDS_ACCESS_SERVER}, {NULL}};
static const struct option_choice choices_lookupcache[] = {{"all", OPTIONS_LOOKUPCACHE_ALL},
	{"pos", OPTIONS_LOOKUPCACHE_POSITIVE}, {"positive", OPTIONS_LOOKUPCACHE_POSITIVE},
	{"none", OPTIONS_LOOKUPCACHE_NONE}, {NULL}};
static const struct option_choice choices_sandbox[] = {{"yes", true}, {"no", false}, {NULL}};
static const struct option_choice choices_local_lock[] = {{"none", false}, {"all", true}, {NULL}};

static const struct option_choice choices_delegations[] = {
	{"none", DELEG_NONE}, {"read", DELEG_READ}, {"all", DELEG_ALL}, {NULL}};

#define AT(field) offsetof(struct words, field), sizeof(((struct words *)0)->field)
#define FLAG(name, field, v)                             \
	{                                                \
		name, OPTION_FLAG, AT(field), .value = v \
	}
#define NUMBER(name, field, lo, hi, t)                                          \
	{                                                                       \
		name, OPTION_NUMBER, AT(field), .min = lo, .max = hi, .text = t \
	}
#define SECONDS(name, field)                    \
	{                                       \
		name, OPTION_SECONDS, AT(field) \
	}
#define CHOICE(name, field, list)                               \
	{                                                       \
		name, OPTION_CHOICE, AT(field), .choices = list \
	}
#define TEXT(name, field)                    \
	{                                    \
		name, OPTION_TEXT, AT(field) \
	}
#define SET(name, fn, t)                               \
	{                                              \
		name, OPTION_SET, .set = fn, .text = t \
	}
#define SET_FIELD(name, field, fn, t)                             \
	{                                                         \
		name, OPTION_SET, AT(field), .set = fn, .text = t \
	}
#define IGNORED(name)                \
	{                            \
		name, OPTION_IGNORED \
	}
#define REFUSED(name, t)                        \
	{                                       \
		name, OPTION_REFUSED, .text = t \
	}

#define HINT_AC	     "the attribute cache is set with acregmin=, acregmax=, acdirmin=, acdirmax="
#define HINT_IDMAP   "use idmap=FILE"
#define HINT_CACHE   "use cache=none, cache=auto or cache=always"
#define HINT_KERNEL  "this is settled with the kernel, there is nothing to choose"
#define HINT_SELINUX "SELinux contexts are not supported"

static const struct option_word words[] = {
	/* transport */
	NUMBER("port", port, 1, UINT32_MAX - 1, ""),
	SET_FIELD("vers", vers_minor, set_vers, "4, 4.1 or 4.2"),
	SET_FIELD("nfsvers", vers_minor, set_vers, "4, 4.1 or 4.2"),
	SET_FIELD("minorversion", minorversion, set_minorversion, "1 or 2"),
	NUMBER("rsize", o.rsize, WORDS_IO_MIN, WORDS_IO_MAX, " bytes"),
	NUMBER("wsize", o.wsize, WORDS_IO_MIN, WORDS_IO_MAX, " bytes"),
	SET_FIELD("hard", o.soft, set_hard, NULL),
	SET_FIELD("soft", o.soft, set_soft, NULL),
	SET_FIELD("softerr", o.softerr, set_softerr, NULL),
	NUMBER("timeo", o.timeo_ds, 1, 36000, " tenths of a second"),
	NUMBER("retrans", o.retrans, 0, 1000, ""),
	NUMBER("retry", retry_min, 0, 100000, " minutes"),
	NUMBER("nconnect", o.nconnect, 1, 16, ""),
	SET_FIELD("sec", o.secs, set_sec,
		"sys, none, krb5, krb5i or krb5p, or some of them with colons between"),
	TEXT("gsshost", o.gsshost),
	CHOICE("xprtsec", o.xprtsec, choices_xprtsec),
	TEXT("tls_name", o.tls_name),
	TEXT("tls_ca", o.tls_ca),
	TEXT("tls_cert", o.tls_cert),
	TEXT("tls_key", o.tls_key),
	REFUSED("cert_serial", "use tls_cert="),
	REFUSED("privkey_serial", "use tls_key="),
	CHOICE("proto", proto, choices_proto),
	SET_FIELD("clientaddr", o.clientaddr, set_clientaddr,
		"1 to 128 printable characters without spaces"),
	FLAG("resvport", resvport, WORDS_RESVPORT_YES),
	FLAG("noresvport", resvport, WORDS_RESVPORT_NO),
	CHOICE("io", o.io, choices_io),
	NUMBER("busy_poll", o.busy_poll_us, 0, 1000, " microseconds, 0 for never"),
	NUMBER("max_readahead", o.max_readahead, 0, 64 << 20, " bytes"),
	CHOICE("fuse_uring", o.fuse_ring, choices_ring),
	NUMBER("buffer", o.socket_buffer, 0, 256 << 20, " bytes, 0 for the kernel's own choice"),

	/* caching and consistency */
	CHOICE("cache", o.cache, choices_cache),
	FLAG("writeback", o.writeback, true),
	FLAG("nowriteback", o.writeback, false),
	FLAG("ac", o.noac, false),
	FLAG("noac", o.noac, true),
	SECONDS("acregmin", acregmin),
	SECONDS("acregmax", acregmax),
	SECONDS("acdirmin", acdirmin),
	SECONDS("acdirmax", acdirmax),
	SET("actimeo", set_actimeo, "0 to 2147483647 seconds, fractions allowed"),
	CHOICE("lookupcache", o.lookupcache, choices_lookupcache),
	FLAG("lock", o.nolock, false),
	FLAG("nolock", o.nolock, true),
	CHOICE("local_lock", o.nolock, choices_local_lock),
	FLAG("cto", o.cto, true),
	FLAG("nocto", o.cto, false),
	CHOICE("delegations", o.delegations, choices_delegations),

	/* beyond POSIX */
	FLAG("xattr", o.xattr, true),
	FLAG("noxattr", o.xattr, false),
	FLAG("acl", o.acl, true),
	FLAG("noacl", o.acl, false),

	/* who may do what */
	CHOICE("access", access, choices_access),
	FLAG("allow_other", allow, WORDS_ALLOW_OTHER),
	FLAG("allow_root", allow, WORDS_ALLOW_ROOT),
	FLAG("default_permissions", access, WORDS_ACCESS_KERNEL),
	SET_FIELD("uid", uid, set_uid, "a user"),
	SET_FIELD("gid", gid, set_gid, "a group"),
	SET_FIELD("umask", o.fmask, set_umask, "an octal number up to 777"),
	SET_FIELD("fmask", o.fmask, set_fmask, "an octal number up to 777"),
	SET_FIELD("dmask", o.dmask, set_dmask, "an octal number up to 777"),
	TEXT("idmap", o.idmap),
	FLAG("takeover", o.takeover, true),
	FLAG("rootfs", o.rootfs, true),
	CHOICE("sandbox", o.sandbox, choices_sandbox),

	/* the mount itself */
	FLAG("ro", o.read_only, true),
	FLAG("rw", o.read_only, false),
	FLAG("suid", nosuid, false),
	FLAG("nosuid", nosuid, true),
	FLAG("dev", nodev, false),
	FLAG("nodev", nodev, true),
	FLAG("exec", noexec, false),
	FLAG("noexec", noexec, true),
	FLAG("atime", noatime, false),
	FLAG("noatime", noatime, true),
	FLAG("sync", sync, true),
	FLAG("async", sync, false),
	FLAG("dirsync", dirsync, true),
	FLAG("auto_unmount", o.auto_unmount, true),
	FLAG("referrals", o.referrals, true),
	FLAG("noreferrals", o.referrals, false),
	NUMBER("referral_idle", o.referral_idle_s, 1, 1000000, " seconds"),
	TEXT("fsname", fsname),
	TEXT("subtype", subtype),

	/* access times are the server's, so the finer rules for them have nothing to act on */
	IGNORED("diratime"),
	IGNORED("nodiratime"),
	IGNORED("relatime"),
	IGNORED("norelatime"),
	IGNORED("strictatime"),
	IGNORED("nostrictatime"),

	/* for mount(8) and systemd; user, owner and group imply what mount(8) says they do */
	SET("user", set_user, NULL),
	SET("users", set_user, NULL),
	SET("owner", set_owner, NULL),
	SET("group", set_owner, NULL),
	IGNORED("defaults"),
	IGNORED("auto"),
	IGNORED("noauto"),
	IGNORED("nouser"),
	IGNORED("nousers"),
	IGNORED("noowner"),
	IGNORED("nogroup"),
	IGNORED("nofail"),
	IGNORED("_netdev"),
	IGNORED("comment"),
	IGNORED("sloppy"),
	IGNORED("remount"), /* words_remount saw it */
	TEXT("setuid", setuid),
	IGNORED("drop_privileges"), /* the daemon always does */

	REFUSED("bind", "use mount --bind"),
	REFUSED("bg", "use retry= to wait longer, or an automount unit (x-systemd.automount)"),
	REFUSED("context", HINT_SELINUX),
	REFUSED("fscontext", HINT_SELINUX),
	REFUSED("defcontext", HINT_SELINUX),
	REFUSED("rootcontext", HINT_SELINUX),
	REFUSED("seclabel", HINT_SELINUX),
	REFUSED("udp", "NFSv4.1 needs a stream"),
	REFUSED("rdma", "NFSv4.1 over RDMA is not spoken here"),
	REFUSED("mountport", "NFSv4 has no mount protocol"),
	REFUSED("mountproto", "NFSv4 has no mount protocol"),
	REFUSED("mountvers", "NFSv4 has no mount protocol"),

	/* words of libfuse */
	REFUSED("max_read", "use rsize="),
	REFUSED("max_write", "use wsize="),
	REFUSED("max_background", HINT_KERNEL),
	REFUSED("congestion_threshold", HINT_KERNEL),
	REFUSED("async_read", HINT_KERNEL),
	REFUSED("sync_read", HINT_KERNEL),
	REFUSED("big_writes", HINT_KERNEL),
	REFUSED("large_read", HINT_KERNEL),
	REFUSED("splice_read", HINT_KERNEL),
	REFUSED("splice_write", HINT_KERNEL),
	REFUSED("splice_move", HINT_KERNEL),
	REFUSED("clone_fd", HINT_KERNEL),
	REFUSED("io_uring", "use fuse_uring="),
	REFUSED("io_uring_q_depth", HINT_KERNEL),
	REFUSED("max_idle_threads", "use nconnect="),
	REFUSED("max_threads", "use nconnect="),
	REFUSED("direct_io", HINT_CACHE),
	REFUSED("kernel_cache", HINT_CACHE),
	REFUSED("auto_cache", HINT_CACHE),
	REFUSED("noauto_cache", HINT_CACHE),
	REFUSED("writeback_cache", "use writeback"),
	REFUSED("entry_timeout", HINT_AC),
	REFUSED("attr_timeout", HINT_AC),
	REFUSED("ac_attr_timeout", HINT_AC),
	REFUSED("negative_timeout", "use lookupcache=positive, or acdirmin= and acdirmax="),
	REFUSED("uidfile", HINT_IDMAP),
	REFUSED("gidfile", HINT_IDMAP),
	REFUSED("nomap", HINT_IDMAP),
	REFUSED("use_ino", "inode numbers always are the server's"),
	REFUSED("readdir_ino", "inode numbers always are the server's"),
	REFUSED("no_remote_lock", "use nolock"),
	REFUSED("nonempty", "not needed: any directory may be mounted over"),
	REFUSED("hard_remove", "an open file that is removed is always kept until it is closed"),
	REFUSED("blkdev", "there is no block device"),
	REFUSED("fd", "this is between libfuse and the kernel"),
	REFUSED("rootmode", "this is between libfuse and the kernel"),
	REFUSED("user_id", "this is between libfuse and the kernel"),
	REFUSED("group_id", "this is between libfuse and the kernel"),
};

const struct option_word *option_word_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i].name) == len && memcmp(words[i].name, name, len) == 0)
			return &words[i];
	return NULL;
}

const struct option_word *option_word_at(size_t i)
{
	return i < sizeof(words) / sizeof(words[0]) ? &words[i] : NULL;
}

bool option_word_same(const struct option_word *word, const struct words *a, const struct words *b)
{
	const char *at_a = (const char *)a + word->at, *at_b = (const char *)b + word->at;

	if (word->kind != OPTION_TEXT && word->set != set_clientaddr)
		return memcmp(at_a, at_b, word->size) == 0;
	const char *text_a = *(char *const *)at_a, *text_b = *(char *const *)at_b;
	return strcmp(text_a ? text_a : "", text_b ? text_b : "") == 0;
}

bool option_word_optional(const struct option_word *word)
{
	return word->set == set_user;
}
