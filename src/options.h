/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_OPTIONS_H
#define VSOCKFS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "nfs41/deleg.h"
#include "rpc/cred.h"
#include "util/loop.h"
#include "vsock/address.h"

/* What the command line said, checked. Words of mount(8), nfs(5) and virtiofsd. */

enum options_action {
	OPTIONS_MOUNT,
	OPTIONS_HELP,
	OPTIONS_VERSION,
	OPTIONS_REMOUNT /* change a mount that is there; mountpoint and remount_flags count */
};
enum options_cache { OPTIONS_CACHE_NONE, OPTIONS_CACHE_AUTO, OPTIONS_CACHE_ALWAYS };
enum options_lookupcache {
	OPTIONS_LOOKUPCACHE_ALL,
	OPTIONS_LOOKUPCACHE_POSITIVE,
	OPTIONS_LOOKUPCACHE_NONE
};

enum options_xprtsec { OPTIONS_XPRTSEC_NONE, OPTIONS_XPRTSEC_TLS, OPTIONS_XPRTSEC_MTLS };

enum options_ring { OPTIONS_RING_AUTO, OPTIONS_RING_ON, OPTIONS_RING_OFF };

#define OPTIONS_GSSHOST_MAX 255
#define OPTIONS_NO_ID	    UINT32_MAX
#define OPTIONS_NO_MASK	    UINT32_MAX

struct options {
	enum options_action action;
	char *source;	       /* as given, "2:/export" */
	struct address server; /* with port= applied */
	char *export_path;     /* normalised: no trailing or double slashes, no "." or ".."; "/" at
				  least */
	char *mountpoint;      /* absolute, symlinks resolved */
	char *words;	       /* the -o lists as given, joined */
	bool foreground, debug;
	bool fake;    /* mount.vsockfs -f: everything was checked, change nothing and succeed */
	bool verbose; /* say what was agreed on with the server */
	unsigned long remount_flags; /* of mount(2) */
	bool read_only;
	bool allow_other;	  /* default: when root mounts */
	bool allow_root;	  /* never together with allow_other */
	bool auto_unmount;	  /* also when the daemon is killed */
	bool takeover;		  /* another daemon can go on with the mount */
	bool rootfs;		  /* the mount is to be the root of everything: rootfs.h */
	bool resuming;		  /* another one's mount is there, and nobody may be serving it */
	bool sandbox;		  /* privileges are dropped and system calls filtered */
	bool referrals;		  /* inside the mount they are followed, where that is possible */
	uint32_t referral_idle_s; /* what they lead to is unmounted when unused for so long */
	bool here;	    /* the mount point was given as ".", and is that directory itself */
	bool access_server; /* access=server: every check is the server's, entries are not cached */
	uint32_t show_uid, show_gid; /* uid=, gid=: of all files; or OPTIONS_NO_ID */
	uint32_t fmask, dmask;	     /* umask=: the modes of all files; or OPTIONS_NO_MASK */
	char *idmap;		     /* idmap=: "user", the path of a file, or NULL for none */
	uint32_t map_uid, map_gid;   /* idmap=user: who the export's owner is; or OPTIONS_NO_ID */
	char *fuse_options; /* comma list for libfuse: fsname, subtype, ro, dev, suid, noexec,
			       noatime, ... */

	/* transport */
	int minor; /* -1: any */
	bool soft;
	bool softerr;		  /* soft, and a call given up is ETIMEDOUT instead of EIO */
	enum rpc_sec sec;	  /* in force, or tried first */
	struct rpc_sec_list secs; /* those that will do; none: what the server asks for */
	struct rpc_sec_list tried_secs;
	/* Where `sec` begins, on the way to the export: the directory, the names from there, and
	 * what the server said of the first of them. No handle: the server's root, export_path. */
	struct nfs_fh sec_fh;
	const char *sec_path;
	struct rpc_sec_list sec_list;
	bool keytab;   /* the machine has a key of its own */
	int gss_fd;    /* of kerberos_start, or -1 */
	char *gsshost; /* whose service nfs@ the server is, with Kerberos; or NULL */
	enum options_xprtsec xprtsec;
	char *tls_name; /* whom the server's certificate is for */
	char *tls_ca;	/* files; tls_cert and tls_key with mtls alone */
	char *tls_cert, *tls_key;
	bool reserved_port;
	unsigned timeo_ds; /* tenths of a second, as in nfs(5) */
	unsigned retrans;
	unsigned retry_s;  /* how long mounting tries again, seconds (retry= counts minutes, as in
			      nfs(5)) */
	unsigned nconnect; /* connections and workers; 0: one a CPU, up to 4 */
	uint32_t rsize, wsize;	/* bytes */
	uint32_t socket_buffer; /* bytes asked for, each way */
	uint32_t max_readahead; /* bytes that the kernel reads ahead in a file, rounded down to KiB
				 */
	uint32_t busy_poll_us;	/* a worker looks so long for events before it sleeps; 0: not */
	enum loop_backend io;
	enum options_ring fuse_ring; /* fuse_uring=: requests come over io_uring; on: or no mount */
	char *clientaddr;	     /* or NULL */

	/* caching; seconds */
	enum options_cache cache;
	enum options_lookupcache lookupcache;
	bool noac;
	double acregmin, acregmax, acdirmin, acdirmax; /* all 0 with noac; min <= max */
	bool writeback; /* the kernel gathers what is written, and knows sizes and times best */
	bool nolock;	/* local_lock=all, nolock: locks stay in the guest */
	enum deleg_mode delegations;
	bool cto; /* close-to-open; nocto switches it off */

	bool xattr; /* user.* attributes and labels; noxattr: none */
	bool acl;   /* system.nfs4_acl; noacl: none */
};

/*
 * Becomes what -N and -o setuid= name before anything is looked at: the mount namespace (a path of
 * one, or a process id) or NULL, the user or NULL. 0, or an exit status of mount(8) after printing
 * one line. become.h has the one that does it.
 */
typedef int options_become(const char *program, const char *mount_namespace, const char *user);

/*
 * Fills *options; only `action` counts unless it is OPTIONS_MOUNT or OPTIONS_REMOUNT. A program
 * called mount.* takes its flags as mount(8) hands them to a helper. Returns 0, or an exit status
 * of mount(8) after printing one line on stderr that names the word that is wrong. options_free in
 * both cases.
 */
int options_parse(int argc, char **argv, options_become *become, struct options *options);
void options_free(struct options *options);

/* The words in force, as -o would have them, with the defaults; for people. */
void options_show(const struct options *options, FILE *out);

void options_print_usage(FILE *out);
/* The program's version and those of the libraries. */
void options_print_version(FILE *out);

#endif
