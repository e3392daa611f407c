/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/probe.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "util/wire.h"

#define PROBE_LAST	UINT32_C(0x80000000) /* of the fragments of a record */
#define PROBE_NFS	100003
#define PROBE_COMPOUND	1
#define PROBE_CALLBACK	UINT32_C(0x40000000)
#define PROBE_OPS_MAX	100
#define PROBE_SIZE	8192 /* bytes of a call or a reply */
#define PROBE_TAG_MAX	1024
#define PROBE_SESSIONID 16

/* RFC 8881, 16.2.3 */
enum {
	PROBE_LOOKUP = 15,
	PROBE_PUTROOTFH = 24,
	PROBE_EXCHANGE_ID = 42,
	PROBE_CREATE_SESSION = 43,
	PROBE_DESTROY_SESSION = 44,
	PROBE_SEQUENCE = 53,
	PROBE_DESTROY_CLIENTID = 57,
};

struct probe {
	int fd;
	uint32_t xid;
	uint64_t clientid;
	uint32_t sequence; /* for CREATE_SESSION */
	uint8_t sessionid[PROBE_SESSIONID];
	uint8_t data[PROBE_SIZE];
	struct wire_out call;
	struct wire_in reply; /* after the first operation's status */
};

static void probe_begin(struct probe *probe, uint32_t nops)
{
	struct wire_out *call = &probe->call;

	wire_out_init(call, probe->data, sizeof(probe->data));
	wire_put_u32(call, 0); /* the mark, when the length is known */
	wire_put_u32(call, ++probe->xid);
	wire_put_u32(call, 0); /* CALL */
	wire_put_u32(call, 2);
	wire_put_u32(call, PROBE_NFS);
	wire_put_u32(call, 4);
	wire_put_u32(call, PROBE_COMPOUND);
	wire_put_u32(call, 1); /* AUTH_SYS: stamp, machine, uid, gid, gids */
	wire_put_u32(call, 5 * 4);
	for (int i = 0; i < 5; i++)
		wire_put_u32(call, 0);
	wire_put_u64(call, 0); /* no verifier */
	wire_put_opaque(call, "", 0);
	wire_put_u32(call, 1); /* minor version */
	wire_put_u32(call, nops);
}

static int probe_exactly(int fd, void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = recv(fd, (uint8_t *)data + done, len - done, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ECONNRESET;
		done += (size_t)n;
	}
	return 0;
}

static int probe_receive(struct probe *probe, size_t *len)
{
	uint8_t mark[4];
	int err = probe_exactly(probe->fd, mark, sizeof(mark));

	if (err)
		return err;
	*len = wire_load_u32(mark) & ~PROBE_LAST;
	if (!(wire_load_u32(mark) & PROBE_LAST) || *len > sizeof(probe->data))
		return -EPROTO;
	return probe_exactly(probe->fd, probe->data, *len);
}

/* Sends the call, and opens the reply. The compound's status, or -errno. */
static int probe_send(struct probe *probe)
{
	struct wire_in *reply = &probe->reply;
	size_t len = probe->call.len;
	uint32_t status, tag, size;

	if (probe->call.bad)
		return -ENAMETOOLONG;
	wire_store_u32(probe->data, PROBE_LAST | (uint32_t)(len - 4));
	ssize_t n = send(probe->fd, probe->data, len, MSG_NOSIGNAL);
	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	int err = probe_receive(probe, &len);
	if (err)
		return err;
	wire_in_init(reply, probe->data, len);
	if (wire_get_u32(reply) != probe->xid || wire_get_u32(reply) != 1 ||
		wire_get_u32(reply) != 0)
		return -EPROTO;
	wire_get_u32(reply);
	wire_get_opaque(reply, PROBE_TAG_MAX, &size);
	if (wire_get_u32(reply) != 0)
		return -EPROTO;
	status = wire_get_u32(reply);
	wire_get_opaque(reply, PROBE_TAG_MAX, &tag);
	wire_get_u32(reply); /* results */
	wire_get_u64(reply); /* operation and status of the first */
	return reply->bad || status > INT32_MAX ? -EPROTO : (int)status;
}

static int probe_exchange_id(struct probe *probe)
{
	int status;

	probe_begin(probe, 1);
	wire_put_u32(&probe->call, PROBE_EXCHANGE_ID);
	wire_put_u64(&probe->call, (uint64_t)getpid());
	wire_put_opaque(&probe->call, "vsockfs-serve", 13);
	wire_put_u32(&probe->call, 0); /* flags */
	wire_put_u32(&probe->call, 0); /* no state protection */
	wire_put_u32(&probe->call, 0); /* nobody's implementation */
	status = probe_send(probe);
	if (status != 0)
		return status < 0 ? status : -EPROTO;
	probe->clientid = wire_get_u64(&probe->reply);
	probe->sequence = wire_get_u32(&probe->reply);
	return probe->reply.bad ? -EPROTO : 0;
}

static void probe_put_channel(struct wire_out *call)
{
	wire_put_u32(call, 0); /* padding */
	wire_put_u32(call, PROBE_SIZE);
	wire_put_u32(call, PROBE_SIZE);
	wire_put_u32(call, PROBE_SIZE); /* cached */
	wire_put_u32(call, PROBE_OPS_MAX);
	wire_put_u32(call, 1); /* slots */
	wire_put_u32(call, 0); /* no RDMA */
}

static int probe_create_session(struct probe *probe)
{
	const uint8_t *id;
	int status;

	probe_begin(probe, 1);
	wire_put_u32(&probe->call, PROBE_CREATE_SESSION);
	wire_put_u64(&probe->call, probe->clientid);
	wire_put_u32(&probe->call, probe->sequence);
	wire_put_u32(&probe->call, 0); /* flags */
	probe_put_channel(&probe->call);
	probe_put_channel(&probe->call);
	wire_put_u32(&probe->call, PROBE_CALLBACK);
	wire_put_u32(&probe->call, 1);
	wire_put_u32(&probe->call, 0); /* AUTH_NONE */
	status = probe_send(probe);
	if (status != 0)
		return status < 0 ? status : -EPROTO;
	id = wire_get_fixed(&probe->reply, PROBE_SESSIONID);
	if (!id)
		return -EPROTO;
	memcpy(probe->sessionid, id, PROBE_SESSIONID);
	return 0;
}

/* A LOOKUP for each name of the path, if there is a call; their number. */
static uint32_t probe_names(const char *path, struct wire_out *call)
{
	uint32_t n = 0;

	for (path += strspn(path, "/"); *path; path += strspn(path, "/")) {
		size_t len = strcspn(path, "/");
		if (call) {
			wire_put_u32(call, PROBE_LOOKUP);
			wire_put_opaque(call, path, len);
		}
		path += len;
		n++;
	}
	return n;
}

static int probe_look_up(struct probe *probe, const char *pseudo)
{
	uint32_t n = probe_names(pseudo, NULL);
	int status;

	if (n > PROBE_OPS_MAX - 2)
		return -ENAMETOOLONG;
	probe_begin(probe, n + 2);
	wire_put_u32(&probe->call, PROBE_SEQUENCE);
	wire_put_fixed(&probe->call, probe->sessionid, PROBE_SESSIONID);
	wire_put_u32(&probe->call, 1);
	for (int i = 0; i < 3; i++) /* slot, highest slot, nothing cached */
		wire_put_u32(&probe->call, 0);
	wire_put_u32(&probe->call, PROBE_PUTROOTFH);
	probe_names(pseudo, &probe->call);
	status = probe_send(probe);
	return status > 0 ? -ENOENT : status;
}

/* Both would end with the lease as well. */
static void probe_leave(struct probe *probe)
{
	probe_begin(probe, 1);
	wire_put_u32(&probe->call, PROBE_DESTROY_SESSION);
	wire_put_fixed(&probe->call, probe->sessionid, PROBE_SESSIONID);
	if (probe_send(probe) != 0)
		return;
	probe_begin(probe, 1);
	wire_put_u32(&probe->call, PROBE_DESTROY_CLIENTID);
	wire_put_u64(&probe->call, probe->clientid);
	probe_send(probe);
}

int probe_path(int fd, const char *pseudo)
{
	struct probe probe = {.fd = fd};
	int err = probe_exchange_id(&probe);

	if (!err)
		err = probe_create_session(&probe);
	if (err)
		return err;
	err = probe_look_up(&probe, pseudo);
	probe_leave(&probe);
	return err;
}
