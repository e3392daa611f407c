/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "vsock/machine.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define MACHINE_UEVENT_MAX   4096 /* bytes; the kernel makes none longer than 2 KiB and a path */
#define MACHINE_UEVENT_GROUP 1	  /* what the kernel itself says */

struct machine {
	pthread_mutex_t mutex;
	int vsock, uevents; /* or -1 */
	uint32_t cid;
};

/* Only "change@..." gets into the socket's buffer, so that it does not overflow when devices come
 * and go. */
static void machine_filter(int fd)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, UINT32_C(0x6368616e), 0, 1), /* "chan" */
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog filter = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
	setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
}

static int machine_open_uevents(void)
{
	const struct sockaddr_nl address = {
		.nl_family = AF_NETLINK, .nl_groups = MACHINE_UEVENT_GROUP};
	int fd = socket(
		AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
	if (fd < 0)
		return -1;
	machine_filter(fd);
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static uint32_t machine_cid(const struct machine *machine)
{
	uint32_t cid;
	if (machine->vsock < 0 || ioctl(machine->vsock, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
		return VMADDR_CID_ANY;
	return cid;
}

struct machine *machine_new(bool vsock)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	if (!machine)
		return NULL;
	pthread_mutex_init(&machine->mutex, NULL);
	machine->vsock = vsock ? open("/dev/vsock", O_RDONLY | O_CLOEXEC) : -1;
	machine->uevents = machine_open_uevents();
	machine->cid = machine_cid(machine);
	return machine;
}

void machine_free(struct machine *machine)
{
	if (!machine)
		return;
	if (machine->vsock >= 0)
		close(machine->vsock);
	if (machine->uevents >= 0)
		close(machine->uevents);
	pthread_mutex_destroy(&machine->mutex);
	free(machine);
}

/* While the device is away, no CID is known: that is no other one. */
static bool machine_has_other_cid(struct machine *machine)
{
	uint32_t cid = machine_cid(machine), before = machine->cid;
	if (cid == VMADDR_CID_ANY || cid == before)
		return false;
	machine->cid = cid;
	return before != VMADDR_CID_ANY;
}

/* Lines that end in NUL, the first of which names the device. */
static bool machine_is_new_generation(const char *uevent, size_t len)
{
	static const char word[] = "NEW_VMGENID=1";
	for (size_t at = 0; at < len; at += strnlen(uevent + at, len - at) + 1)
		if (len - at >= sizeof(word) && memcmp(uevent + at, word, sizeof(word)) == 0)
			return true;
	return false;
}

/* Any process may send such a message to us, but only the kernel from port 0. */
static bool machine_has_new_generation(struct machine *machine)
{
	char uevent[MACHINE_UEVENT_MAX];
	struct sockaddr_nl from = {.nl_pid = UINT32_MAX};
	socklen_t from_len = sizeof(from);
	bool news = false;
	ssize_t n;
	if (machine->uevents < 0)
		return false;
	/* ends with EAGAIN; ENOBUFS would say that some were lost, and is not worth more */
	while ((n = recvfrom(machine->uevents, uevent, sizeof(uevent), MSG_DONTWAIT,
			(struct sockaddr *)&from, &from_len)) > 0) {
		news |= from.nl_pid == 0 && machine_is_new_generation(uevent, (size_t)n);
		from_len = sizeof(from);
	}
	return news;
}

bool machine_has_changed(struct machine *machine)
{
	pthread_mutex_lock(&machine->mutex);
	bool cid = machine_has_other_cid(machine);
	bool generation = machine_has_new_generation(machine);
	pthread_mutex_unlock(&machine->mutex);
	return cid || generation;
}
