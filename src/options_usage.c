/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "options.h"

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

static const char usage_text[] =
	"usage: vsockfs SOURCE MOUNTPOINT [-o OPTION[,OPTION...]] [-f] [-d] [-s]\n"
	"\n"
	"Mounts an NFSv4.1 or 4.2 export over a vsock stream.\n"
	"\n"
	"SOURCE\n"
	"  CID:/export, host:/export, local:/export   vsock; host is 2, local is 1\n"
	"  unix:/path/to/socket:/export               Unix-domain socket\n"
	"  tcp:HOST[:PORT]:/export                    TCP\n"
	"\n"
	"  -f   stay in the foreground, log to stderr\n"
	"  -d   the same, with debug messages\n"
	"  -s   one worker, as -o nconnect=1\n"
	"  -v   tell what was agreed on with the server\n"
	"  -n   accepted for mount(8)\n"
	"  -V, --version\n"
	"  -h, --help\n"
	"\n"
	"Connection\n"
	"  port=N             server's port (2049)\n"
	"  vers=4|4.1|4.2     also nfsvers=, minorversion=1|2 (the newest the server speaks)\n"
	"  proto=vsock|unix|tcp|tcp6  must agree with SOURCE\n"
	"  rsize=N, wsize=N   largest READ and WRITE, bytes (1048576)\n"
	"  nconnect=N         connections and workers, 1 to 16 (one a CPU, up to 4)\n"
	"  hard, soft, softerr  what happens to requests while the server is away (hard)\n"
	"  timeo=N, retrans=N tenths of a second, tries: when soft gives up (600, 2)\n"
	"  retry=N            minutes to try when mounting fails (0)\n"
	"  sec=sys|none|krb5|krb5i|krb5p[:...]  credentials, and protection by Kerberos\n"
	"                     (sys, or what the server asks for)\n"
	"  gsshost=NAME       the server's name to Kerberos: its service is nfs@NAME\n"
	"  xprtsec=none|tls|mtls  RPC with TLS (none)\n"
	"  tls_ca=FILE, tls_name=NAME, tls_cert=FILE, tls_key=FILE  whom to trust, who we are\n"
	"  resvport, noresvport  bind a port below 1024 (resvport for root)\n"
	"  clientaddr=TEXT    names this client to the server\n"
	"  io=auto|uring|poll event loop (auto)\n"
	"  fuse_uring=auto|on|off  requests by io_uring instead of /dev/fuse (auto)\n"
	"  buffer=N           socket buffers, bytes (8388608)\n"
	"  max_readahead=N    what the kernel reads ahead, bytes (1048576)\n"
	"  busy_poll=N        microseconds to look for events before sleeping, 0: never (50)\n"
	"Caching\n"
	"  cache=none|auto|always  (auto)\n"
	"  writeback, nowriteback  the kernel gathers writes: nobody else may write (nowriteback)\n"
	"  acregmin=, acregmax=, acdirmin=, acdirmax=, actimeo=  seconds (1)\n"
	"  ac, noac           attribute caching (ac)\n"
	"  lookupcache=all|positive|none  (all)\n"
	"  cto, nocto         close-to-open consistency (cto)\n"
	"  xattr, noxattr     extended attributes, user.* (xattr)\n"
	"  acl, noacl         access control lists, system.nfs4_acl (acl)\n"
	"  delegations=none|read|all  files opened and cached without asking (read)\n"
	"  lock, nolock, local_lock=none|all  where locks are held (on the server)\n"
	"Access\n"
	"  allow_other, allow_root  let others use the mount (root: allow_other)\n"
	"  access=client|server  who checks permissions (client)\n"
	"  default_permissions  the kernel checks (with allow_other, unless access=server)\n"
	"  uid=USER, gid=GROUP  the owner that all files have here (the server's)\n"
	"  umask=, fmask=, dmask=  and their modes, octal\n"
	"  idmap=none|user|FILE  ids of the guest that are others on the server (none)\n"
	"Mount\n"
	"  ro, rw, [no]suid, [no]dev, [no]exec, [no]atime, sync, async, dirsync\n"
	"  auto_unmount       unmount also when the daemon is killed\n"
	"  referrals, noreferrals  mount what the server refers to, or wants another sec= for\n"
	"                     (referrals, for root)\n"
	"  referral_idle=N    unmount it when nobody has used it for so many seconds (500)\n"
	"  takeover           let a service manager start another daemon for the mount\n"
	"  rootfs             become the root file system, from an initramfs\n"
	"  sandbox=yes|no     drop privileges and filter system calls (yes)\n"
	"  fsname=TEXT, subtype=TEXT\n"
	"  setuid=USER        run as this user (root)\n"
	"  remount            change ro, noexec and the like of a mount that is there\n"
	"  sloppy             ignore unknown options\n"
	"\n"
	"vsockfs(1) explains them. Unmount with umount(8), or fusermount3 -u.\n";

void options_print_usage(FILE *out)
{
	fputs(usage_text, out);
}

void options_print_version(FILE *out)
{
	fprintf(out, "vsockfs %s\nfuse %s\nliburing %s\nlibtirpc %s\n", VSOCKFS_VERSION,
		fuse_pkgversion(), VSOCKFS_LIBURING_VERSION, VSOCKFS_LIBTIRPC_VERSION);
#ifdef VSOCKFS_TLS
	fprintf(out, "openssl %s\n", VSOCKFS_OPENSSL_VERSION);
#endif
}
