/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/vm_sockets.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vsock/machine.h"

/* The kernel's side. */
static uint32_t cid;
static const char *message;
static size_t message_len;
static uint32_t message_from;
static bool no_device, no_uevents;

int open(const char *path, int flags, ...)
{
	assert_string_equal(path, "/dev/vsock");
	errno = ENODEV;
	return no_device ? -1 : dup(0);
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	va_start(args, request);
	uint32_t *to = va_arg(args, uint32_t *);
	va_end(args);
	assert_int_equal(request, IOCTL_VM_SOCKETS_GET_LOCAL_CID);
	*to = cid;
	return 0;
}

int socket(int domain, int type, int protocol)
{
	assert_int_equal(domain, AF_NETLINK);
	assert_int_equal(protocol, NETLINK_KOBJECT_UEVENT);
	errno = EPERM;
	return no_uevents ? -1 : dup(0);
}

int bind(int fd, const struct sockaddr *address, socklen_t len)
{
	assert_int_equal(address->sa_family, AF_NETLINK);
	return 0;
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
	assert_int_equal(option, SO_ATTACH_FILTER);
	return 0;
}

ssize_t recvfrom(int fd, void *data, size_t size, int flags, struct sockaddr *address,
	socklen_t *address_len)
{
	struct sockaddr_nl from = {.nl_family = AF_NETLINK, .nl_pid = message_from};
	size_t len = message_len < size ? message_len : size;
	if (!message) {
		errno = EAGAIN;
		return -1;
	}
	memcpy(data, message, len);
	memcpy(address, &from, sizeof(from));
	message = NULL;
	return (ssize_t)len;
}

static struct machine *machine;

static int setup(void **state)
{
	cid = 5;
	message = NULL;
	message_from = 0;
	no_device = no_uevents = false;
	machine = machine_new(true);
	assert_non_null(machine);
	assert_false(machine_has_changed(machine));
	return 0;
}

static int teardown(void **state)
{
	machine_free(machine);
	return 0;
}

static bool hears(const char *text, size_t len)
{
	message = text;
	message_len = len;
	return machine_has_changed(machine);
}

#define HEARS(text) hears(text, sizeof(text) - 1)

static void test_another_cid(void **state)
{
	cid = 6;
	assert_true(machine_has_changed(machine));
	assert_false(machine_has_changed(machine));
	/* while the device is away */
	cid = VMADDR_CID_ANY;
	assert_false(machine_has_changed(machine));
	cid = 6;
	assert_false(machine_has_changed(machine));
}

static void test_device_that_comes_later(void **state)
{
	machine_free(machine);
	cid = VMADDR_CID_ANY;
	machine = machine_new(true);
	cid = 5;
	assert_false(machine_has_changed(machine));
	cid = 6;
	assert_true(machine_has_changed(machine));
}

static void test_new_generation(void **state)
{
	assert_true(HEARS("change@/devices/LNXSYSTM:00/VMGENCTR:00\0ACTION=change\0"
			  "SUBSYSTEM=platform\0NEW_VMGENID=1\0SEQNUM=7\0"));
	assert_false(machine_has_changed(machine));
	assert_true(HEARS("change@/x\0NEW_VMGENID=1\0"));
}

static void test_other_uevents(void **state)
{
	assert_false(HEARS("change@/devices/x\0ACTION=change\0SEQNUM=8\0"));
	assert_false(HEARS("change@/devices/x\0X=NEW_VMGENID=1\0"));
	assert_false(HEARS("change@/devices/x\0NEW_VMGENID=10\0"));
	assert_false(HEARS("change@/devices/x\0NEW_VMGENID=1"));
	assert_false(HEARS("change"));
	/* not from the kernel */
	message_from = 4711;
	assert_false(HEARS("change@/x\0NEW_VMGENID=1\0"));
}

static void test_nothing_can_be_known(void **state)
{
	machine_free(machine);
	no_device = no_uevents = true;
	machine = machine_new(true);
	assert_false(machine_has_changed(machine));
	machine_free(machine);
	machine = machine_new(false);
	cid = 6;
	assert_false(machine_has_changed(machine));
	machine_free(NULL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(another_cid),
		TEST(device_that_comes_later),
		TEST(new_generation),
		TEST(other_uevents),
		TEST(nothing_can_be_known),
	};
	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
