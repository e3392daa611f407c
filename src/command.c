/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "pcapng.h"

#define NUMBERS_MAX 3

/* A request is one of these, followed by so many numbers. */
static const struct {
	const char *words;
	unsigned numbers;
	struct command command;
} commands[] = {
	{"stats", 0, {.verb = COMMAND_STATS, .form = STATS_TABLE}},
	{"stats json", 0, {.verb = COMMAND_STATS, .form = STATS_JSON}},
	{"stats mountstats", 0, {.verb = COMMAND_STATS, .form = STATS_MOUNTSTATS}},
	{"stats lines", 0, {.verb = COMMAND_STATS, .form = STATS_LINES}},
	{"status", 0, {.verb = COMMAND_STATUS}},
	{"status json", 0, {.verb = COMMAND_STATUS, .json = true}},
	{"trace", 2, {.verb = COMMAND_TRACE}},
	{"capture", 0, {.verb = COMMAND_CAPTURE}},
	{"capture start", 3, {.verb = COMMAND_CAPTURE_START}},
	{"capture stop", 0, {.verb = COMMAND_CAPTURE_STOP}},
	{"options", 0, {.verb = COMMAND_OPTIONS}},
	{"drop", 0, {.verb = COMMAND_DROP}},
	{"log debug", 0, {.verb = COMMAND_LOG, .debug = true}},
	{"log info", 0, {.verb = COMMAND_LOG}},
	{"delegreturn", 0, {.verb = COMMAND_DELEGRETURN}},
};

/* `count` numbers, each with one blank in front. */
static bool parse_numbers(const char *text, unsigned count, uint64_t numbers[NUMBERS_MAX])
{
	for (unsigned i = 0; i < count; i++) {
		char *end;
		if (text[0] != ' ' || text[1] < '0' || text[1] > '9')
			return false;
		errno = 0;
		numbers[i] = strtoull(text + 1, &end, 10);
		if (errno)
			return false;
		text = end;
	}
	return *text == '\0';
}

static bool take_numbers(struct command *command, const uint64_t numbers[NUMBERS_MAX])
{
	switch (command->verb) {
	case COMMAND_TRACE:
		command->slower = numbers[0];
		command->after = numbers[1];
		return true;
	case COMMAND_CAPTURE_START:
		command->capture = (struct capture_options){.snaplen = (uint32_t)numbers[0],
			.data = numbers[1] == 1,
			.limit = numbers[2]};
		/* At least what tells who sends what to whom. */
		return numbers[1] <= 1 && numbers[0] <= UINT32_MAX &&
		       (numbers[0] == 0 || numbers[0] >= PCAPNG_HEADERS);
	default: return true;
	}
}

bool command_parse(const char *request, struct command *command)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		uint64_t numbers[NUMBERS_MAX] = {0};
		size_t len = strlen(commands[i].words);
		if (strncmp(request, commands[i].words, len) != 0 ||
			!parse_numbers(request + len, commands[i].numbers, numbers))
			continue;
		*command = commands[i].command;
		return take_numbers(command, numbers);
	}
	return false;
}
