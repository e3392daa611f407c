/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json_text.h"

/* Bytes of the UTF-8 sequence at `p` (RFC 3629, 4), 0 if it is none. */
static unsigned utf8_length(const unsigned char *p)
{
	static const struct {
		unsigned char first, last, second_min, second_max, len;
	} forms[] = {
		{0x00, 0x7f, 0x00, 0xff, 1},
		{0xc2, 0xdf, 0x80, 0xbf, 2},
		{0xe0, 0xe0, 0xa0, 0xbf, 3},
		{0xe1, 0xec, 0x80, 0xbf, 3},
		{0xed, 0xed, 0x80, 0x9f, 3},
		{0xee, 0xef, 0x80, 0xbf, 3},
		{0xf0, 0xf0, 0x90, 0xbf, 4},
		{0xf1, 0xf3, 0x80, 0xbf, 4},
		{0xf4, 0xf4, 0x80, 0x8f, 4},
	};

	for (size_t f = 0; f < sizeof(forms) / sizeof(forms[0]); f++) {
		if (p[0] < forms[f].first || p[0] > forms[f].last)
			continue;
		if (p[1] < forms[f].second_min || p[1] > forms[f].second_max)
			return 0;
		for (unsigned i = 2; i < forms[f].len; i++)
			if ((p[i] & 0xc0) != 0x80)
				return 0;
		return forms[f].len;
	}
	return 0;
}

void json_put_string(FILE *out, const char *text)
{
	const unsigned char *p = (const unsigned char *)text;

	fputc('"', out);
	while (*p) {
		unsigned len = utf8_length(p);
		if (*p == '"' || *p == '\\')
			fprintf(out, "\\%c", *p);
		else if (len == 0 || *p < 0x20 || *p == 0x7f)
			fprintf(out, "\\u%04x", *p);
		else
			fwrite(p, 1, len, out);
		p += len ? len : 1;
	}
	fputc('"', out);
}
