/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state_file_priv.h"

/* Memory is asked for in steps, before it is written to: a store that finds none would kill. */
#define STATE_STEP	(64u << 10)
#define STATE_CELLS_MAX ((uint32_t)(STATE_FILE_MAX / STATE_CELL))
/* Free records of up to so many cells are found by their size. */
#define STATE_CLASSES 32

struct state_file {
	int fd;
	uint8_t *map;
	pthread_mutex_t mutex; /* what follows, and the file's structure */
	uint64_t size;	       /* bytes that have memory */
	uint64_t generation;
	uint32_t free[STATE_CLASSES + 1]; /* by cells; the last one of all larger ones */
};

static struct state_header *file_header(const struct state_file *file)
{
	return (struct state_header *)file->map;
}

static struct state_head *file_head(const struct state_file *file, uint32_t at)
{
	return (struct state_head *)(file->map + (size_t)at * STATE_CELL);
}

static int file_grow(struct state_file *file, uint64_t size)
{
	if (size <= file->size)
		return 0;
	size = (size + STATE_STEP - 1) / STATE_STEP * STATE_STEP;
	if (size > STATE_FILE_MAX)
		return -ENOSPC;
	if (fallocate(file->fd, 0, (off_t)file->size, (off_t)(size - file->size)) < 0)
		return -errno;
	file->size = size;
	return 0;
}

/* Goes with the process, whoever else has the descriptor. */
static int file_lock(int fd)
{
	const struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (fcntl(fd, F_SETLK, &lock) == 0)
		return 0;
	return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
}

static int file_map(int fd, struct state_file **out)
{
	int err = file_lock(fd);
	if (err)
		return err;
	struct state_file *file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->map = mmap(NULL, STATE_FILE_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file->map == MAP_FAILED) {
		free(file);
		return -ENOMEM;
	}
	file->fd = fd;
	pthread_mutex_init(&file->mutex, NULL);
	*out = file;
	return 0;
}

int state_file_new(struct state_file **out)
{
	struct state_file *file = NULL;
	int fd = memfd_create("vsockfs-state", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* It would be anybody's who finds it in /proc. */
	int err = fchmod(fd, S_IRUSR | S_IWUSR) < 0 ? -errno : 0;
	if (!err)
		err = file_map(fd, &file);
	if (err) {
		close(fd);
		return err;
	}
	err = file_grow(file, STATE_STEP);
	if (err) {
		state_file_free(file);
		close(fd);
		return err;
	}
	struct state_header *header = file_header(file);
	header->version = STATE_VERSION;
	header->used = 1;
	header->magic = STATE_MAGIC;
	*out = file;
	return 0;
}

static unsigned class_of(uint32_t cells)
{
	return cells < STATE_CLASSES ? cells : STATE_CLASSES;
}

static void file_release(struct state_file *file, uint32_t at)
{
	struct state_head *head = file_head(file, at);
	unsigned class = class_of(head->cells);
	atomic_store_explicit(&head->kind, STATE_NONE, memory_order_release);
	head->next_free = file->free[class];
	file->free[class] = at;
}

/* The one that counts of its kind and key? */
static bool record_is_current(const struct state_head *head, uint32_t at,
	const struct state_record *records, size_t count)
{
	const struct state_record *record = state_file_find(records, count, head->kind, head->key);
	return record && record->at == at;
}

int state_file_open(
	int fd_take, const struct state_record *records, size_t count, struct state_file **out)
{
	struct stat st;
	struct state_file *file = NULL;
	if (fstat(fd_take, &st) < 0)
		return -errno;
	int err = file_map(fd_take, &file);
	if (err)
		return err;
	file->size = (uint64_t)st.st_size;
	uint32_t used = file_header(file)->used;
	for (uint32_t at = 1; at < used; at += file_head(file, at)->cells) {
		struct state_head *head = file_head(file, at);
		if (head->generation > file->generation)
			file->generation = head->generation;
		if (!record_is_current(head, at, records, count))
			file_release(file, at);
	}
	/* No writer gets there, and what is written next would seem to be the older. */
	if (file->generation > INT64_MAX) {
		state_file_free(file);
		return -EBADMSG;
	}
	*out = file;
	return 0;
}

void state_file_free(struct state_file *file)
{
	if (!file)
		return;
	munmap(file->map, STATE_FILE_MAX);
	pthread_mutex_destroy(&file->mutex);
	free(file);
}

int state_file_fd(const struct state_file *file)
{
	return file->fd;
}

const void *state_file_data(const struct state_file *file, size_t *len)
{
	*len = file->size;
	return file->map;
}

/* A free record of this many cells or, of the large ones, at least as many. */
static uint32_t file_reuse(struct state_file *file, uint32_t cells)
{
	uint32_t *place = &file->free[class_of(cells)];
	while (*place && file_head(file, *place)->cells < cells)
		place = &file_head(file, *place)->next_free;
	uint32_t at = *place;
	if (at)
		*place = file_head(file, at)->next_free;
	return at;
}

/* At the end, where a free record appears before it is written. */
static uint32_t file_extend(struct state_file *file, uint32_t cells)
{
	struct state_header *header = file_header(file);
	uint32_t at = header->used;
	if (cells > STATE_CELLS_MAX - at ||
		file_grow(file, (uint64_t)(at + cells) * STATE_CELL) != 0)
		return 0;
	struct state_head *head = file_head(file, at);
	head->kind = STATE_NONE;
	head->cells = cells;
	head->len = 0;
	atomic_store_explicit(&header->used, at + cells, memory_order_release);
	return at;
}

static void file_write(struct state_file *file, uint32_t at, uint32_t kind, uint64_t key,
	const uint64_t *words, const void *data, size_t len)
{
	struct state_head *head = file_head(file, at);
	uint8_t *to = (uint8_t *)(head + 1);
	head->key = key;
	head->len = (uint32_t)len;
	head->generation = ++file->generation;
	for (unsigned i = 0; i < STATE_FILE_WORDS; i++)
		head->words[i] = words ? words[i] : 0;
	memcpy(to, data, len);
	head->sum = state_file_sum(head, kind, to);
	atomic_store_explicit(&head->kind, kind, memory_order_release);
}

uint32_t state_file_put(struct state_file *file, uint32_t old, uint32_t kind, uint64_t key,
	const uint64_t *words, const void *data, size_t len)
{
	uint32_t cells =
		(uint32_t)((sizeof(struct state_head) + len + STATE_CELL - 1) / STATE_CELL);
	pthread_mutex_lock(&file->mutex);
	uint32_t at = 0;
	if (len <= STATE_FILE_DATA_MAX)
		at = file_reuse(file, cells);
	if (!at && len <= STATE_FILE_DATA_MAX)
		at = file_extend(file, cells);
	if (at)
		file_write(file, at, kind, key, words, data, len);
	else
		file_header(file)->incomplete = 1;
	if (old)
		file_release(file, old);
	pthread_mutex_unlock(&file->mutex);
	return at;
}

void state_file_drop(struct state_file *file, uint32_t at)
{
	if (!at)
		return;
	pthread_mutex_lock(&file->mutex);
	file_release(file, at);
	pthread_mutex_unlock(&file->mutex);
}

void state_file_set(struct state_file *file, uint32_t at, unsigned word, uint64_t value)
{
	if (at)
		atomic_store_explicit(
			&file_head(file, at)->words[word], value, memory_order_relaxed);
}
