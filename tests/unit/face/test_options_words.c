/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "kerberos.h"
#include "options_fixture.h"

static void test_port(void **state)
{
	accept_words("port=1");
	assert_int_equal(options.server.port, 1);
	accept_words("port=4294967294");
	assert_int_equal(options.server.port, 4294967294u);
#define PORT "must be a number from 1 to 4294967294"
	refuse_words("port=0", "-o port=0: " PORT);
	refuse_words("port=4294967295", "-o port=4294967295: " PORT);
	refuse_words("port=", "-o port=: " PORT);
	refuse_words("port=2049x", "-o port=2049x: " PORT);
	refuse_words("port=-1", "-o port=-1: " PORT);
	refuse_words("port=+1", "-o port=+1: " PORT);
	refuse_words("port= 1", "-o port= 1: " PORT);
	refuse_words("port=99999999999999999999", "-o port=99999999999999999999: " PORT);
	refuse_words("port", "-o port: needs a value: a number from 1 to 4294967294");
	assert_int_equal(PARSE("vsockfs", "tcp:h:1:/e", directory, "-o", "port=65535"), 0);
	assert_int_equal(options.server.port, 65535);
	assert_int_equal(PARSE("vsockfs", "tcp:h:/e", directory, "-o", "port=65536"), 1);
	assert_string_equal(
		message, "vsockfs: -o port=65536: must be a number from 1 to 65535 with TCP\n");
	assert_int_equal(PARSE("vsockfs", "unix:/x:/e", directory, "-o", "port=1"), 1);
	assert_string_equal(message, "vsockfs: -o port=1: a Unix socket has no port\n");
}

static void test_proto(void **state)
{
	accept_words("proto=vsock");
	refuse_words("proto=tcp", "-o proto=: 2:/export is reached over vsock");
	refuse_words("proto=unix", "-o proto=: 2:/export is reached over vsock");
	refuse_words("proto=tcp6", "-o proto=: 2:/export is reached over vsock");
	refuse_words("proto=udp", "-o proto=udp: must be vsock, unix, tcp or tcp6");
	assert_int_equal(PARSE("vsockfs", "tcp:h:/e", directory, "-o", "proto=tcp"), 0);
	assert_int_equal(PARSE("vsockfs", "tcp:h:/e", directory, "-o", "proto=vsock"), 1);
	assert_int_equal(PARSE("vsockfs", "tcp:1.2.3.4:/e", directory, "-o", "proto=tcp6"), 1);
	assert_int_equal(PARSE("vsockfs", "tcp:[::1]:/e", directory, "-o", "proto=tcp6"), 0);
	assert_int_equal(PARSE("vsockfs", "tcp:[::1]:/e", directory, "-o", "proto=tcp"), 0);
	assert_int_equal(PARSE("vsockfs", "unix:/x:/e", directory, "-o", "proto=unix"), 0);
}

static void test_version(void **state)
{
	static const struct {
		const char *words;
		int minor;
	} cases[] = {{"vers=4", -1}, {"vers=4.1", 1}, {"vers=4.2", 2}, {"nfsvers=4.1", 1},
		{"nfsvers=4.2", 2}, {"nfsvers=4", -1}, {"minorversion=1", 1}, {"minorversion=2", 2},
		{"vers=4,minorversion=1", 1}, {"minorversion=1,vers=4", 1},
		{"vers=4.1,minorversion=2", 2}, {"minorversion=2,vers=4.1", 1},
		{"vers=4.1,vers=4", -1}, {"vers=4.2,vers=4.1", 1}};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		accept_words(cases[i].words);
		assert_int_equal(options.minor, cases[i].minor);
	}
	refuse_words("vers=3", "-o vers=3: must be 4, 4.1 or 4.2");
	refuse_words("vers=4.0", "-o vers=4.0: must be 4, 4.1 or 4.2");
	refuse_words("nfsvers=4.3", "-o nfsvers=4.3: must be 4, 4.1 or 4.2");
	refuse_words("vers", "-o vers: needs a value: 4, 4.1 or 4.2");
	refuse_words("minorversion=0", "-o minorversion=0: must be 1 or 2");
	refuse_words("minorversion=", "-o minorversion=: must be 1 or 2");
}

static void test_sizes(void **state)
{
	accept_words("rsize=4096,wsize=1048576");
	assert_int_equal(options.rsize, 4096);
	assert_int_equal(options.wsize, 1048576);
	accept_words("rsize=1048575,wsize=8191");
	assert_int_equal(options.rsize, 1044480);
	assert_int_equal(options.wsize, 4096);
	refuse_words("rsize=4095", "-o rsize=4095: must be a number from 4096 to 1048576 bytes");
	refuse_words(
		"rsize=1048577", "-o rsize=1048577: must be a number from 4096 to 1048576 bytes");
	refuse_words("wsize=1M", "-o wsize=1M: must be a number from 4096 to 1048576 bytes");
	refuse_words("wsize=0", "-o wsize=0: must be a number from 4096 to 1048576 bytes");
	accept_words("buffer=0");
	assert_int_equal(options.socket_buffer, 0);
	accept_words("max_readahead=0");
	assert_int_equal(options.max_readahead, 0);
	refuse_words("max_readahead=67108865",
		"-o max_readahead=67108865: must be a number from 0 to 67108864 bytes");
	accept_words("busy_poll=0");
	assert_int_equal(options.busy_poll_us, 0);
	refuse_words("busy_poll=1001",
		"-o busy_poll=1001: must be a number from 0 to 1000 microseconds, 0 for never");
	accept_words("buffer=268435456");
	assert_int_equal(options.socket_buffer, 268435456);
	refuse_words("buffer=268435457",
		"-o buffer=268435457: must be a number from 0 to 268435456 bytes, "
		"0 for the kernel's own choice");
}

static void test_rootfs(void **state)
{
	accept_words("rw");
	assert_false(options.rootfs);
	accept_words("rootfs,ro");
	assert_true(options.rootfs && options.read_only && options.allow_other);
	refuse_words("rootfs,soft", "-o rootfs and -o soft exclude each other");
	refuse_words("softerr,rootfs", "-o rootfs and -o soft exclude each other");
	refuse_words("rootfs,auto_unmount", "-o rootfs and -o auto_unmount exclude each other");
	refuse_words("takeover,rootfs", "-o rootfs and -o takeover exclude each other");
}

static void test_recovery(void **state)
{
	accept_words("soft");
	assert_true(options.soft && !options.softerr);
	accept_words("softerr");
	assert_true(options.soft && options.softerr);
	accept_words("softerr,soft");
	assert_true(options.soft && !options.softerr);
	accept_words("softerr,hard");
	assert_false(options.soft || options.softerr);
	refuse_words("soft=1", "-o soft=1: soft takes no value");
	refuse_words("hard=", "-o hard=: hard takes no value");
	accept_words("timeo=1,retrans=0,retry=3,nconnect=16");
	assert_int_equal(options.timeo_ds, 1);
	assert_int_equal(options.retrans, 0);
	assert_int_equal(options.retry_s, 180);
	assert_int_equal(options.nconnect, 16);
	accept_words("timeo=36000,retrans=1000,retry=100000,nconnect=1");
	assert_int_equal(options.retry_s, 6000000);
	refuse_words("timeo=0", "-o timeo=0: must be a number from 1 to 36000 tenths of a second");
	refuse_words("timeo=36001",
		"-o timeo=36001: must be a number from 1 to 36000 tenths of a second");
	refuse_words("retrans=1001", "-o retrans=1001: must be a number from 0 to 1000");
	refuse_words("retry=100001", "-o retry=100001: must be a number from 0 to 100000 minutes");
	refuse_words("nconnect=0", "-o nconnect=0: must be a number from 1 to 16");
	refuse_words("nconnect=17", "-o nconnect=17: must be a number from 1 to 16");
	assert_int_equal(PARSE("vsockfs", "-s", "2:/e", directory, "-o", "nconnect=3"), 0);
	assert_int_equal(options.nconnect, 3);
}

/* A server has a name for Kerberos, said or known. */
static void test_kerberos(void **state)
{
	if (!kerberos_built()) {
		refuse_words("sec=krb5,gsshost=h",
			"-o sec=krb5: this vsockfs was built without Kerberos");
		return;
	}
	accept_words("sec=krb5p,gsshost=server.example");
	assert_int_equal(options.sec, RPC_SEC_KRB5P);
	assert_string_equal(options.gsshost, "server.example");
	refuse_words("sec=krb5i", "-o sec=krb5i: needs gsshost=NAME, the host name in the server's "
				  "principal nfs/NAME");
	refuse_words("gsshost=", "-o gsshost=: must be a text that is not empty");
	options_free(&options);
	assert_int_equal(
		PARSE("vsockfs", "-s", "tcp:server.example:/e", directory, "-o", "sec=krb5"), 0);
	assert_string_equal(options.gsshost, "server.example");
}

static void test_identity(void **state)
{
	accept_words("sec=none");
	assert_int_equal(options.sec, RPC_SEC_NONE);
	accept_words("sec=none,sec=sys");
	assert_int_equal(options.sec, RPC_SEC_SYS);
#define SECS "must be sys, none, krb5, krb5i or krb5p, or some of them with colons between"
	refuse_words("sec=none:", "-o sec=none:: " SECS);
	accept_words("sec=none:sys:none");
	assert_int_equal(options.secs.count, 2);
	assert_int_equal(options.sec, RPC_SEC_NONE);
	assert_int_equal(options.secs.secs[1], RPC_SEC_SYS);
	refuse_words("sec=lkey", "-o sec=lkey: " SECS);
	accept_words("resvport");
	assert_true(options.reserved_port);
	accept_words("resvport,noresvport");
	assert_false(options.reserved_port);
	accept_words("clientaddr=vsock:5.700");
	assert_string_equal(options.clientaddr, "vsock:5.700");
	accept_words("clientaddr=a,clientaddr=b");
	assert_string_equal(options.clientaddr, "b");
#define CLIENTADDR "must be 1 to 128 printable characters without spaces"
	refuse_words("clientaddr=", "-o clientaddr=: " CLIENTADDR);
	refuse_words("clientaddr=a b", "-o clientaddr=a b: " CLIENTADDR);
	char words[160] = "clientaddr=";
	memset(words + strlen("clientaddr="), 'x', 129);
	words[strlen("clientaddr=") + 129] = '\0';
	assert_int_equal(parse_words(words), 1);
	words[strlen("clientaddr=") + 128] = '\0';
	accept_words(words);
}

static void test_choices(void **state)
{
	accept_words("io=uring");
	assert_int_equal(options.io, LOOP_URING);
	accept_words("io=poll");
	assert_int_equal(options.io, LOOP_POLL);
	accept_words("io=poll,io=auto");
	assert_int_equal(options.io, LOOP_AUTO);
	refuse_words("io=epoll", "-o io=epoll: must be auto, uring or poll");
	accept_words("io=auto");
	assert_int_equal(options.fuse_ring, OPTIONS_RING_AUTO);
	accept_words("fuse_uring=on");
	assert_int_equal(options.fuse_ring, OPTIONS_RING_ON);
	accept_words("fuse_uring=off,takeover");
	assert_int_equal(options.fuse_ring, OPTIONS_RING_OFF);
	refuse_words("fuse_uring=yes", "-o fuse_uring=yes: must be auto, on or off");
	refuse_words(
		"fuse_uring=on,takeover", "-o fuse_uring=on and -o takeover exclude each other");
	refuse_words("fuse_uring=on,rootfs", "-o fuse_uring=on and -o rootfs exclude each other");
	accept_words("cache=none");
	assert_int_equal(options.cache, OPTIONS_CACHE_NONE);
	accept_words("cache=always");
	assert_int_equal(options.cache, OPTIONS_CACHE_ALWAYS);
	accept_words("cache=none,cache=auto");
	assert_int_equal(options.cache, OPTIONS_CACHE_AUTO);
	refuse_words("cache=never", "-o cache=never: must be none, auto or always");
	accept_words("writeback");
	assert_true(options.writeback);
	accept_words("writeback,nowriteback");
	assert_false(options.writeback);
	refuse_words("writeback,cache=none", "-o writeback and -o cache=none exclude each other");
	refuse_words("writeback,noac", "-o writeback and -o noac exclude each other");
	accept_words("lookupcache=none");
	assert_int_equal(options.lookupcache, OPTIONS_LOOKUPCACHE_NONE);
	accept_words("lookupcache=pos");
	assert_int_equal(options.lookupcache, OPTIONS_LOOKUPCACHE_POSITIVE);
	accept_words("lookupcache=positive");
	assert_int_equal(options.lookupcache, OPTIONS_LOOKUPCACHE_POSITIVE);
	accept_words("lookupcache=none,lookupcache=all");
	assert_int_equal(options.lookupcache, OPTIONS_LOOKUPCACHE_ALL);
	refuse_words("lookupcache=neg", "-o lookupcache=neg: must be all, pos, positive or none");
	accept_words("nolock");
	assert_true(options.nolock);
	accept_words("nolock,lock");
	assert_false(options.nolock);
	accept_words("local_lock=all");
	assert_true(options.nolock);
	accept_words("local_lock=all,local_lock=none");
	assert_false(options.nolock);
	refuse_words("local_lock=flock", "-o local_lock=flock: must be none or all");
	accept_words("nocto");
	assert_false(options.cto);
	accept_words("nocto,cto");
	assert_true(options.cto);
	assert_int_equal(options.delegations, DELEG_READ);
	accept_words("delegations=all");
	assert_int_equal(options.delegations, DELEG_ALL);
	accept_words("delegations=all,delegations=none");
	assert_int_equal(options.delegations, DELEG_NONE);
	/* They would end with the daemon. */
	accept_words("takeover,delegations=all");
	assert_int_equal(options.delegations, DELEG_NONE);
	accept_words("delegations=read");
	assert_int_equal(options.delegations, DELEG_READ);
	refuse_words("delegations", "-o delegations: needs a value: none, read or all");
	refuse_words("delegations=write", "-o delegations=write: must be none, read or all");
}

static void test_attribute_cache(void **state)
{
	accept_words("acregmin=0.25,acregmax=3,acdirmin=.5,acdirmax=4.");
	assert_true(options.acregmin == 0.25 && options.acregmax == 3);
	assert_true(options.acdirmin == 0.5 && options.acdirmax == 4);
	accept_words("actimeo=2147483647");
	assert_true(options.acregmin == 2147483647 && options.acdirmax == 2147483647);
	accept_words("actimeo=5,acregmin=2");
	assert_true(options.acregmin == 2 && options.acregmax == 5 && options.acdirmin == 5);
	/* a limit that was not given follows */
	accept_words("acregmin=3");
	assert_true(options.acregmin == 3 && options.acregmax == 3 && options.acdirmin == 1);
	accept_words("acdirmax=0");
	assert_true(options.acdirmin == 0 && options.acdirmax == 0 && options.acregmin == 1);
	refuse_words("acregmin=3,acregmax=2", "-o acregmin=3 is more than acregmax=2");
	refuse_words("acdirmax=2,acdirmin=2.5", "-o acdirmin=2.5 is more than acdirmax=2");
	accept_words("noac");
	assert_true(options.noac && options.acregmax == 0 && options.acdirmax == 0);
	accept_words("noac,acregmin=5");
	assert_true(options.noac && options.acregmin == 0 && options.acregmax == 0);
	accept_words("noac,ac");
	assert_true(!options.noac && options.acregmin == 1);
	static const char *const bad[] = {"", ".", "-1", "+1", "1e3", "inf", "nan", "0x1", "1 ",
		" 1", "1.2.3", "2147483648", "1s"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		static const char *const names[] = {
			"acregmin", "acregmax", "acdirmin", "acdirmax", "actimeo"};
		for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++) {
			char words[64], want[160];
			snprintf(words, sizeof(words), "%s=%s", names[n], bad[i]);
			snprintf(want, sizeof(want),
				"-o %s: must be 0 to 2147483647 seconds, fractions allowed", words);
			refuse_words(words, want);
		}
	}
}

static void test_sharing(void **state)
{
	accept_words("allow_other");
	assert_true(
		options.allow_other && fuse_has("allow_other") && fuse_has("default_permissions"));
	accept_words("allow_other,allow_root");
	assert_true(options.allow_root && !options.allow_other);
	assert_true(fuse_has("allow_root") && !fuse_has("allow_other"));
	assert_true(fuse_has("default_permissions"));
	accept_words("allow_root,allow_other");
	assert_true(options.allow_other && !options.allow_root && !fuse_has("allow_root"));
	accept_words("allow_other,access=server");
	assert_true(options.access_server && !fuse_has("default_permissions"));
	accept_words("access=server,access=client,allow_other");
	assert_true(!options.access_server && fuse_has("default_permissions"));
	accept_words("access=server,default_permissions");
	assert_true(!options.access_server && fuse_has("default_permissions"));
	accept_words("default_permissions,access=server,allow_other");
	assert_true(options.access_server && !fuse_has("default_permissions"));
	refuse_words("access=kernel", "-o access=kernel: must be client or server");
}

static void test_owners(void **state)
{
	accept_words("rw");
	assert_int_equal(options.show_uid, OPTIONS_NO_ID);
	assert_int_equal(options.show_gid, OPTIONS_NO_ID);
	assert_int_equal(options.fmask, OPTIONS_NO_MASK);
	assert_int_equal(options.dmask, OPTIONS_NO_MASK);
	assert_int_equal(options.map_uid, OPTIONS_NO_ID);
	assert_null(options.idmap);
	accept_words("uid=1000,gid=100,umask=22");
	assert_int_equal(options.show_uid, 1000);
	assert_int_equal(options.show_gid, 100);
	assert_int_equal(options.fmask, 022);
	assert_int_equal(options.dmask, 022);
	accept_words("umask=000,fmask=0777,dmask=7,uid=root,gid=root");
	assert_int_equal(options.show_uid, 0);
	assert_int_equal(options.show_gid, 0);
	assert_int_equal(options.fmask, 0777);
	assert_int_equal(options.dmask, 7);
	refuse_words("umask=8", "-o umask=8: must be an octal number up to 777");
	refuse_words("dmask=1000", "-o dmask=1000: must be an octal number up to 777");
	refuse_words("fmask", "-o fmask: needs a value: an octal number up to 777");
	refuse_words("uid=no-such-user", "-o uid=no-such-user: must be a user");
	refuse_words("gid=4294967295", "-o gid=4294967295: must be a group");
}

static void test_idmap(void **state)
{
	accept_words("idmap=none,uid=7");
	assert_null(options.idmap);
	assert_int_equal(options.show_uid, 7);
	assert_int_equal(options.map_uid, OPTIONS_NO_ID);
	accept_words("idmap=user");
	assert_int_equal(options.map_uid, geteuid());
	assert_int_equal(options.map_gid, getegid());
	/* whom the export's owner is, then, not what is shown */
	accept_words("uid=4294967294,idmap=user");
	assert_int_equal(options.map_uid, 4294967294);
	assert_int_equal(options.map_gid, OPTIONS_NO_ID);
	assert_int_equal(options.show_uid, OPTIONS_NO_ID);
	accept_words("uid=0,idmap=user");
	assert_int_equal(options.map_gid, 0);
	accept_words("uid=0,gid=5,idmap=user");
	assert_int_equal(options.map_gid, 5);
	refuse_words(
		"idmap=file", "-o idmap=file: must be user, none or the absolute name of a file");
	refuse_words("idmap=/none/x", "-o idmap=/none/x: No such file or directory");
}

static void test_mount_flags(void **state)
{
	static const struct {
		const char *words, *has, *has_not;
	} cases[] = {
		{"ro", "ro", "rw"},
		{"ro,rw", "rw", "ro"},
		{"nosuid", "nosuid", "suid"},
		{"nodev", "nodev", "dev"},
		{"noexec", "noexec", "exec"},
		{"noexec,exec", "rw", "noexec"},
		{"nosuid,suid", "rw", "nosuid"},
		{"nodev,dev", "rw", "nodev"},
		{"noatime", "noatime", "atime"},
		{"noatime,atime", "rw", "noatime"},
		{"sync", "sync", "async"},
		{"sync,async", "rw", "sync"},
		{"dirsync", "dirsync", "sync"},
		{"user", "nosuid", "suid"},
		{"user", "noexec", "dev"},
		{"users", "nodev", "dev"},
		{"users", "noexec", "dev"},
		{"user=joe", "nodev", "dev"},
		{"user,exec,dev,suid", "rw", "noexec"},
		{"owner", "nosuid", "noexec"},
		{"group", "nodev", "noexec"},
		{"fsname=x", "fsname=x", "fsname=2:/export"},
		{"subtype=y", "subtype=y", "subtype=vsockfs"},
		{"fsname=x,fsname=z", "fsname=z", "fsname=x"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		accept_words(cases[i].words);
		if (!fuse_has(cases[i].has) || fuse_has(cases[i].has_not))
			fail_msg("-o %s: %s", cases[i].words, options.fuse_options);
	}
	accept_words("ro");
	assert_true(options.read_only);
	/* The guard's, which hands it on only to fusermount3. */
	assert_false(options.auto_unmount);
	accept_words("auto_unmount");
	assert_true(options.auto_unmount && !fuse_has("auto_unmount"));
	refuse_words("fsname=", "-o fsname=: must be a text that is not empty");
	refuse_words("subtype", "-o subtype: needs a value: a text that is not empty");
	assert_true(options.sandbox);
	accept_words("sandbox=no");
	assert_false(options.sandbox);
	refuse_words("sandbox=maybe", "-o sandbox=maybe: must be yes or no");
	refuse_words("ro=1", "-o ro=1: ro takes no value");
}

static void test_silent_words(void **state)
{
	static const char *const silent[] = {"defaults", "auto", "noauto", "nouser", "nofail",
		"_netdev", "x-systemd.automount", "x-gvfs-name=a b", "X-mount.mkdir=0755",
		"comment=hello", "diratime", "nodiratime", "relatime", "norelatime", "strictatime",
		"nousers", "noowner", "nogroup", "nostrictatime", "sloppy", "drop_privileges",
		"setuid=root", "", ",", ",ro,,rw,"};
	char plain[1024];

	accept_words("rw");
	snprintf(plain, sizeof(plain), "%s", options.fuse_options);
	for (size_t i = 0; i < sizeof(silent) / sizeof(silent[0]); i++) {
		accept_words(silent[i]);
		assert_string_equal(options.fuse_options, plain);
	}
}

static void test_refused_words(void **state)
{
	static const char *const refused[] = {"bind", "bg", "context=system_u:x", "fscontext=x",
		"defcontext=x", "rootcontext=x", "seclabel", "udp", "rdma", "mountport=1",
		"mountproto=tcp", "mountvers=3", "max_read=4096", "max_write=1", "max_background=1",
		"congestion_threshold=1", "async_read", "sync_read", "big_writes", "large_read",
		"splice_read", "splice_write", "splice_move", "clone_fd", "max_idle_threads=1",
		"max_threads=1", "direct_io", "kernel_cache", "auto_cache", "noauto_cache",
		"writeback_cache", "entry_timeout=1", "attr_timeout=1", "ac_attr_timeout=1",
		"negative_timeout=1", "uidfile=x", "gidfile=x", "nomap=error", "use_ino",
		"readdir_ino", "no_remote_lock", "nonempty", "hard_remove", "blkdev", "fd=3",
		"rootmode=40000", "user_id=0", "group_id=0"};
	char words[128], want[128];

	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		snprintf(words, sizeof(words), "ro,%s", refused[i]);
		assert_int_equal(parse_words(words), 1);
		snprintf(want, sizeof(want), "vsockfs: -o %s: not accepted: ", refused[i]);
		assert_memory_equal(message, want, strlen(want));
		snprintf(words, sizeof(words), "sloppy,%s", refused[i]);
		assert_int_equal(parse_words(words), 1);
	}
	refuse_words("max_read=1", "-o max_read=1: not accepted: use rsize=");
}

static void test_unknown_words(void **state)
{
	static const char *const unknown[] = {"frobnicate", "frob=1", "r", "rsiz=4096",
		"rsizes=4096", "RO", "=1", "X", "x", "ro rw"};
	char want[128], words[128];

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		snprintf(want, sizeof(want), "-o %s: unknown option (vsockfs -h lists them)",
			unknown[i]);
		refuse_words(unknown[i], want);
		snprintf(words, sizeof(words), "%s,ro,sloppy", unknown[i]);
		accept_words(words);
		assert_true(options.read_only);
	}
	assert_int_equal(PARSE("vsockfs", "2:/e", directory, "-o", "frob", "-o", "sloppy"), 0);
	/* sloppy forgives names, not values */
	refuse_words("sloppy,rsize=1", "-o rsize=1: must be a number from 4096 to 1048576 bytes");
}

static void test_escapes(void **state)
{
	accept_words("fsname=a\\,ro,soft");
	assert_true(fuse_has("rw") && options.soft);
	assert_memory_equal(
		options.fuse_options, "fsname=a\\,ro,subtype", strlen("fsname=a\\,ro,subtype"));
	accept_words("fsname=a\\\\,ro");
	assert_true(options.read_only);
	assert_memory_equal(
		options.fuse_options, "fsname=a\\\\,subtype", strlen("fsname=a\\\\,subtype"));
	accept_words("fsname=a\\b\\");
	assert_memory_equal(options.fuse_options, "fsname=a\\\\b\\\\,subtype",
		strlen("fsname=a\\\\b\\\\,subtype"));
	assert_int_equal(PARSE("vsockfs", "2:/a,b\\c", directory), 0);
	assert_string_equal(options.export_path, "/a,b\\c");
	assert_memory_equal(options.fuse_options, "fsname=2:/a\\,b\\\\c,subtype",
		strlen("fsname=2:/a\\,b\\\\c,subtype"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, options_forget)
	const struct CMUnitTest tests[] = {
		TEST(test_port),
		TEST(test_proto),
		TEST(test_version),
		TEST(test_sizes),
		TEST(test_rootfs),
		TEST(test_recovery),
		TEST(test_kerberos),
		TEST(test_identity),
		TEST(test_choices),
		TEST(test_attribute_cache),
		TEST(test_sharing),
		TEST(test_owners),
		TEST(test_idmap),
		TEST(test_mount_flags),
		TEST(test_silent_words),
		TEST(test_refused_words),
		TEST(test_unknown_words),
		TEST(test_escapes),
	};
	return cmocka_run_group_tests(tests, options_setup, options_teardown);
}
