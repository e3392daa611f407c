/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "floor_nfs.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* operations, RFC 8881 section 18 */
enum { GETATTR = 9, GETFH = 10, LOOKUP = 15, PUTFH = 22, PUTROOTFH = 24 };
enum { EXCHANGE_ID = 42, CREATE_SESSION = 43, SEQUENCE = 53, RECLAIM_COMPLETE = 58 };

enum {
	RPC_HEAD = 24,	    /* of an accepted reply, without its record mark */
	COMPOUND_HEAD = 12, /* status, empty tag, number of results */
	SEQUENCE_DONE = 44,
	STATUS = 8, /* of an operation without a result */
	SLOT_BITS = 8,
	/* all of a READ's reply but its data; those of WRITE and COMMIT are as long or longer */
	FIRST = 4 + RPC_HEAD + COMPOUND_HEAD + SEQUENCE_DONE + STATUS + 16,
};

struct text {
	uint8_t bytes[1024];
	size_t len;
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("floor: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(1);
}

static void put(struct text *t, const void *bytes, size_t len)
{
	size_t padded = (len + 3) & ~(size_t)3;

	if (t->len + padded > sizeof(t->bytes))
		die("a call is too long");
	memset(t->bytes + t->len, 0, padded);
	if (len > 0)
		memcpy(t->bytes + t->len, bytes, len);
	t->len += padded;
}

static void put32(struct text *t, uint32_t value)
{
	put(t, &(uint32_t){htonl(value)}, 4);
}

static void put64(struct text *t, uint64_t value)
{
	put32(t, (uint32_t)(value >> 32));
	put32(t, (uint32_t)value);
}

static void put_opaque(struct text *t, const void *bytes, size_t len)
{
	put32(t, (uint32_t)len);
	put(t, bytes, len);
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t value;

	memcpy(&value, p, 4);
	return ntohl(value);
}

static uint64_t get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

/* Record mark (set when the call is complete), RPC header with root's credential, COMPOUND. */
static void begin(struct text *t, uint32_t xid, uint32_t ops)
{
	t->len = 0;
	put32(t, 0);
	put32(t, xid);
	put32(t, 0); /* CALL */
	put32(t, 2);
	put32(t, 100003);
	put32(t, 4);
	put32(t, 1);  /* COMPOUND */
	put32(t, 1);  /* AUTH_SYS */
	put32(t, 20); /* stamp, empty name, uid, gid, no groups */
	put(t, (uint8_t[20]){0}, 20);
	put64(t, 0); /* AUTH_NONE */
	put32(t, 0); /* tag */
	put32(t, 1); /* minor version */
	put32(t, ops);
}

static void put_sequence(struct text *t, struct floor_nfs *nfs, unsigned slot)
{
	put32(t, SEQUENCE);
	put(t, nfs->session, sizeof(nfs->session));
	put32(t, ++nfs->seqid[slot]);
	put32(t, slot);
	put32(t, nfs->slots - 1);
	put32(t, 0);
}

static void send_all(int fd, struct iovec *iov, int n)
{
	while (n > 0) {
		struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)n};
		ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);

		if (sent < 0)
			die("send: %m");
		while (n > 0 && (size_t)sent >= iov->iov_len) {
			sent -= (ssize_t)iov->iov_len;
			iov++;
			n--;
		}
		if (n > 0) {
			iov->iov_base = (uint8_t *)iov->iov_base + sent;
			iov->iov_len -= (size_t)sent;
		}
	}
}

static void send_call(struct floor_nfs *nfs, struct text *t, const void *data, size_t len)
{
	size_t padding = -len & 3;
	struct iovec iov[] = {
		{t->bytes, t->len},
		{(void *)(uintptr_t)data, len},
		{(uint8_t[3]){0}, padding},
	};
	uint32_t mark = htonl(0x80000000 | (uint32_t)(t->len - 4 + len + padding));

	memcpy(t->bytes, &mark, 4);
	send_all(nfs->fd, iov, len == 0 ? 1 : padding ? 3 : 2);
}

static void receive_all(int fd, uint8_t *to, size_t len)
{
	while (len > 0) {
		ssize_t got = recv(fd, to, len, MSG_WAITALL);

		if (got <= 0)
			die("the server ended the connection");
		to += got;
		len -= (size_t)got;
	}
}

/* Reads the record of a call of connect() and returns the results behind `skip` bytes of them. */
static const uint8_t *ask(struct floor_nfs *nfs, struct text *t, size_t skip, size_t want)
{
	size_t head = RPC_HEAD + COMPOUND_HEAD;
	uint8_t mark[4];
	uint32_t len;

	send_call(nfs, t, NULL, 0);
	receive_all(nfs->fd, mark, sizeof(mark));
	len = get32(mark) & 0x7fffffff;
	if (len > sizeof(t->bytes) || len < head)
		die("a reply of %u bytes", len);
	receive_all(nfs->fd, t->bytes, len);
	if (get32(t->bytes + 20) != 0 || get32(t->bytes + RPC_HEAD) != 0)
		die("the server refuses a call: RPC %u, NFS %u", get32(t->bytes + 20),
			get32(t->bytes + RPC_HEAD));
	if (len < head + skip + want)
		die("a reply is too short");
	return t->bytes + head + skip;
}

static void open_stream(struct floor_nfs *nfs, const char *where)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	bool tcp = strncmp(where, "tcp:", 4) == 0;
	int r;

	if (!tcp && strncmp(where, "unix:", 5) != 0)
		die("%s is neither tcp:PORT nor unix:PATH", where);
	nfs->fd = socket(tcp ? AF_INET : AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (tcp) {
		in.sin_port = htons((uint16_t)atoi(where + 4));
		setsockopt(nfs->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
		r = connect(nfs->fd, (struct sockaddr *)&in, sizeof(in));
	} else {
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", where + 5);
		r = connect(nfs->fd, (struct sockaddr *)&un, sizeof(un));
	}
	if (r < 0)
		die("%s: %m", where);
}

static void get_clientid(struct floor_nfs *nfs)
{
	struct text t;
	uint64_t verifier = (uint64_t)getpid();
	char owner[32];
	const uint8_t *result;

	snprintf(owner, sizeof(owner), "floor %d", getpid());
	begin(&t, 1, 1);
	put32(&t, EXCHANGE_ID);
	put64(&t, verifier);
	put_opaque(&t, owner, strlen(owner));
	put32(&t, 0); /* flags */
	put32(&t, 0); /* SP4_NONE */
	put32(&t, 0); /* no implementation id */
	result = ask(nfs, &t, STATUS, 12);
	nfs->clientid = get64(result);
	nfs->sequence = get32(result + 8);
}

static void put_channel(struct text *t, uint32_t bytes, uint32_t slots)
{
	put32(t, 0); /* header padding */
	put32(t, bytes);
	put32(t, bytes);
	put32(t, 2048); /* cached */
	put32(t, 8);	/* operations */
	put32(t, slots);
	put32(t, 0); /* no RDMA */
}

static void create_session(struct floor_nfs *nfs)
{
	struct text t;
	const uint8_t *result;

	begin(&t, 2, 1);
	put32(&t, CREATE_SESSION);
	put64(&t, nfs->clientid);
	put32(&t, nfs->sequence);
	put32(&t, 0);
	put_channel(&t, FLOOR_IO + 4096, FLOOR_SLOTS);
	put_channel(&t, 4096, 1);
	put32(&t, 0x40000000);
	put32(&t, 1);
	put32(&t, 0); /* callbacks with AUTH_NONE */
	result = ask(nfs, &t, STATUS, 48);
	memcpy(nfs->session, result, sizeof(nfs->session));
	nfs->slots = get32(result + 16 + 8 + 20);
	if (nfs->slots < 1 || nfs->slots > FLOOR_SLOTS)
		die("%u slots", nfs->slots);
}

static void complete_reclaims(struct floor_nfs *nfs)
{
	struct text t;

	begin(&t, 3, 2);
	put_sequence(&t, nfs, 0);
	put32(&t, RECLAIM_COMPLETE);
	put32(&t, 0);
	ask(nfs, &t, SEQUENCE_DONE, STATUS);
}

static void look_up(struct floor_nfs *nfs, const char *path)
{
	struct text t;
	char *copy = strdup(path), *rest = copy;
	uint32_t names = 0;
	const uint8_t *result;

	for (const char *p = path; *p; p++)
		names += *p == '/';
	if (*path != '/' || !copy)
		die("%s is not absolute", path);
	begin(&t, 4, 4 + names);
	put_sequence(&t, nfs, 0);
	put32(&t, PUTROOTFH);
	strsep(&rest, "/");
	for (char *name; (name = strsep(&rest, "/"));) {
		put32(&t, LOOKUP);
		put_opaque(&t, name, strlen(name));
	}
	put32(&t, GETATTR);
	put32(&t, 1);
	put32(&t, 1 << 4); /* size */
	put32(&t, GETFH);
	/* bitmap of one word, eight bytes of attributes; GETFH with its length */
	result = ask(nfs, &t, SEQUENCE_DONE + STATUS * (2 + names), 20 + STATUS + 4);
	nfs->size = get64(result + 12);
	result += 20 + STATUS;
	nfs->fh_len = get32(result);
	if (nfs->fh_len > FLOOR_FH)
		die("a file handle of %u bytes", nfs->fh_len);
	memcpy(nfs->fh, result + 4, nfs->fh_len);
	free(copy);
}

void floor_nfs_connect(struct floor_nfs *nfs, const char *where, const char *path)
{
	*nfs = (struct floor_nfs){.fd = -1};
	open_stream(nfs, where);
	get_clientid(nfs);
	create_session(nfs);
	complete_reclaims(nfs);
	look_up(nfs, path);
}

void floor_nfs_send(struct floor_nfs *nfs, unsigned slot, enum floor_kind kind, uint64_t offset,
	uint32_t count, const void *data)
{
	struct text t;

	begin(&t, (uint32_t)kind << SLOT_BITS | slot, 3);
	put_sequence(&t, nfs, slot);
	put32(&t, PUTFH);
	put_opaque(&t, nfs->fh, nfs->fh_len);
	put32(&t, kind);
	if (kind != FLOOR_COMMIT)
		put(&t, (uint8_t[16]){0}, 16); /* the anonymous stateid */
	put64(&t, offset);
	if (kind == FLOOR_WRITE)
		put32(&t, 0); /* UNSTABLE4 */
	put32(&t, count);
	send_call(nfs, &t, data, kind == FLOOR_WRITE ? count : 0);
}

void floor_nfs_receive(struct floor_nfs *nfs, void *data, struct floor_reply *reply)
{
	uint8_t head[FIRST];
	size_t rest;
	uint32_t xid;

	receive_all(nfs->fd, head, sizeof(head));
	rest = (get32(head) & 0x7fffffff) + 4 - sizeof(head);
	xid = get32(head + 4);
	if (get32(head + 4 + RPC_HEAD) != 0 || rest > FLOOR_IO + 4)
		die("NFS status %u", get32(head + 4 + RPC_HEAD));
	reply->slot = xid & ((1U << SLOT_BITS) - 1);
	reply->kind = (enum floor_kind)(xid >> SLOT_BITS);
	reply->count = get32(head + FIRST - (reply->kind == FLOOR_READ ? 4 : 8));
	if (reply->slot >= nfs->slots || (reply->kind == FLOOR_READ && reply->count > rest))
		die("a reply that nobody can expect");
	receive_all(nfs->fd, data, rest);
}
