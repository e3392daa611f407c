/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Loaded into nfs-ganesha by LD_PRELOAD: libvsockfs-signfh.so signs the file handles of its VFS
 * back end. name_to_handle_at(2) returns the kernel's handle with a keyed hash behind it, and
 * open_by_handle_at(2) refuses (ESTALE) a handle without the right one before the kernel sees it.
 * So a client's handle is one that this server gave out; nobody makes handles of files that were
 * never shown.
 *
 * The key is 16 bytes in the file that VSOCKFS_SIGNFH_KEY names. Without it nothing is handed out
 * and nothing opened: a server that cannot sign must not serve.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/siphash.h"

#define SIGNFH_BYTES 8 /* of the hash */
/* What the hash covers: the type, and what the kernel put into the handle. */
#define SIGNFH_INPUT (sizeof(int) + MAX_HANDLE_SZ)

typedef int signfh_name_to_handle(int, const char *, struct file_handle *, int *, int);
typedef int signfh_open_by_handle(int, struct file_handle *, int);
typedef void *signfh_dlopen(const char *, int);

static uint8_t signfh_key[16];
static int signfh_have_key;
static signfh_name_to_handle *signfh_name_real;
static signfh_open_by_handle *signfh_open_real;
static signfh_dlopen *signfh_dlopen_real;
static pthread_once_t signfh_once = PTHREAD_ONCE_INIT;

static void signfh_load(void)
{
	const char *name = getenv("VSOCKFS_SIGNFH_KEY");
	int fd = name ? open(name, O_RDONLY | O_CLOEXEC) : -1;

	signfh_name_real = (signfh_name_to_handle *)dlsym(RTLD_NEXT, "name_to_handle_at");
	signfh_open_real = (signfh_open_by_handle *)dlsym(RTLD_NEXT, "open_by_handle_at");
	signfh_dlopen_real = (signfh_dlopen *)dlsym(RTLD_NEXT, "dlopen");
	if (fd < 0)
		return;
	signfh_have_key = read(fd, signfh_key, sizeof(signfh_key)) == sizeof(signfh_key);
	close(fd);
}

static void signfh_sign(const struct file_handle *handle, size_t len, uint8_t out[SIGNFH_BYTES])
{
	uint8_t input[SIGNFH_INPUT];
	uint64_t hash;

	memcpy(input, &handle->handle_type, sizeof(int));
	memcpy(input + sizeof(int), handle->f_handle, len);
	hash = siphash(signfh_key, input, sizeof(int) + len);
	memcpy(out, &hash, SIGNFH_BYTES);
}

/* In constant time: how much of it was right is nobody's business. */
static int signfh_differs(const uint8_t *a, const uint8_t *b)
{
	uint8_t differs = 0;

	for (int i = 0; i < SIGNFH_BYTES; i++)
		differs |= a[i] ^ b[i];
	return differs;
}

int name_to_handle_at(int dir, const char *path, struct file_handle *handle, int *mount, int flags)
{
	unsigned room = handle->handle_bytes;

	pthread_once(&signfh_once, signfh_load);
	if (!signfh_have_key || !signfh_name_real) {
		errno = EACCES;
		return -1;
	}
	/* Who asks for the size is told a size; who has no room for the hash has none. */
	handle->handle_bytes = room > SIGNFH_BYTES ? room - SIGNFH_BYTES : 0;
	if (signfh_name_real(dir, path, handle, mount, flags) < 0) {
		if (errno == EOVERFLOW)
			handle->handle_bytes += SIGNFH_BYTES;
		return -1;
	}
	signfh_sign(handle, handle->handle_bytes, handle->f_handle + handle->handle_bytes);
	handle->handle_bytes += SIGNFH_BYTES;
	return 0;
}

int open_by_handle_at(int mount, struct file_handle *handle, int flags)
{
	alignas(struct file_handle) uint8_t room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
	struct file_handle *bare = (struct file_handle *)room;
	uint8_t expected[SIGNFH_BYTES];

	pthread_once(&signfh_once, signfh_load);
	errno = ESTALE;
	if (!signfh_have_key || !signfh_open_real || handle->handle_bytes <= SIGNFH_BYTES ||
		handle->handle_bytes > MAX_HANDLE_SZ + SIGNFH_BYTES)
		return -1;
	bare->handle_type = handle->handle_type;
	bare->handle_bytes = handle->handle_bytes - SIGNFH_BYTES;
	memcpy(bare->f_handle, handle->f_handle, bare->handle_bytes);
	signfh_sign(bare, bare->handle_bytes, expected);
	if (signfh_differs(expected, handle->f_handle + bare->handle_bytes))
		return -1;
	return signfh_open_real(mount, bare, flags);
}

/*
 * ganesha binds its back ends deeply: their calls would go to the C library first, and past us.
 */
void *dlopen(const char *name, int flags)
{
	pthread_once(&signfh_once, signfh_load);
	return signfh_dlopen_real ? signfh_dlopen_real(name, flags & ~RTLD_DEEPBIND) : NULL;
}
