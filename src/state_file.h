/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_STATE_FILE_H
#define VSOCKFS_STATE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a daemon leaves to the one that takes its mount over: records in a memory file (memfd) that
 * the service manager keeps beside the FUSE device. The file is mapped, so keeping it up to date
 * takes no system call, and it can be read whenever the writer was killed: a record counts from one
 * store on, and carries a checksum. It never leaves this machine: numbers are in its byte order.
 *
 * A record has a kind, a key within that kind, words that change in place (each by one store; not
 * in the checksum), and data that does not change: what replaces it is written elsewhere, and
 * counts before the old one ceases to. A reader that finds both takes the later one.
 */

#define STATE_FILE_WORDS 4
/* Bytes of one record's data. */
#define STATE_FILE_DATA_MAX (512u << 10)
/* Room that is set aside in the address space, and the end of all growth. */
#define STATE_FILE_MAX (UINT64_C(1) << 30)

struct state_file;
struct state_record;

/* An empty file. 0 or -errno. Its writer holds a lock of fcntl(2) on it as long as it lives. */
int state_file_new(struct state_file **file);
/*
 * Goes on with one that was parsed without complaint into `records`; what they do not comprise is
 * free. Takes the descriptor if it succeeds. 0 or -errno; -EBUSY: its writer is still there;
 * -EBADMSG: no writer of ours left this.
 */
int state_file_open(
	int fd_take, const struct state_record *records, size_t count, struct state_file **file);
/* The descriptor stays open. NULL is allowed. */
void state_file_free(struct state_file *file);
int state_file_fd(const struct state_file *file);
/* The whole of it as it is now: tests take copies, as if the daemon had been killed then. */
const void *state_file_data(const struct state_file *file, size_t *len);

/*
 * Writes a record; the one at `old` (0: none) goes. `words` are STATE_FILE_WORDS, NULL: all 0. Any
 * thread; one short mutex inside. Returns where it is, or 0: there is no room, and the file says
 * from now on that it is not complete.
 */
uint32_t state_file_put(struct state_file *file, uint32_t old, uint32_t kind, uint64_t key,
	const uint64_t *words, const void *data, size_t len);
/* 0 is allowed. */
void state_file_drop(struct state_file *file, uint32_t at);
/* Sets one of a record's words; `at` 0 is ignored. */
void state_file_set(struct state_file *file, uint32_t at, unsigned word, uint64_t value);

/* One record as it was found. `data` is 8-byte aligned. */
struct state_record {
	uint32_t kind, at;
	uint64_t key, generation;
	const uint64_t *words;
	const uint8_t *data;
	size_t len;
};

/*
 * Finds the records in `data` (8-byte aligned), which nobody is trusted to have left whole: sorted
 * by kind and key, one of each. A record that is damaged is left out and makes the whole -EBADMSG,
 * as does one that the writer found no room for; -EINVAL: this is not such a file, or one of
 * another version; -ENOMEM. With -EBADMSG what could be read is there as well. The array is the
 * caller's to free(3); it points into `data`.
 */
int state_file_parse(const void *data, size_t len, struct state_record **records, size_t *count);
/* The first record of a kind, or NULL; the others follow it. */
const struct state_record *state_file_find(
	const struct state_record *records, size_t count, uint32_t kind, uint64_t from_key);

#endif
