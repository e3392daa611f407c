/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "notifier.h"

#include <errno.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

void notifier_main(int socket, int device)
{
	static char message[NOTIFIER_MESSAGE_MAX];
	for (;;) {
		ssize_t len = recv(socket, message, sizeof(message), 0);
		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			_exit(0);
		int32_t result = write(device, message, (size_t)len) < 0 ? -errno : 0;
		if (send(socket, &result, sizeof(result), MSG_NOSIGNAL) < 0)
			_exit(0);
	}
}
