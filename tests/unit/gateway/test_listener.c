/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "../util/loop_fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* after <sys/socket.h> */
#include <linux/vm_sockets.h>

#include "gateway/gateway.h"

static void stop(void *loop)
{
	loop_stop(loop);
}

/* What guests get is their listener's, whoever made that. */
static void test_buffers(void **state)
{
	struct fixture *f = fixture_get(state);
	struct gateway gateway = {.loop = f->loop, .idle = stop, .arg = f->loop};
	uint64_t before = 0, after = 0;
	socklen_t len = sizeof(before);
	int fd, err = listener_open_vsock(VMADDR_PORT_ANY, &fd);

	if (err) {
		print_message("no AF_VSOCK here: %s\n", strerror(-err));
		skip();
	}
	TAILQ_INIT(&gateway.guests);
	TAILQ_INIT(&gateway.listeners);
	assert_int_equal(getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &before, &len), 0);
	assert_int_equal(listener_start(&gateway, fd, true, NULL, false), 0);
	assert_int_equal(getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &after, &len), 0);
	assert_true(before < 1 << 20);
	assert_int_equal(after, 2 << 20);
	listener_end(TAILQ_FIRST(&gateway.listeners));
	fixture_run(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {ON_BOTH(test_buffers)};

	return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
