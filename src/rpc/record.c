/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rpc/record.h"

#include "util/wire.h"

void record_parser_init(struct record_parser *parser, size_t limit)
{
	/* as if a record had just ended: the next header begins one */
	*parser = (struct record_parser){.limit = limit, .fragment_last = true};
}

static bool begin_fragment(struct record_parser *parser)
{
	uint32_t mark = wire_load_u32(parser->header);
	uint32_t len = mark & ~RECORD_LAST;

	if (parser->fragment_last) {
		parser->record_len = 0;
		parser->empty = 0;
	}
	parser->header_got = 0;
	parser->empty = len > 0 ? 0 : parser->empty + 1;
	if (parser->empty > RECORD_EMPTY_MAX || parser->record_len > parser->limit ||
		len > parser->limit - parser->record_len)
		return false;
	parser->record_len += len;
	parser->fragment_left = len;
	parser->fragment_last = (mark & RECORD_LAST) != 0;
	parser->in_fragment = true;
	return true;
}

enum record_event record_parser_next(
	struct record_parser *parser, const uint8_t *data, size_t len, size_t *pos, size_t *run)
{
	for (;;) {
		if (parser->in_fragment && parser->fragment_left > 0) {
			size_t here = len - *pos;
			if (here == 0)
				return RECORD_MORE;
			*run = here < parser->fragment_left ? here : parser->fragment_left;
			parser->fragment_left -= (uint32_t)*run;
			return RECORD_BYTES;
		}
		if (parser->in_fragment) {
			parser->in_fragment = false;
			if (parser->fragment_last)
				return RECORD_END;
		}
		while (parser->header_got < sizeof(parser->header)) {
			if (*pos == len)
				return RECORD_MORE;
			parser->header[parser->header_got++] = data[(*pos)++];
		}
		if (!begin_fragment(parser))
			return RECORD_BAD;
	}
}

bool record_parser_narrow(struct record_parser *parser, size_t limit)
{
	parser->limit = limit;
	return parser->record_len <= limit;
}

bool record_parser_idle(const struct record_parser *parser)
{
	return !parser->in_fragment && parser->fragment_last && parser->header_got == 0;
}

size_t record_parser_direct(const struct record_parser *parser)
{
	return parser->in_fragment ? parser->fragment_left : 0;
}

void record_parser_skip(struct record_parser *parser, size_t len)
{
	parser->fragment_left -= (uint32_t)len;
}
