/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_RPC_RECORD_H
#define VSOCKFS_RPC_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Record marking (RFC 5531, section 11) as an incremental parser without I/O. The caller feeds
 * received bytes; the parser tells runs of record payload apart from fragment headers.
 * Fragments may be of any size; a record has at most RECORD_EMPTY_MAX empty fragments in a row and
 * a limit in bytes that the caller sets.
 */

#define RECORD_EMPTY_MAX 16
#define RECORD_LAST	 UINT32_C(0x80000000)

struct record_parser {
	uint8_t header[4];
	unsigned header_got;
	uint32_t fragment_left; /* bytes of the present fragment not yet fed */
	bool fragment_last, in_fragment;
	unsigned empty;
	/* payload bytes so far announced: of this record, or between two of the last one */
	size_t record_len;
	size_t limit; /* longest record accepted */
};

enum record_event {
	RECORD_MORE,  /* all input used up, record unfinished */
	RECORD_BYTES, /* *run payload bytes follow at the new position */
	RECORD_END,   /* the record is complete */
	RECORD_BAD,   /* over the limit or too many empty fragments */
};

void record_parser_init(struct record_parser *parser, size_t limit);

/*
 * Looks at data[*pos..len). RECORD_BYTES: *run bytes at data + *pos belong to the record and *pos
 * is left in front of them: the caller adds *run to it (they count as fed). RECORD_END comes after
 * the last byte, without consuming. RECORD_MORE: *pos == len.
 */
enum record_event record_parser_next(
	struct record_parser *parser, const uint8_t *data, size_t len, size_t *pos, size_t *run);

/*
 * Lowers the limit for the record under way, once it is known what it is; the limit stays until the
 * next call. False when more than that has been announced already.
 */
bool record_parser_narrow(struct record_parser *parser, size_t limit);

/* Whether nothing of a record has been fed since the last one ended. */
bool record_parser_idle(const struct record_parser *parser);

/* Bytes that may be received straight into the record now, without a fragment header among them. */
size_t record_parser_direct(const struct record_parser *parser);
/* `len` bytes (at most record_parser_direct) were received directly. */
void record_parser_skip(struct record_parser *parser, size_t len);

#endif
