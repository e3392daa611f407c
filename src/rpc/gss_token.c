/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc/gss_token.h"

#include <assert.h>
#include <errno.h>
#include <gssapi/gssapi_ext.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/record.h"
#include "util/log.h"
#include "util/wire.h"

#define GSS_VERSION   1
#define RPC_CALL_KIND 0
#define RPC_VERSION   2
/* RFC 2203, 5.3.1 */
#define SERVICE_NONE	  1
#define SERVICE_INTEGRITY 2
#define SERVICE_PRIVACY	  3
/* Longest databody and sequence number in front of it. */
#define BODY_HEAD 8

/* Mark, header, credential and verifier, and the head of a protected body. */
static_assert(
	4 + 24 + 8 + 20 + RPC_GSS_HANDLE_MAX + 8 + RPC_CALL_MIC_MAX + BODY_HEAD <= RPC_MSG_HEAD_MAX,
	"a call's header has to fit its headroom");

struct rpc_gss_session {
	unsigned refs;
	gss_ctx_id_t context;
	uint32_t service, window;
	uint32_t next; /* sequence number */
	size_t mic_len;
	TAILQ_HEAD(, rpc_call) calls; /* sent and not answered, in the order of their numbers */
	size_t handle_len;
	uint8_t handle[RPC_GSS_HANDLE_MAX];
};

static uint32_t service_of(enum rpc_sec sec)
{
	return sec == RPC_SEC_KRB5P   ? SERVICE_PRIVACY
	       : sec == RPC_SEC_KRB5I ? SERVICE_INTEGRITY
				      : SERVICE_NONE;
}

static bool gss_failed(OM_uint32 major, const char *what)
{
	if (!GSS_ERROR(major))
		return false;
	log_debug("%s: GSS status %08x", what, (unsigned)major);
	return true;
}

/* The MIC of `iov`'s data buffers, whose last one is room for it. */
static bool session_mic(struct rpc_gss_session *session, gss_iov_buffer_desc *iov, int count)
{
	OM_uint32 minor, major;

	major = gss_get_mic_iov(&minor, session->context, GSS_C_QOP_DEFAULT, iov, count);
	return !gss_failed(major, "gss_get_mic_iov");
}

static gss_iov_buffer_desc buffer_of(OM_uint32 type, const void *data, size_t len)
{
	return (gss_iov_buffer_desc){
		.type = type, .buffer = {.length = len, .value = (void *)(uintptr_t)data}};
}

bool rpc_gss_session_verify(
	struct rpc_gss_session *session, uint32_t number, const uint8_t *data, size_t len)
{
	uint8_t text[4];
	OM_uint32 minor;
	gss_buffer_desc message = {.length = sizeof(text), .value = text};
	gss_buffer_desc token = {.length = len, .value = (void *)(uintptr_t)data};

	wire_store_u32(text, number);
	return !gss_failed(
		gss_verify_mic(&minor, session->context, &message, &token, NULL), "gss_verify_mic");
}

int rpc_gss_session_new(enum rpc_sec sec, const void *exported, size_t len, const uint8_t *handle,
	size_t handle_len, uint32_t window, struct rpc_gss_session **out)
{
	struct rpc_gss_session *session;
	gss_buffer_desc token = {.length = len, .value = (void *)(uintptr_t)exported};
	gss_iov_buffer_desc iov[] = {buffer_of(GSS_IOV_BUFFER_TYPE_DATA, NULL, 0),
		buffer_of(GSS_IOV_BUFFER_TYPE_MIC_TOKEN, NULL, 0)};
	OM_uint32 minor, major;

	if (handle_len > sizeof(session->handle) || window == 0)
		return -EPROTO;
	session = calloc(1, sizeof(*session));
	if (!session)
		return -ENOMEM;
	TAILQ_INIT(&session->calls);
	session->refs = 1;
	session->service = service_of(sec);
	session->window = window;
	session->handle_len = handle_len;
	memcpy(session->handle, handle, handle_len);
	major = gss_import_sec_context(&minor, &token, &session->context);
	if (!gss_failed(major, "gss_import_sec_context"))
		major = gss_get_mic_iov_length(&minor, session->context, GSS_C_QOP_DEFAULT, iov, 2);
	session->mic_len = iov[1].buffer.length;
	if (GSS_ERROR(major) || session->mic_len > RPC_CALL_MIC_MAX) {
		rpc_gss_session_unref(session);
		return -EPROTO;
	}
	*out = session;
	return 0;
}

struct rpc_gss_session *rpc_gss_session_ref(struct rpc_gss_session *session)
{
	session->refs++;
	return session;
}

void rpc_gss_session_unref(struct rpc_gss_session *session)
{
	OM_uint32 minor;

	if (!session || --session->refs > 0)
		return;
	if (session->context != GSS_C_NO_CONTEXT)
		gss_delete_sec_context(&minor, &session->context, GSS_C_NO_BUFFER);
	free(session);
}

bool rpc_gss_session_room(const struct rpc_gss_session *session)
{
	const struct rpc_call *oldest = TAILQ_FIRST(&session->calls);

	return !oldest || session->next + 1 - oldest->gss.seq < session->window;
}

bool rpc_gss_session_idle(const struct rpc_gss_session *session)
{
	return TAILQ_EMPTY(&session->calls);
}

bool rpc_gss_session_worn(const struct rpc_gss_session *session)
{
	return session->next >= RPC_GSS_SEQ_MAX - 1;
}

static void put_cred(struct wire_out *out, uint32_t proc, uint32_t seq, uint32_t service,
	const uint8_t *handle, size_t handle_len)
{
	wire_put_u32(out, RPC_GSS_FLAVOR);
	wire_put_u32(out, (uint32_t)(20 + handle_len + wire_pad(handle_len)));
	wire_put_u32(out, GSS_VERSION);
	wire_put_u32(out, proc);
	wire_put_u32(out, seq);
	wire_put_u32(out, service);
	wire_put_opaque(out, handle, handle_len);
}

size_t rpc_gss_token_cred(enum rpc_sec sec, enum rpc_gss_proc proc, const uint8_t *handle,
	size_t handle_len, uint8_t wire[RPC_CRED_WIRE_MAX])
{
	struct wire_out out;

	wire_out_init(&out, wire, RPC_CRED_WIRE_MAX);
	put_cred(&out, proc, 0, service_of(sec), handle, handle_len);
	wire_put_u32(&out, 0);
	wire_put_u32(&out, 0);
	return out.bad ? 0 : out.len;
}

/*
 * Mark and header in front of `body`, which `body_len` bytes from there on follow. Returns where
 * it starts, or NULL.
 */
static uint8_t *put_header(struct rpc_gss_session *session, const struct rpc_call *call,
	enum rpc_gss_proc proc, uint8_t *body, size_t body_len)
{
	uint8_t text[RPC_MSG_HEAD_MAX];
	struct wire_out out;

	wire_out_init(&out, text, sizeof(text));
	wire_put_u32(&out, 0);
	wire_put_u32(&out, call->msg.xid);
	wire_put_u32(&out, RPC_CALL_KIND);
	wire_put_u32(&out, RPC_VERSION);
	wire_put_u32(&out, call->msg.prog);
	wire_put_u32(&out, call->msg.vers);
	wire_put_u32(&out, call->msg.proc);
	put_cred(&out, proc, call->gss.seq, session->service, session->handle, session->handle_len);
	size_t signed_len = out.len - 4;
	wire_put_u32(&out, RPC_GSS_FLAVOR);
	wire_put_u32(&out, (uint32_t)session->mic_len);
	uint8_t *mic = wire_put_raw(&out, session->mic_len + wire_pad(session->mic_len));
	if (!mic)
		return NULL;
	memset(mic, 0, session->mic_len + wire_pad(session->mic_len));
	gss_iov_buffer_desc iov[] = {buffer_of(GSS_IOV_BUFFER_TYPE_DATA, text + 4, signed_len),
		buffer_of(GSS_IOV_BUFFER_TYPE_MIC_TOKEN, mic, session->mic_len)};
	if (!session_mic(session, iov, 2))
		return NULL;
	wire_store_u32(text, (uint32_t)(out.len - 4 + body_len) | RECORD_LAST);
	return memcpy(body - out.len, text, out.len);
}

/* Header in front, then head and tail as they are. */
static int seal_plain(
	struct rpc_gss_session *session, struct rpc_call *call, enum rpc_gss_proc proc, size_t len)
{
	uint8_t *start = put_header(session, call, proc, call->head, len);

	if (!start)
		return -EPROTO;
	call->out.iov[0] = (struct iovec){start, (size_t)(call->head - start) + call->head_len};
	for (unsigned i = 0; i < call->ntail; i++)
		call->out.iov[1 + i] = call->tail[i];
	call->out.niov = 1 + call->ntail;
	return 0;
}

/* rpc_gss_integ_data: the arguments stay where they are, the checksum follows them. */
static int seal_integrity(struct rpc_gss_session *session, struct rpc_call *call, size_t len)
{
	uint8_t *body = call->head - BODY_HEAD, *sum = call->gss.trailer;
	size_t sum_len = 4 + session->mic_len + wire_pad(session->mic_len);
	gss_iov_buffer_desc iov[4];
	int count = 0;

	wire_store_u32(body, (uint32_t)(len + 4));
	wire_store_u32(body + 4, call->gss.seq);
	iov[count++] = buffer_of(GSS_IOV_BUFFER_TYPE_DATA, body + 4, call->head_len + 4);
	for (unsigned i = 0; i < call->ntail; i++)
		iov[count++] = buffer_of(
			GSS_IOV_BUFFER_TYPE_DATA, call->tail[i].iov_base, call->tail[i].iov_len);
	memset(sum, 0, sum_len);
	wire_store_u32(sum, (uint32_t)session->mic_len);
	iov[count++] = buffer_of(GSS_IOV_BUFFER_TYPE_MIC_TOKEN, sum + 4, session->mic_len);
	uint8_t *start = put_header(session, call, RPC_GSS_DATA, body, BODY_HEAD + len + sum_len);
	if (!start || !session_mic(session, iov, count))
		return -EPROTO;
	call->out.iov[0] = (struct iovec){start, (size_t)(call->head - start) + call->head_len};
	for (unsigned i = 0; i < call->ntail; i++)
		call->out.iov[1 + i] = call->tail[i];
	call->out.niov = 1 + call->ntail;
	call->out.iov[call->out.niov++] = (struct iovec){sum, sum_len};
	return 0;
}

/* Sequence number and arguments, copied to where they are encrypted: they may be sent again. */
static void gather(const struct rpc_call *call, uint8_t *to)
{
	wire_store_u32(to, call->gss.seq);
	memcpy(to + 4, call->head, call->head_len);
	to += 4 + call->head_len;
	for (unsigned i = 0; i < call->ntail; i++) {
		memcpy(to, call->tail[i].iov_base, call->tail[i].iov_len);
		to += call->tail[i].iov_len;
	}
}

/* rpc_gss_priv_data */
static int seal_privacy(struct rpc_gss_session *session, struct rpc_call *call, size_t len)
{
	gss_iov_buffer_desc iov[] = {buffer_of(GSS_IOV_BUFFER_TYPE_HEADER, NULL, 0),
		buffer_of(GSS_IOV_BUFFER_TYPE_DATA, NULL, len + 4),
		buffer_of(GSS_IOV_BUFFER_TYPE_PADDING, NULL, 0),
		buffer_of(GSS_IOV_BUFFER_TYPE_TRAILER, NULL, 0)};
	OM_uint32 minor, major;
	int conf = 0;

	major = gss_wrap_iov_length(&minor, session->context, 1, GSS_C_QOP_DEFAULT, &conf, iov, 4);
	if (gss_failed(major, "gss_wrap_iov_length"))
		return -EPROTO;
	size_t token = 0;
	for (int i = 0; i < 4; i++)
		token += iov[i].buffer.length;
	call->gss.sealed = malloc(RPC_MSG_HEAD_MAX + token + 3);
	if (!call->gss.sealed)
		return -ENOMEM;
	uint8_t *body = call->gss.sealed + RPC_MSG_HEAD_MAX, *at = body;
	for (int i = 0; i < 4; i++) {
		iov[i].buffer.value = at;
		at += iov[i].buffer.length;
	}
	gather(call, iov[1].buffer.value);
	major = gss_wrap_iov(&minor, session->context, 1, GSS_C_QOP_DEFAULT, &conf, iov, 4);
	if (gss_failed(major, "gss_wrap_iov") || !conf)
		return -EPROTO;
	memset(at, 0, wire_pad(token));
	wire_store_u32(body - 4, (uint32_t)token);
	size_t body_len = 4 + token + wire_pad(token);
	uint8_t *start = put_header(session, call, RPC_GSS_DATA, body - 4, body_len);
	if (!start)
		return -EPROTO;
	call->out.iov[0] = (struct iovec){start, (size_t)(body - 4 - start) + body_len};
	call->out.niov = 1;
	return 0;
}

int rpc_gss_call_seal(
	struct rpc_gss_session *session, struct rpc_call *call, enum rpc_gss_proc proc)
{
	size_t len = call->head_len;
	int err;

	for (unsigned i = 0; i < call->ntail; i++)
		len += call->tail[i].iov_len;
	call->gss.seq = ++session->next;
	call->gss.session = rpc_gss_session_ref(session);
	TAILQ_INSERT_TAIL(&session->calls, call, gss.entry);
	if (proc != RPC_GSS_DATA || session->service == SERVICE_NONE)
		err = seal_plain(session, call, proc, len);
	else if (session->service == SERVICE_INTEGRITY)
		err = seal_integrity(session, call, len);
	else
		err = seal_privacy(session, call, len);
	if (err)
		rpc_gss_call_release(call);
	return err;
}

void rpc_gss_call_release(struct rpc_call *call)
{
	if (call->gss.session)
		TAILQ_REMOVE(&call->gss.session->calls, call, gss.entry);
	rpc_gss_session_unref(call->gss.session);
	free(call->gss.sealed);
	call->gss.session = NULL;
	call->gss.sealed = NULL;
}

/* Takes the sequence number in front of the results off. */
static bool strip_number(const struct rpc_call *call, const uint8_t **data, size_t *len)
{
	if (*len < 4 || wire_load_u32(*data) != call->gss.seq)
		return false;
	*data += 4;
	*len -= 4;
	return true;
}

static const char *open_integrity(struct rpc_call *call, const uint8_t **data, size_t *len)
{
	struct wire_in in;
	uint32_t body_len, sum_len;
	OM_uint32 minor;

	wire_in_init(&in, *data, *len);
	const uint8_t *body = wire_get_opaque(&in, *len, &body_len);
	const uint8_t *sum = wire_get_opaque(&in, RPC_GSS_REPLY_SLACK, &sum_len);
	if (in.bad || in.pos != in.len)
		return "a reply that is not protected as it should be";
	gss_iov_buffer_desc iov[] = {buffer_of(GSS_IOV_BUFFER_TYPE_DATA, body, body_len),
		buffer_of(GSS_IOV_BUFFER_TYPE_MIC_TOKEN, sum, sum_len)};
	if (gss_failed(gss_verify_mic_iov(&minor, call->gss.session->context, NULL, iov, 2),
		    "gss_verify_mic_iov"))
		return "a reply whose checksum is wrong";
	*data = body;
	*len = body_len;
	return strip_number(call, data, len) ? NULL : "a reply to another call of this context";
}

static const char *open_privacy(struct rpc_call *call, const uint8_t **data, size_t *len)
{
	struct wire_in in;
	uint32_t token_len;
	OM_uint32 minor, major;
	int conf = 0;

	wire_in_init(&in, *data, *len);
	const uint8_t *token = wire_get_opaque(&in, *len, &token_len);
	if (in.bad || in.pos != in.len)
		return "a reply that is not encrypted as it should be";
	gss_iov_buffer_desc iov[] = {buffer_of(GSS_IOV_BUFFER_TYPE_STREAM, token, token_len),
		buffer_of(GSS_IOV_BUFFER_TYPE_DATA, NULL, 0)};
	major = gss_unwrap_iov(&minor, call->gss.session->context, &conf, NULL, iov, 2);
	if (gss_failed(major, "gss_unwrap_iov") || !conf)
		return "a reply that cannot be decrypted";
	*data = iov[1].buffer.value;
	*len = iov[1].buffer.length;
	return strip_number(call, data, len) ? NULL : "a reply to another call of this context";
}

int rpc_gss_call_open(struct rpc_call *call, const struct rpc_msg_header *header, uint8_t *record,
	const uint8_t **data, size_t *len, const char **why)
{
	struct rpc_gss_session *session = call->gss.session;

	*why = NULL;
	if (header->verf_flavor != RPC_GSS_FLAVOR ||
		!rpc_gss_session_verify(
			session, call->gss.seq, record + header->verf, header->verf_len))
		*why = "a reply whose verifier is wrong";
	else if (header->error)
		return 0;
	else if (session->service == SERVICE_INTEGRITY)
		*why = open_integrity(call, data, len);
	else if (session->service == SERVICE_PRIVACY)
		*why = open_privacy(call, data, len);
	return *why ? -EPROTO : 0;
}
