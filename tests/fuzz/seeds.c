/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <sys/stat.h>

#include "../unit/nfs41/cases.h"
#include "fuzz.h"
#include "nfs41/attr.h"
#include "nfs41/callback.h"
#include "rpc/msg.h"
#include "rpc/record.h"
#include "state_file.h"

/*
 * Writes one well-formed input for each thing that a target can be given into DIRECTORY/TARGET/,
 * for a fuzzer to start from: seeds DIRECTORY.
 */

static const char *base;
static uint8_t room[32768];
static struct wire_out out;

static void begin(void)
{
	wire_out_init(&out, room, sizeof(room));
}

static void put_byte(uint8_t v)
{
	*wire_put_raw(&out, 1) = v;
}

static void put_bytes(const void *data, size_t len)
{
	uint8_t *p = wire_put_raw(&out, len);

	fuzz_check(p);
	if (len > 0)
		memcpy(p, data, len);
}

static void save_as(const char *target, const char *name, const void *data, size_t len)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", base, target);
	fuzz_check(mkdir(path, 0755) == 0 || errno == EEXIST);
	snprintf(path, sizeof(path), "%s/%s/%s", base, target, name);
	FILE *file = fopen(path, "we");
	fuzz_check(file && fwrite(data, 1, len, file) == len);
	fuzz_check(fclose(file) == 0);
}

static void save(const char *target, const char *name)
{
	fuzz_check(!out.bad);
	save_as(target, name, room, out.len);
}

static void save_text(const char *target, const char *const *texts)
{
	char name[16];

	for (unsigned i = 0; texts[i]; i++) {
		snprintf(name, sizeof(name), "%u", i);
		save_as(target, name, texts[i], strlen(texts[i]));
	}
}

/* The place of each case in fuzz_compound's table is its number. */
static unsigned case_number;

static void compound_seed(const struct op_case *op_case)
{
	static struct exchange x;
	char name[80];

	for (unsigned framed = 0; framed < 2; framed++) {
		exchange_init(&x, true);
		exchange_add(&x, op_case);
		exchange_finish(&x);
		begin();
		put_byte(framed ? 1 | 2 : 1 | 16);
		put_byte(1);
		put_byte((uint8_t)case_number);
		if (framed) {
			size_t body = x.reply_len - x.last_at - 8;
			put_byte(0);
			put_byte(op_case->status == NFS4ERR_DENIED ? 1
				 : op_case->status		   ? 2
								   : 0xff);
			put_byte((uint8_t)(body / 4));
			put_bytes(x.reply + x.last_at + 8, body);
		} else {
			put_bytes(x.reply, x.reply_len);
		}
		snprintf(name, sizeof(name), "%u-%u", case_number, framed);
		save("compound", name);
		exchange_deinit(&x);
	}
	case_number++;
}

static void attr_seeds(void)
{
	struct wire_out part;
	uint8_t fattr[1024];

	wire_out_init(&part, fattr, sizeof(fattr));
	case_put_fattr(&part);
	begin();
	put_byte(0);
	for (unsigned i = 0; i < NFS_BITMAP_WORDS; i++)
		wire_put_u32(&out, case_want.word[i]);
	put_bytes(fattr, part.len);
	save("attr", "file");
	for (size_t i = 0; i < fs_cases_count; i++) {
		if (!strstr(fs_cases[i].name, "fsattr"))
			continue;
		begin();
		put_byte(1);
		for (unsigned j = 0; j < NFS_BITMAP_WORDS; j++)
			wire_put_u32(&out, 0xffffffff);
		fs_cases[i].reply(&out);
		save("attr", "fs");
	}
	begin();
	put_byte(2);
	nfs_attr_put_bitmap(&out, &case_want);
	save("attr", "bitmap");
	begin();
	put_byte(3);
	for (unsigned i = 0; i < 40; i++)
		put_byte((uint8_t)(0xff - i));
	save("attr", "set");
}

static void put_cb_head(uint32_t sequence, uint32_t nops)
{
	wire_put_u32(&out, 0); /* tag */
	wire_put_u32(&out, 1); /* minorversion */
	wire_put_u32(&out, 0); /* callback_ident */
	wire_put_u32(&out, nops);
	wire_put_u32(&out, OP_CB_SEQUENCE);
	wire_put_fixed(&out, case_sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(&out, sequence);
	wire_put_u32(&out, 0); /* slot, highest slot, cachethis */
	wire_put_u32(&out, 0);
	wire_put_u32(&out, 0);
	wire_put_u32(&out, 1); /* referring calls */
	wire_put_fixed(&out, case_sessionid, NFS4_SESSIONID_SIZE);
	wire_put_u32(&out, 1);
	wire_put_u32(&out, 7);
	wire_put_u32(&out, 3);
}

static void put_cb_op(uint32_t op)
{
	wire_put_u32(&out, op);
	switch (op) {
	case OP_CB_RECALL:
		case_put_stateid(&out);
		wire_put_u32(&out, 0);
		wire_put_opaque(&out, case_fh.data, case_fh.len);
		break;
	case OP_CB_GETATTR:
		wire_put_opaque(&out, case_fh.data, case_fh.len);
		nfs_attr_put_bitmap(&out, &case_want);
		break;
	case OP_CB_RECALL_ANY:
		wire_put_u32(&out, 5);
		wire_put_u32(&out, 1);
		wire_put_u32(&out, 3);
		break;
	case OP_CB_RECALL_SLOT: wire_put_u32(&out, 2); break;
	case OP_CB_NOTIFY_LOCK:
		wire_put_opaque(&out, case_fh.data, case_fh.len);
		nfs_op_put_owner(&out, 42);
		break;
	case OP_CB_OFFLOAD:
		wire_put_opaque(&out, case_fh.data, case_fh.len);
		case_put_stateid(&out);
		wire_put_u32(&out, NFS4_OK);
		wire_put_u32(&out, 0); /* stateids */
		wire_put_u64(&out, 4096);
		wire_put_u32(&out, UNSTABLE4);
		wire_put_fixed(&out, case_verifier, sizeof(case_verifier));
		break;
	}
}

static void callback_seeds(void)
{
	char name[32];

	for (uint32_t op = OP_CB_GETATTR; op <= OP_CB_OFFLOAD; op++) {
		begin();
		for (uint32_t sequence = 1; sequence <= 2; sequence++) {
			size_t at = out.len;

			put_bytes("\0", 2);
			put_cb_head(sequence, 2);
			put_cb_op(op);
			room[at] = (uint8_t)((out.len - at - 2) >> 8);
			room[at + 1] = (uint8_t)(out.len - at - 2);
		}
		snprintf(name, sizeof(name), "op%u", op);
		save("callback", name);
	}
}

/* An RPC reply or call as words. */
static size_t put_header(uint8_t *to, uint32_t xid, const uint32_t *words, unsigned n)
{
	struct wire_out part;

	wire_out_init(&part, to, 4 * (n + 1));
	wire_put_u32(&part, xid);
	for (unsigned i = 0; i < n; i++)
		wire_put_u32(&part, words[i]);
	return part.len;
}

static const struct {
	uint32_t words[9];
	unsigned n;
} headers[] = {
	{{1, 0, 0, 0, 0}, 5},			   /* accepted, SUCCESS */
	{{1, 0, 0, 0, 1}, 5},			   /* PROG_UNAVAIL */
	{{1, 0, 0, 0, 2, 3, 4}, 7},		   /* PROG_MISMATCH */
	{{1, 0, 1, 4, 0x61626364, 5}, 6},	   /* a verifier, SYSTEM_ERR */
	{{1, 1, 0, 2, 2}, 5},			   /* denied, RPC_MISMATCH */
	{{1, 1, 1, 5}, 4},			   /* AUTH_TOOWEAK */
	{{0, 2, 0x40000000, 1, 1, 0, 0, 0, 0}, 9}, /* a call */
};

static void rpc_seeds(void)
{
	uint8_t message[64];
	char name[16];

	for (unsigned i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		size_t len = put_header(message, 1000, headers[i].words, headers[i].n);

		snprintf(name, sizeof(name), "%u", i);
		save_as("header", name, message, len);
	}
}

/* One record in fragments of `fragment` bytes. */
static void put_record(const uint8_t *data, size_t len, size_t fragment)
{
	for (size_t done = 0, n; done < len; done += n) {
		n = len - done < fragment ? len - done : fragment;
		wire_put_u32(&out, (uint32_t)n | (done + n == len ? RECORD_LAST : 0));
		put_bytes(data + done, n);
	}
}

static void record_seed(unsigned number, uint8_t how, size_t payload, size_t fragment)
{
	static uint8_t message[16384];
	struct wire_out results;
	char name[16];

	begin();
	for (unsigned i = 0; i < 8; i++)
		put_byte(how);
	put_byte((uint8_t)(number * 37));
	for (uint32_t xid = 1000; xid < 1003; xid++) {
		size_t len = put_header(message, xid, headers[0].words, headers[0].n);

		wire_out_init(&results, message + len, sizeof(message) - len);
		wire_put_opaque(&results, "results", 7);
		wire_put_u32(&results, (uint32_t)payload);
		memset(wire_put_raw(&results, payload + wire_pad(payload)), 'p', payload);
		put_record(message, len + results.len, fragment);
	}
	size_t len = put_header(message, 1, headers[6].words, headers[6].n);
	put_record(message, len, fragment);
	snprintf(name, sizeof(name), "%u", number);
	save("record", name);
}

static void record_seeds(void)
{
	record_seed(0, 2, 0, 4000);
	record_seed(1, 2, 100, 9);
	record_seed(2, 3, 5000, 100000);
	record_seed(3, 3, 2001, 1500);
	record_seed(4, 3 | 32, 300, 50);
}

static const char *const addresses[] = {"2:/export", "host:/", "local:/a", "vsock:5:/x",
	"unix:/run/nfs.sock:/export", "unix:@name:/e", "tcp:10.0.0.1:/e", "tcp:[::1]:2049:/e",
	"tcp:nfs.example:80:/e", "4294967295:/x", "server:/x", NULL};

static const char *const options[] = {"vsockfs\n2:/export\n/tmp\n-o\nro,soft,timeo=5",
	"mount.vsockfs\nunix:/s:/e\n/\n-n\n-s\n-o\nrw,nosuid,dev,x-systemd.automount,_netdev",
	"vsockfs\ntcp:h:/e\n/tmp\n-o\nport=80,proto=tcp,fsname=a\\,b,subtype=c",
	"vsockfs\n2:/a//b/./\n/tmp\n-oactimeo=1.5,acregmin=3,acdirmax=9,rsize=8192,wsize=4096",
	"vsockfs\n-V", "mount.fuse\n-f\n-t\nx\n2:/\n/\n-o\ncache=always,lookupcache=none,vers=4.2",
	"vsockfs\n2:/e\n/tmp\n-o\nnconnect=4,retry=2,sec=sys,io=poll,access=server,allow_root",
	NULL};

static const char *const statuses[] = {
	"Name:\tcat\nUid:\t0\t0\t0\t0\nGroups:\t0 4 24 1000 4294967295 \nNStgid:\t1\n",
	"Groups:\t \n", "Groups:\t1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 \n",
	"SigPnd:\t0000000000000100\nShdPnd:\t0000000000004000\nSigBlk:\t0000000000000001\n"
	"SigIgn:\t0000000000001000\nSigCgt:\t0000000180004002\n",
	"1 (a) Z 1) S 1 1 1 0 -1 4194560 1 2", NULL};

static const char *const mounts[] = {
	"/mnt\n36 35 0:98 / /mnt rw,noatime shared:1 - fuse.vsockfs 2:/export rw,user_id=1000,x\n",
	"/a b\n1 2 3:4 / /a\\040b rw - ext4 /dev/sda1 rw\n5 6 7:8 / /a\\040b rw - tmpfs none rw\n",
	NULL};

static const char *const controls[] = {"1stats\n", "1stats json\n", "1stats mountstats\n",
	"1stats lines\n", "1status\n", "1status json\n", "1trace 100000000 18446744073709551615\n",
	"1trace 0 17\n", "1capture\n", "1capture start 0 0 0\n", "1capture start 256 1 1048576\n",
	"1capture start 39 2 0\n", "1capture stop\n", "1drop\n", "1log debug\n", "1log info\n",
	"1delegreturn\n", "2vsockfs-control 1 ok 5\n12345", "2vsockfs-control 1 error no\n", NULL};

static void idmap_seeds(void)
{
	static const char *const owners[] = {
		"0", "1000", "4294967294", "root@example.org", "daemon", "x@y@z", "nobody@", ""};

	begin();
	for (unsigned i = 0; i < 5; i++)
		put_byte((uint8_t)(50 + i));
	for (size_t i = 0; i < sizeof(owners) / sizeof(owners[0]); i++) {
		put_byte(0);
		put_byte((uint8_t)strlen(owners[i]));
		put_bytes(owners[i], strlen(owners[i]));
	}
	save("idmap", "owners");
}

static void state_seed(void)
{
	struct state_file *file;
	size_t len;

	fuzz_check(state_file_new(&file) == 0);
	uint32_t at = state_file_put(file, 0, 1, 1, NULL, "one", 3);
	state_file_put(file, 0, 2, 5, NULL, room, 200);
	state_file_put(file, at, 1, 1, NULL, "another", 7);
	const void *data = state_file_data(file, &len);
	begin();
	put_byte(3);
	put_bytes(data, len < 1024 ? len : 1024);
	save("state", "three");
	state_file_free(file);
}

/* What fuzz_gss.c reads as a message of helper `which`. */
static void gss_help(uint8_t which, uint8_t what, const char *body)
{
	const uint8_t head[] = {1, which, what, 0xf3, 0, 20, 0, (uint8_t)strlen(body)};

	put_bytes(head, sizeof(head));
	put_bytes(body, strlen(body));
}

static void gss_context(uint8_t which)
{
	static const uint8_t answer[] = {
		2, 0, 0, 'a', ' ', 'h', 'a', 'n', 'd', 'l', 'e', 0, 2, 'o', 'k'};

	gss_help(which, 0, "token");
	put_bytes(answer, sizeof(answer));
	gss_help(which, 1, "context");
}

/* A context, calls in it, another after the server has forgotten it, and none when it expires. */
static void gss_seed(uint8_t sec)
{
	static const uint8_t results[] = {3, 0, 4, 0, 4, 'r', 'e', 's', '!', 4, 1, 13};
	static const uint8_t expiry[] = {3, 1, 4, 0, 0, 5, 81};
	static const char *const names[] = {"krb5", "krb5i", "krb5p"};
	const uint8_t call[] = {0, sec}, prepared[] = {0, sec | 8};

	begin();
	put_bytes(call, sizeof(call));
	gss_context(0);
	put_bytes(prepared, sizeof(prepared));
	put_bytes(results, sizeof(results));
	gss_context(1);
	put_bytes(expiry, sizeof(expiry));
	put_bytes(call, sizeof(call));
	gss_help(2, 2, "no ticket");
	put_byte(6);
	save("gss", names[sec]);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	base = argv[1];
	case_each(compound_seed);
	attr_seeds();
	callback_seeds();
	rpc_seeds();
	record_seeds();
	idmap_seeds();
	state_seed();
	for (uint8_t sec = 0; sec < 3; sec++)
		gss_seed(sec);
	save_text("address", addresses);
	save_text("options", options);
	save_text("proccred", statuses);
	save_text("mountinfo", mounts);
	save_text("control", controls);
	return 0;
}
