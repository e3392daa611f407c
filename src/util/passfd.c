/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "util/passfd.h"

#include <errno.h>
#include <string.h>

ssize_t passfd_send(int sock, struct msghdr *msg, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} passed = {0};
	ssize_t n;

	if (fd >= 0) {
		msg->msg_control = &passed;
		msg->msg_controllen = sizeof(passed);
		struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
		memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	}
	do
		n = sendmsg(sock, msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	msg->msg_control = NULL;
	msg->msg_controllen = 0;
	return n;
}
