/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/private.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/inet.h"
#include "gateway/probe.h"
#include "util/log.h"

#define PRIVATE_PROGRAM "ganesha.nfsd"
#define PRIVATE_TRIES	600   /* to connect, until it listens */
#define PRIVATE_PAUSE	50    /* ms between them */
#define PRIVATE_ANSWER	30    /* s for each of its answers */
#define PRIVATE_STOP	10000 /* ms until it is killed */

int private_enter_network(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	int fd, err = 0;

	if (unshare(CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	request.ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* The key stays the same, so that handles outlive the server. */
static int private_make_key(void)
{
	uint8_t key[16];
	struct stat st;
	int fd, err = 0;

	if (stat(PRIVATE_KEY, &st) == 0)
		return st.st_size == sizeof(key) && st.st_uid == 0 && !(st.st_mode & 077) ? 0
											  : -EPERM;
	if (mkdir("/var/lib/vsockfs", 0700) < 0 && errno != EEXIST)
		return -errno;
	if (getrandom(key, sizeof(key), 0) != sizeof(key))
		return -EIO;
	/* Whole or not at all: another server may be starting too. */
	fd = open("/var/lib/vsockfs", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (write(fd, key, sizeof(key)) != sizeof(key))
		err = -EIO;
	else if (linkat(AT_FDCWD, path, AT_FDCWD, PRIVATE_KEY, AT_SYMLINK_FOLLOW) < 0 &&
		 errno != EEXIST)
		err = -errno;
	close(fd);
	return err;
}

static int private_make_directory(struct private_server *server)
{
	char state[PATH_MAX + 16];

	if (mkdir("/run/vsockfs", 0755) < 0 && errno != EEXIST)
		return -errno;
	snprintf(server->directory, sizeof(server->directory), "/run/vsockfs/serve-XXXXXX");
	if (!mkdtemp(server->directory)) {
		server->directory[0] = '\0';
		return -errno;
	}
	snprintf(state, sizeof(state), "%s/recovery", server->directory);
	return mkdir(state, 0700) < 0 ? -errno : 0;
}

static int private_write_conf(
	const struct private_server *server, const struct private_export *export)
{
	static const char *const squash[] = {[PRIVATE_SQUASH_ALL] = "All_Squash",
		[PRIVATE_SQUASH_ROOT] = "Root_Squash",
		[PRIVATE_SQUASH_NONE] = "No_Root_Squash"};
	char path[PATH_MAX + 16];

	snprintf(path, sizeof(path), "%s/ganesha.conf", server->directory);
	FILE *f = fopen(path, "we");
	if (!f)
		return -errno;
	/*
	 * No Bind_addr: where there is only a loopback, ganesha takes no address for one. The
	 * network is our own.
	 * Attr_Expiration_Time and Dir_Chunk: what is changed on the host is to be seen at once.
	 * Handles, and so clients, outlive a server whose export keeps its number.
	 */
	fprintf(f,
		"NFS_CORE_PARAM {\n    Protocols = 4;\n    NFS_Port = %d;\n"
		"    Enable_NLM = false;\n    Enable_RQUOTA = false;\n"
		"    Enable_UDP = false;\n}\n"
		"NFS_KRB5 { Active_krb5 = false; }\n"
		"MDCACHE { Dir_Chunk = 0; }\n"
		"NFSv4 {\n    Minor_Versions = 1, 2;\n    Graceless = true;\n"
		"    Only_Numeric_Owners = true;\n    RecoveryRoot = \"%s/recovery\";\n}\n"
		"EXPORT {\n    Export_Id = 1;\n    Path = \"%s\";\n    Pseudo = \"%s\";\n"
		"    Access_Type = %s;\n    Squash = %s;\n    Anonymous_uid = %u;\n"
		"    Anonymous_gid = %u;\n    SecType = sys, none;\n    Protocols = 4;\n"
		"    Transports = TCP;\n    Attr_Expiration_Time = 0;\n"
		"    FSAL { Name = VFS; }\n}\n"
		"LOG { Default_Log_Level = EVENT; }\n",
		PRIVATE_PORT, server->directory, export->directory, export->pseudo,
		export->writable ? "RW" : "RO", squash[export->squash], export->owner,
		export->group);
	return fclose(f) == 0 ? 0 : -errno;
}

static void private_exec(const struct private_server *server, const char *library)
{
	char conf[PATH_MAX + 16], log[PATH_MAX + 16], pid[PATH_MAX + 16];
	sigset_t none;
	int fd = open("/dev/null", O_RDWR);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	/* A terminal's interrupt is for us, who end it when its clients have their answers. */
	setsid();
	snprintf(conf, sizeof(conf), "%s/ganesha.conf", server->directory);
	snprintf(log, sizeof(log), "%s/ganesha.log", server->directory);
	snprintf(pid, sizeof(pid), "%s/ganesha.pid", server->directory);
	setenv("LD_PRELOAD", library, 1);
	setenv("VSOCKFS_SIGNFH_KEY", PRIVATE_KEY, 1);
	/* A second server on the system bus would take the first one's name. */
	setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent", 1);
	execlp(PRIVATE_PROGRAM, PRIVATE_PROGRAM, "-F", "-f", conf, "-L", log, "-p", pid,
		(char *)NULL);
	_exit(errno == ENOENT ? 127 : 126);
}

/* The preloading of a library fails without a sound. */
static bool private_signs(const struct private_server *server, const char *library)
{
	char path[64], *line = NULL, *real = realpath(library, NULL);
	size_t size = 0;
	bool signs = false;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)server->pid);
	FILE *f = fopen(path, "re");
	while (f && real && !signs && getline(&line, &size, f) > 0)
		signs = strstr(line, real) != NULL;
	if (f)
		fclose(f);
	free(line);
	free(real);
	return signs;
}

/* A connection, or -1. */
static int private_connect(void)
{
	struct sockaddr_storage sa;
	struct inet inet;
	inet_parse("127.0.0.1", &inet);
	socklen_t len = inet_sockaddr(&inet, PRIVATE_PORT, &sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&sa, len) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* What it said first of what went wrong; the rest follows from that. */
static void private_log_tail(const struct private_server *server)
{
	char path[PATH_MAX + 16], first[1024] = "", *line = NULL;
	size_t size = 0;

	snprintf(path, sizeof(path), "%s/ganesha.log", server->directory);
	FILE *f = fopen(path, "re");
	if (!f)
		return;
	while (!first[0] && getline(&line, &size, f) > 0)
		if (strstr(line, ":CRIT :") || strstr(line, ":FATAL :") || strstr(line, ":MAJ :"))
			snprintf(first, sizeof(first), "%.*s", (int)strcspn(line, "\n"), line);
	if (first[0])
		log_error("it said: %s", first);
	free(line);
	fclose(f);
}

/* It listens; what it exports is another question, since it starts without exports as well. */
static int private_check(const struct private_server *server, const struct private_export *export,
	const char *library, int fd)
{
	struct timeval patience = {.tv_sec = PRIVATE_ANSWER};

	if (!private_signs(server, library)) {
		log_error("%s did not load %s: file handles would not be signed", PRIVATE_PROGRAM,
			library);
		return -EPERM;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	int err = probe_path(fd, export->pseudo);
	if (err == -ENOENT)
		log_error("%s refuses to export %s: is it on a file system with file handles?",
			PRIVATE_PROGRAM, export->directory);
	else if (err)
		log_error("%s does not answer as it should: %s", PRIVATE_PROGRAM, strerror(-err));
	if (err)
		private_log_tail(server);
	return err;
}

static int private_await(
	struct private_server *server, const struct private_export *export, const char *library)
{
	struct pollfd end = {.fd = server->pidfd, .events = POLLIN};
	int status = 0;

	for (int i = 0; i < PRIVATE_TRIES; i++) {
		if (poll(&end, 1, PRIVATE_PAUSE) > 0) {
			waitpid(server->pid, &status, 0);
			server->pid = 0;
			if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
				log_error("%s is not installed (Debian: nfs-ganesha "
					  "nfs-ganesha-vfs)",
					PRIVATE_PROGRAM);
				return -ENOENT;
			}
			log_error("%s ended at once", PRIVATE_PROGRAM);
			private_log_tail(server);
			return -ECHILD;
		}
		int fd = private_connect();
		if (fd < 0)
			continue;
		int err = private_check(server, export, library, fd);
		close(fd);
		return err;
	}
	log_error("%s does not listen after %d s", PRIVATE_PROGRAM,
		PRIVATE_TRIES * PRIVATE_PAUSE / 1000);
	private_log_tail(server);
	return -ETIMEDOUT;
}

int private_start(
	struct private_server *server, const struct private_export *export, const char *library)
{
	int err;

	*server = (struct private_server){.pidfd = -1};
	err = private_make_key();
	if (err) {
		log_error("%s: %s", PRIVATE_KEY,
			err == -EPERM ? "not 16 bytes that only root may read" : strerror(-err));
		return err;
	}
	err = private_make_directory(server);
	if (!err)
		err = private_write_conf(server, export);
	if (err) {
		log_error("/run/vsockfs: %s", strerror(-err));
		return err;
	}
	server->pid = fork();
	if (server->pid == 0)
		private_exec(server, library);
	if (server->pid > 0)
		server->pidfd = (int)syscall(SYS_pidfd_open, server->pid, 0);
	if (server->pidfd < 0) {
		log_error("cannot start %s: %s", PRIVATE_PROGRAM, strerror(errno));
		return -errno;
	}
	fcntl(server->pidfd, F_SETFD, FD_CLOEXEC);
	return private_await(server, export, library);
}

static int private_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void private_stop(struct private_server *server)
{
	struct pollfd end = {.fd = server->pidfd, .events = POLLIN};

	if (server->pid > 0) {
		kill(server->pid, SIGTERM);
		if (poll(&end, 1, PRIVATE_STOP) <= 0)
			kill(server->pid, SIGKILL);
		waitpid(server->pid, NULL, 0);
	}
	if (server->pidfd >= 0)
		close(server->pidfd);
	if (server->directory[0])
		nftw(server->directory, private_remove, 8, FTW_DEPTH | FTW_PHYS);
	server->pid = 0;
	server->pidfd = -1;
	server->directory[0] = '\0';
}
