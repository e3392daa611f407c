/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mechanism.h"

#include <gssapi/gssapi_ext.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a */
#define SUM_BEGIN 2166136261u

static char context_in_use;

static uint32_t sum_add(uint32_t sum, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		sum = (sum ^ p[i]) * 16777619u;
	return sum;
}

static void sum_put(uint32_t sum, uint8_t mic[MECHANISM_MIC])
{
	for (size_t i = 0; i < MECHANISM_MIC; i++)
		mic[i] = (uint8_t)(sum >> (i % 4 * 8)) ^ (uint8_t)i;
}

void mechanism_mic(const void *data, size_t len, uint8_t mic[MECHANISM_MIC])
{
	sum_put(sum_add(SUM_BEGIN, data, len), mic);
}

static uint32_t sum_iov(const gss_iov_buffer_desc *iov, int count)
{
	uint32_t sum = SUM_BEGIN;

	for (int i = 0; i < count; i++)
		if (iov[i].type == GSS_IOV_BUFFER_TYPE_DATA)
			sum = sum_add(sum, iov[i].buffer.value, iov[i].buffer.length);
	return sum;
}

OM_uint32 gss_import_sec_context(OM_uint32 *minor, gss_buffer_t token, gss_ctx_id_t *context)
{
	*minor = 0;
	*context = (gss_ctx_id_t)&context_in_use;
	return token->length == 0 ? GSS_S_DEFECTIVE_TOKEN : GSS_S_COMPLETE;
}

OM_uint32 gss_delete_sec_context(OM_uint32 *minor, gss_ctx_id_t *context, gss_buffer_t token)
{
	*minor = 0;
	*context = GSS_C_NO_CONTEXT;
	return GSS_S_COMPLETE;
}

OM_uint32 gss_get_mic_iov_length(
	OM_uint32 *minor, gss_ctx_id_t context, gss_qop_t qop, gss_iov_buffer_desc *iov, int count)
{
	*minor = 0;
	iov[count - 1].buffer.length = MECHANISM_MIC;
	return GSS_S_COMPLETE;
}

OM_uint32 gss_get_mic_iov(
	OM_uint32 *minor, gss_ctx_id_t context, gss_qop_t qop, gss_iov_buffer_desc *iov, int count)
{
	*minor = 0;
	if (iov[count - 1].type != GSS_IOV_BUFFER_TYPE_MIC_TOKEN ||
		iov[count - 1].buffer.length != MECHANISM_MIC)
		abort();
	sum_put(sum_iov(iov, count), iov[count - 1].buffer.value);
	return GSS_S_COMPLETE;
}

static OM_uint32 verify(uint32_t sum, const gss_buffer_desc *token)
{
	uint8_t mic[MECHANISM_MIC];

	sum_put(sum, mic);
	return token->length == MECHANISM_MIC && memcmp(token->value, mic, MECHANISM_MIC) == 0
		       ? GSS_S_COMPLETE
		       : GSS_S_BAD_SIG;
}

OM_uint32 gss_verify_mic_iov(
	OM_uint32 *minor, gss_ctx_id_t context, gss_qop_t *qop, gss_iov_buffer_desc *iov, int count)
{
	*minor = 0;
	return verify(sum_iov(iov, count), &iov[count - 1].buffer);
}

OM_uint32 gss_verify_mic(OM_uint32 *minor, gss_ctx_id_t context, gss_buffer_t message,
	gss_buffer_t token, gss_qop_t *qop)
{
	*minor = 0;
	return verify(sum_add(SUM_BEGIN, message->value, message->length), token);
}

OM_uint32 gss_wrap_iov_length(OM_uint32 *minor, gss_ctx_id_t context, int conf, gss_qop_t qop,
	int *state, gss_iov_buffer_desc *iov, int count)
{
	*minor = 0;
	*state = conf;
	iov[0].buffer.length = MECHANISM_HEADER;
	iov[2].buffer.length = 0;
	iov[3].buffer.length = MECHANISM_MIC;
	return GSS_S_COMPLETE;
}

void mechanism_cipher(uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		data[i] ^= 0x5a;
}

OM_uint32 gss_wrap_iov(OM_uint32 *minor, gss_ctx_id_t context, int conf, gss_qop_t qop, int *state,
	gss_iov_buffer_desc *iov, int count)
{
	*minor = 0;
	*state = conf;
	memset(iov[0].buffer.value, 'H', MECHANISM_HEADER);
	sum_put(sum_iov(iov, count), iov[3].buffer.value);
	mechanism_cipher(iov[1].buffer.value, iov[1].buffer.length);
	return GSS_S_COMPLETE;
}

OM_uint32 gss_unwrap_iov(OM_uint32 *minor, gss_ctx_id_t context, int *state, gss_qop_t *qop,
	gss_iov_buffer_desc *iov, int count)
{
	uint8_t *token = iov[0].buffer.value;
	size_t len = iov[0].buffer.length;

	*minor = 0;
	*state = 1;
	if (len < MECHANISM_HEADER + MECHANISM_MIC)
		return GSS_S_DEFECTIVE_TOKEN;
	iov[1].buffer.value = token + MECHANISM_HEADER;
	iov[1].buffer.length = len - MECHANISM_HEADER - MECHANISM_MIC;
	mechanism_cipher(iov[1].buffer.value, iov[1].buffer.length);
	gss_buffer_desc sum = {.length = MECHANISM_MIC, .value = token + len - MECHANISM_MIC};
	return verify(sum_iov(iov, 2), &sum);
}
