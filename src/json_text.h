/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_JSON_TEXT_H
#define VSOCKFS_JSON_TEXT_H

#include <stdio.h>

/*
 * A string of JSON with its quotes. Names may hold any bytes: what is not UTF-8 is written as the
 * Latin-1 character.
 */
void json_put_string(FILE *out, const char *text);

#endif
