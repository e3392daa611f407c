/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "idmap_file.h"
#include "kerberos.h"
#include "mountinfo.h"
#include "mountpoint.h"
#include "options_words.h"
#include "service.h"
#include "source.h"

/* Exit statuses of mount(8) */
#define STATUS_USAGE   1
#define STATUS_SYSTEM  2
#define STATUS_FAILURE 32

static const struct option long_options[] = {
	{"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {NULL}};

struct arguments {
	const char **lists; /* the -o options, in order */
	unsigned nlists;
	bool helper; /* called as mount.TYPE by mount(8) */
	bool sloppy;
	const char *mount_namespace; /* or NULL */
};

static int usage(const struct words *w, const char *what, const char *argument)
{
	return words_fail(w, STATUS_USAGE, "%s%s (usage: %s SOURCE MOUNTPOINT [-o OPTIONS])", what,
		argument, w->program);
}

static void take_flag(struct words *w, struct arguments *args, int c)
{
	switch (c) {
	case 'o': args->lists[args->nlists++] = optarg; break;
	case 'h': w->o.action = OPTIONS_HELP; break;
	case 'V': w->o.action = OPTIONS_VERSION; break;
	case 'd': w->o.debug = w->o.foreground = true; break;
	case 'f':
		if (args->helper)
			w->o.fake = true;
		else
			w->o.foreground = true;
		break;
	case 's':
		if (args->helper)
			args->sloppy = true;
		else
			w->o.nconnect = 1;
		break;
	case 'v': w->o.verbose = true; break;
	case 'N': args->mount_namespace = optarg; break;
	case 'n': /* no mtab: there is none */
	case 't': /* the type that mount(8) was given */ break;
	}
}

static int parse_flags(struct words *w, struct arguments *args, int argc, char **argv)
{
	const char *flags = args->helper ? ":o:hVdfsnvt:N:" : ":o:hVdfsnv";
	int c;

	optind = 0; /* glibc: start anew, and permute */
	while ((c = getopt_long(argc, argv, flags, long_options, NULL)) != -1) {
		char letter[3] = {'-', (char)optopt};

		if (c == ':')
			return usage(w, "an argument is missing after ", letter);
		if (c == '?')
			return usage(w, "unknown option ", optopt ? letter : argv[optind - 1]);
		take_flag(w, args, c);
		if (w->o.action == OPTIONS_HELP || w->o.action == OPTIONS_VERSION)
			return 0;
	}
	return 0;
}

static bool lists_have(const struct arguments *args, const char *word)
{
	for (unsigned i = 0; i < args->nlists; i++)
		if (words_have(args->lists[i], word))
			return true;
	return false;
}

static int apply_lists(struct words *w, const struct arguments *args)
{
	size_t size;
	FILE *all = open_memstream(&w->o.words, &size);
	int r = 0;

	for (unsigned i = 0; i < args->nlists && r == 0; i++) {
		r = words_apply(w, args->lists[i]);
		if (all)
			fprintf(all, "%s%s", i ? "," : "", args->lists[i]);
	}
	if (!all || fclose(all) != 0)
		return words_fail(w, STATUS_SYSTEM, "out of memory");
	return r;
}

static bool proto_agrees(const struct words *w)
{
	switch (w->proto) {
	case WORDS_PROTO_VSOCK: return w->o.server.proto == ADDRESS_VSOCK;
	case WORDS_PROTO_UNIX: return w->o.server.proto == ADDRESS_UNIX;
	case WORDS_PROTO_TCP: return w->o.server.proto == ADDRESS_TCP;
	case WORDS_PROTO_TCP6: return strcmp(address_netid(&w->o.server), "tcp6") == 0;
	default: return true;
	}
}

static int finish_source(struct words *w, const char *source)
{
	const char *path, *why;
	struct options *o = &w->o;
	struct address server;

	o->source = strdup(source);
	if (!o->source)
		return words_fail(w, STATUS_SYSTEM, "out of memory");
	if (address_parse_source(o->source, &server, &path, &why) < 0)
		return words_fail(w, STATUS_USAGE, "%s: %s", source, why);
	o->server = server;
	o->export_path = source_normalise_path(path);
	if (!o->export_path)
		return errno == EINVAL ? words_fail(w, STATUS_USAGE,
						 "%s: the export may not contain \"..\"", source)
				       : words_fail(w, STATUS_SYSTEM, "out of memory");
	if (!proto_agrees(w))
		return words_fail(w, STATUS_USAGE, "-o proto=: %s is reached over %s", source,
			address_netid(&o->server));
	if (w->port && o->server.proto == ADDRESS_UNIX)
		return words_fail(
			w, STATUS_USAGE, "-o port=%u: a Unix socket has no port", w->port);
	if (w->port > UINT16_MAX && o->server.proto == ADDRESS_TCP)
		return words_fail(w, STATUS_USAGE,
			"-o port=%u: must be a number from 1 to 65535 with TCP", w->port);
	if (w->port)
		o->server.port = w->port;
	return 0;
}

/* A limit that was not given follows the one that was. */
static bool settle_range(double given_min, double given_max, double *min, double *max)
{
	*min = given_min >= 0 ? given_min : 1;
	*max = given_max >= 0 ? given_max : 1;
	if (*min <= *max)
		return true;
	if (given_min >= 0 && given_max >= 0)
		return false;
	if (given_min >= 0)
		*max = *min;
	else
		*min = *max;
	return true;
}

static int finish_rootfs(const struct words *w)
{
	const struct options *o = &w->o;
	const char *other = o->soft ? "soft" : o->auto_unmount ? "auto_unmount" : "takeover";

	if (geteuid() != 0)
		return words_fail(w, STATUS_USAGE, "-o rootfs: only root can do that");
	if (o->soft || o->auto_unmount || o->takeover)
		return words_fail(w, STATUS_USAGE, "-o rootfs and -o %s exclude each other", other);
	return 0;
}

static int finish_values(struct words *w)
{
	struct options *o = &w->o;
	bool root = geteuid() == 0;

	if (!settle_range(w->acregmin, w->acregmax, &o->acregmin, &o->acregmax))
		return words_fail(w, STATUS_USAGE, "-o acregmin=%g is more than acregmax=%g",
			w->acregmin, w->acregmax);
	if (!settle_range(w->acdirmin, w->acdirmax, &o->acdirmin, &o->acdirmax))
		return words_fail(w, STATUS_USAGE, "-o acdirmin=%g is more than acdirmax=%g",
			w->acdirmin, w->acdirmax);
	if (o->noac)
		o->acregmin = o->acregmax = o->acdirmin = o->acdirmax = 0;

	o->minor = w->minorversion >= 0 ? w->minorversion : w->vers_minor;
	o->rsize -= o->rsize % WORDS_IO_MIN;
	o->wsize -= o->wsize % WORDS_IO_MIN;
	o->retry_s = w->retry_min * 60;
	o->reserved_port =
		w->resvport == WORDS_RESVPORT_DEFAULT ? root : w->resvport == WORDS_RESVPORT_YES;
	o->allow_other = w->allow == WORDS_ALLOW_DEFAULT ? root : w->allow == WORDS_ALLOW_OTHER;
	o->allow_root = w->allow == WORDS_ALLOW_ROOT;
	o->access_server = w->access == WORDS_ACCESS_SERVER;
	if (o->fuse_ring == OPTIONS_RING_ON && (o->takeover || o->rootfs))
		return words_fail(w, STATUS_USAGE, "-o fuse_uring=on and -o %s exclude each other",
			o->takeover ? "takeover" : "rootfs");
	if (o->writeback && (o->noac || o->cache == OPTIONS_CACHE_NONE))
		return words_fail(w, STATUS_USAGE, "-o writeback and -o %s exclude each other",
			o->noac ? "noac" : "cache=none");
	if (o->rootfs)
		return finish_rootfs(w);
	/* What is open under a delegation the server does not know to be open. */
	if (o->takeover)
		o->delegations = DELEG_NONE;
	return 0;
}

/* Kerberos knows the server by a name, which a vsock address does not have. */
static int finish_security(struct words *w)
{
	struct options *o = &w->o;
	const char *sec = NULL;

	for (unsigned i = 0; i < o->secs.count && !sec; i++)
		sec = rpc_sec_is_gss(o->secs.secs[i]) ? rpc_sec_name(o->secs.secs[i]) : NULL;
	o->sec = o->secs.count > 0 ? o->secs.secs[0] : RPC_SEC_SYS;
	if (o->gsshost && strlen(o->gsshost) > OPTIONS_GSSHOST_MAX)
		return words_fail(w, STATUS_USAGE, "-o gsshost=: longer than %d characters",
			OPTIONS_GSSHOST_MAX);
	if (!o->gsshost && o->server.proto == ADDRESS_TCP)
		o->gsshost = strdup(o->server.host);
	if (!sec)
		return 0;
	if (!kerberos_built())
		return words_fail(
			w, STATUS_USAGE, "-o sec=%s: this vsockfs was built without Kerberos", sec);
	if (!o->gsshost)
		return words_fail(w, STATUS_USAGE,
			"-o sec=%s: needs gsshost=NAME, the host name in the server's principal "
			"nfs/NAME",
			sec);
	return 0;
}

/* With idmap=user, uid= and gid= say who the export's owner is here; else whose all files are. */
static int finish_owners(struct words *w)
{
	struct options *o = &w->o;
	char why[256];

	if (o->idmap && strcmp(o->idmap, "none") == 0) {
		free(o->idmap);
		o->idmap = NULL;
	}
	if (o->idmap && strcmp(o->idmap, "user") == 0) {
		const struct passwd *user = w->uid != OPTIONS_NO_ID ? getpwuid(w->uid) : NULL;
		gid_t own = user		      ? user->pw_gid
			    : w->uid != OPTIONS_NO_ID ? OPTIONS_NO_ID
						      : getegid();
		o->map_uid = w->uid != OPTIONS_NO_ID ? w->uid : geteuid();
		o->map_gid = w->gid != OPTIONS_NO_ID ? w->gid : own;
		return 0;
	}
	o->show_uid = w->uid;
	o->show_gid = w->gid;
	if (!o->idmap)
		return 0;
	if (o->idmap[0] != '/')
		return words_fail(w, STATUS_USAGE,
			"-o idmap=%s: must be user, none or the absolute name of a file", o->idmap);
	if (idmap_file_load(o->idmap, why, sizeof(why)) < 0)
		return words_fail(w, STATUS_USAGE, "-o idmap=%s: %s", o->idmap, why);
	return 0;
}

static int finish_mountpoint(struct words *w, const char *path)
{
	char resolved[PATH_MAX], why[PATH_MAX * 2 + 128];
	const char *shown = w->fsname ? w->fsname : w->o.source;
	int r;

	w->o.resuming = w->o.takeover && service_has_device();
	r = w->o.resuming ? 0 : mountpoint_resolve(path, shown, resolved, why, sizeof(why));
	/* What a daemon of this service has left is not in its way. */
	if (r == -ENOTCONN && w->o.takeover && service_managed())
		w->o.resuming = true;
	if (w->o.resuming) {
		r = mountinfo_canonical(path, resolved);
		snprintf(why, sizeof(why), "%s", strerror(-r));
	}

	if (r < 0)
		return words_fail(w, STATUS_FAILURE, "%s: %s", path, why);
	w->o.here = strcmp(path, ".") == 0;
	w->o.mountpoint = strdup(resolved);
	return w->o.mountpoint ? 0 : words_fail(w, STATUS_SYSTEM, "out of memory");
}

/* Files are opened by the daemon, whose directory is another. */
static int finish_tls_file(struct words *w, const char *name, const char *file)
{
	if (!file)
		return words_fail(w, STATUS_USAGE, "-o xprtsec=%s needs %s=FILE",
			w->o.xprtsec == OPTIONS_XPRTSEC_MTLS ? "mtls" : "tls", name);
	if (file[0] != '/')
		return words_fail(
			w, STATUS_USAGE, "-o %s=%s: must be an absolute name", name, file);
	return 0;
}

static int finish_tls(struct words *w)
{
	struct options *o = &w->o;
	const char *idle = o->tls_ca ? "tls_ca" : o->tls_name ? "tls_name" : NULL;
	const char *own = o->tls_cert ? "tls_cert" : o->tls_key ? "tls_key" : NULL;

	if (o->xprtsec == OPTIONS_XPRTSEC_NONE && (idle || own))
		return words_fail(w, STATUS_USAGE, "-o %s= is for xprtsec=%s", own ? own : idle,
			own ? "mtls" : "tls");
	if (o->xprtsec == OPTIONS_XPRTSEC_TLS && own)
		return words_fail(w, STATUS_USAGE, "-o %s= is for xprtsec=mtls", own);
	if (o->xprtsec == OPTIONS_XPRTSEC_NONE)
		return 0;
	if (!o->tls_name && o->server.proto == ADDRESS_TCP)
		o->tls_name = strdup(o->server.host);
	if (!o->tls_key && o->tls_cert)
		o->tls_key = strdup(o->tls_cert);
	if (!o->tls_name)
		return words_fail(w, STATUS_USAGE,
			"-o xprtsec=: %s has no name that a certificate could be for: "
			"tls_name=NAME is "
			"needed",
			o->source);
	int r = finish_tls_file(w, "tls_ca", o->tls_ca);
	if (r == 0 && o->xprtsec == OPTIONS_XPRTSEC_MTLS)
		r = finish_tls_file(w, "tls_cert", o->tls_cert);
	if (r == 0 && o->xprtsec == OPTIONS_XPRTSEC_MTLS)
		r = finish_tls_file(w, "tls_key", o->tls_key);
	return r;
}

static void put_escaped(FILE *out, const char *name, const char *value)
{
	fprintf(out, "%s=", name);
	for (; *value; value++) {
		if (*value == ',' || *value == '\\')
			fputc('\\', out);
		fputc(*value, out);
	}
}

/*
 * Root's mounts get dev and suid as mount(8) gives them, where libfuse would leave them out;
 * fusermount3 never gives them to others.
 */
static int finish_fuse_options(struct words *w)
{
	const struct options *o = &w->o;
	bool root = geteuid() == 0;
	bool shared = o->allow_other || o->allow_root;
	size_t size;
	FILE *out = open_memstream(&w->o.fuse_options, &size);

	if (!out)
		return words_fail(w, STATUS_SYSTEM, "out of memory");
	put_escaped(out, "fsname", w->fsname ? w->fsname : o->source);
	fputc(',', out);
	put_escaped(out, "subtype", w->subtype ? w->subtype : "vsockfs");
	fputs(o->read_only ? ",ro" : ",rw", out);
	fputs(w->nosuid ? ",nosuid" : root ? ",suid" : "", out);
	fputs(w->nodev ? ",nodev" : root ? ",dev" : "", out);
	fputs(w->noexec ? ",noexec" : "", out);
	fputs(w->noatime ? ",noatime" : "", out);
	fputs(w->sync ? ",sync" : "", out);
	fputs(w->dirsync ? ",dirsync" : "", out);
	fputs(o->allow_other ? ",allow_other" : o->allow_root ? ",allow_root" : "", out);
	if (w->access == WORDS_ACCESS_KERNEL || (shared && !o->access_server))
		fputs(",default_permissions", out);
	if (fclose(out) != 0)
		return words_fail(w, STATUS_SYSTEM, "out of memory");
	return 0;
}

static int parse_mount(struct words *w, const struct arguments *args, options_become *become,
	const char *source, const char *path)
{
	int r = apply_lists(w, args);

	if (r == 0 && become && (args->mount_namespace || w->setuid))
		r = become(w->program, args->mount_namespace, w->setuid);
	if (r == 0)
		r = finish_source(w, source);
	if (r == 0)
		r = finish_values(w);
	if (r == 0)
		r = finish_security(w);
	if (r == 0)
		r = finish_owners(w);
	if (r == 0)
		r = finish_tls(w);
	if (r == 0)
		r = finish_mountpoint(w, path);
	if (r == 0)
		r = finish_fuse_options(w);
	return r;
}

static int parse_remount(struct words *w, const struct arguments *args, options_become *become,
	const char *source, const char *path)
{
	int r = 0;

	w->o.action = OPTIONS_REMOUNT;
	if (become && args->mount_namespace)
		r = become(w->program, args->mount_namespace, NULL);
	return r ? r : words_remount(w, args->lists, args->nlists, source, path);
}

static int parse(
	struct words *w, struct arguments *args, int argc, char **argv, options_become *become)
{
	int r = parse_flags(w, args, argc, argv);

	if (r != 0 || w->o.action == OPTIONS_HELP || w->o.action == OPTIONS_VERSION)
		return r;
	if (argc < 2)
		return usage(w, "mounts an NFSv4.1 export", "");
	if (optind >= argc)
		return usage(w, "no source given", "");
	if (optind + 1 >= argc)
		return usage(w, "no mount point given for ", argv[optind]);
	if (optind + 2 < argc)
		return usage(w, "unexpected argument ", argv[optind + 2]);

	w->sloppy = args->sloppy || lists_have(args, "sloppy");
	return (lists_have(args, "remount") ? parse_remount : parse_mount)(
		w, args, become, argv[optind], argv[optind + 1]);
}

int options_parse(int argc, char **argv, options_become *become, struct options *options)
{
	const char *path = argc > 0 ? argv[0] : "vsockfs";
	const char *slash = strrchr(path, '/');
	struct arguments args = {0};
	struct words w;

	words_init(&w, slash ? slash + 1 : path);
	args.helper = strncmp(w.program, "mount.", strlen("mount.")) == 0;
	args.lists = calloc((size_t)argc + 1, sizeof(*args.lists));
	int r = args.lists ? parse(&w, &args, argc, argv, become)
			   : words_fail(&w, STATUS_SYSTEM, "out of memory");
	free(args.lists);
	*options = w.o;
	w.o = (struct options){0};
	words_deinit(&w);
	return r;
}

void options_free(struct options *options)
{
	free(options->source);
	free(options->export_path);
	free(options->mountpoint);
	free(options->words);
	free(options->fuse_options);
	free(options->clientaddr);
	free(options->gsshost);
	free(options->idmap);
	free(options->tls_name);
	free(options->tls_ca);
	free(options->tls_cert);
	free(options->tls_key);
	*options = (struct options){0};
}
