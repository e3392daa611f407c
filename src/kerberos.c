/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kerberos.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guard_priv.h"
#include "kerberos_priv.h"
#include "privilege.h"
#include "rpc/gss_link.h"

/*
 * The helper itself only forks: one process for each user's context, which becomes that user before
 * it looks at anything of his, and one for the machine, which keeps the machine's tickets. That one
 * forks as well once it has the first token, so that no server's silence holds up another context.
 */

/* How long one context may take, KDC and server included. */
#define KERBEROS_PATIENCE_S 90
#define KERBEROS_NOGROUP    65534

struct kerberos {
	const struct options *options;
	int fd;		/* requests come from here */
	int machine_fd; /* and those for the machine are passed on there; -1: not yet */
};

bool kerberos_built(void)
{
	return true;
}

static void kerberos_send(int fd, const struct rpc_gss_message *head, const void *body, size_t len)
{
	struct iovec iov[] = {
		{(void *)(uintptr_t)head, sizeof(*head)}, {(void *)(uintptr_t)body, len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = len > 0 ? 2 : 1};
	sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static void kerberos_send_failure(int fd, int err, const char *why)
{
	kerberos_send(fd, &(struct rpc_gss_message){.what = RPC_GSS_FAILED, .err = err}, why,
		strlen(why));
}

/* The other side's token; false when it has gone. */
static bool kerberos_hear(
	int fd, struct kerberos_context *context, int *err, char why[KERBEROS_WHY])
{
	static struct {
		struct rpc_gss_message head;
		uint8_t body[RPC_GSS_TOKEN_MAX];
	} message;
	ssize_t n = recv(fd, &message, sizeof(message), 0);
	if (n < (ssize_t)sizeof(message.head) || message.head.what != RPC_GSS_TOKEN)
		return false;
	*err = kerberos_continue(context, message.body, (size_t)n - sizeof(message.head), why);
	return true;
}

/* From the first token on. */
static void kerberos_exchange(int fd, struct kerberos_context *context)
{
	const struct rpc_gss_message token = {.what = RPC_GSS_TOKEN};
	gss_buffer_desc exported = GSS_C_EMPTY_BUFFER;
	char why[KERBEROS_WHY] = "";
	int err = 0;
	while (!err && context->token.length > 0) {
		kerberos_send(fd, &token, context->token.value, context->token.length);
		if (!kerberos_hear(fd, context, &err, why))
			return;
	}
	uint32_t lifetime = context->lifetime;
	if (!err)
		err = kerberos_export(context, &exported, why);
	if (err)
		kerberos_send_failure(fd, err, why);
	else
		kerberos_send(fd,
			&(struct rpc_gss_message){.what = RPC_GSS_READY, .lifetime = lifetime},
			exported.value, exported.length);
}

static int kerberos_become(uid_t uid)
{
	const struct passwd *user;
	if (geteuid() != 0)
		return uid == geteuid() ? 0 : -EACCES;
	if (uid == 0)
		return 0;
	user = getpwuid(uid);
	gid_t gid = user ? user->pw_gid : KERBEROS_NOGROUP;
	if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
		return -errno;
	if (user)
		setenv("HOME", user->pw_dir, 1);
	return 0;
}

static void __attribute__((noreturn))
kerberos_serve_user(const struct kerberos *kerberos, uid_t uid, int fd)
{
	struct kerberos_context context;
	char why[KERBEROS_WHY] = "";
	alarm(KERBEROS_PATIENCE_S);
	/* where it points is the caller's, not this user's */
	if (geteuid() == 0)
		unsetenv("KRB5CCNAME");
	int err = kerberos_become(uid);
	if (err) {
		kerberos_send_failure(fd, -EACCES, "not a user whose tickets can be used");
		_exit(0);
	}
	err = kerberos_begin(&context, kerberos->options->gsshost, false, why);
	if (err)
		kerberos_send_failure(fd, err, why);
	else
		kerberos_exchange(fd, &context);
	_exit(0);
}

static void kerberos_serve_machine(const struct kerberos *kerberos, int fd)
{
	struct kerberos_context context;
	char why[KERBEROS_WHY] = "";
	int err = kerberos_begin(&context, kerberos->options->gsshost, true, why);
	if (err) {
		kerberos_send_failure(fd, err, why);
	} else if (fork() == 0) {
		alarm(KERBEROS_PATIENCE_S);
		kerberos_exchange(fd, &context);
		_exit(0);
	}
	kerberos_end(&context);
}

static bool kerberos_receive(int sock, struct rpc_gss_request *request, int *fd)
{
	ssize_t n;
	do {
		*fd = -1;
		n = guard_receive(sock, request, sizeof(*request), fd);
	} while (n < 0 && errno == EINTR);
	return n == sizeof(*request) && *fd >= 0;
}

/* Keeps the machine's tickets. */
static void __attribute__((noreturn)) kerberos_machine(const struct kerberos *kerberos, int sock)
{
	struct rpc_gss_request request;
	int fd;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (kerberos->options->sandbox)
		privilege_drop_all();
	unsetenv("KRB5CCNAME");
	while (kerberos_receive(sock, &request, &fd)) {
		kerberos_serve_machine(kerberos, fd);
		close(fd);
	}
	_exit(0);
}

static void kerberos_start_machine(struct kerberos *kerberos)
{
	int pair[2];
	if (kerberos->machine_fd >= 0)
		close(kerberos->machine_fd);
	kerberos->machine_fd = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		close(kerberos->fd);
		kerberos_machine(kerberos, pair[1]);
	}
	close(pair[1]);
	kerberos->machine_fd = pair[0];
}

static void kerberos_serve(struct kerberos *kerberos, const struct rpc_gss_request *request, int fd)
{
	ssize_t n = -1;
	if (request->uid != 0 || geteuid() != 0) {
		if (fork() == 0) {
			close(kerberos->fd);
			kerberos_serve_user(kerberos, request->uid, fd);
		}
		return;
	}
	/* it may have died */
	for (int i = 0; i < 2 && n < 0; i++) {
		if (kerberos->machine_fd < 0 || i > 0)
			kerberos_start_machine(kerberos);
		n = guard_send(kerberos->machine_fd, request, sizeof(*request), fd);
	}
}

static void __attribute__((noreturn)) kerberos_main(struct kerberos *kerberos)
{
	struct rpc_gss_request request;
	int fd;
	prctl(PR_SET_NAME, "vsockfs-krb5");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (kerberos->fd > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, (unsigned)kerberos->fd - 1, 0);
	close_range((unsigned)kerberos->fd + 1, ~0U, 0);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = STDIN_FILENO; null >= 0 && i <= STDERR_FILENO; i++)
		dup2(null, i);
	if (chdir("/") < 0)
		_exit(1);
	/* Those of a root file system have one session. */
	if (!kerberos->options->rootfs)
		setsid();
	signal(SIGCHLD, SIG_IGN);
	if (kerberos->options->sandbox)
		privilege_drop_kerberos();
	while (kerberos_receive(kerberos->fd, &request, &fd)) {
		kerberos_serve(kerberos, &request, fd);
		close(fd);
	}
	_exit(0);
}

int kerberos_start(const struct options *options, int *fd)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	pid_t pid = fork();
	if (pid == 0) {
		struct kerberos kerberos = {.options = options, .fd = pair[1], .machine_fd = -1};
		kerberos_main(&kerberos);
	}
	int err = pid < 0 ? -errno : 0;
	/* a worker that asks does not wait for it */
	if (!err && fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
		err = -errno;
	close(pair[1]);
	if (err)
		close(pair[0]);
	else
		*fd = pair[0];
	return err;
}

void kerberos_prepare(void)
{
	OM_uint32 minor;
	gss_OID_set mechs;
	if (!GSS_ERROR(gss_indicate_mechs(&minor, &mechs)))
		gss_release_oid_set(&minor, &mechs);
}
