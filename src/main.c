/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "become.h"
#include "control.h"
#include "daemonize.h"
#include "flavor.h"
#include "guard.h"
#include "kerberos.h"
#include "mounter.h"
#include "nfs41/idmap.h"
#include "options.h"
#include "privilege.h"
#include "referral.h"
#include "remount.h"
#include "rootfs.h"
#include "sandbox.h"
#include "service.h"
#include "share.h"
#include "source.h"
#include "takeover.h"
#include "unmount.h"
#include "util/log.h"
#include "xprtsec.h"

/* Exit statuses of mount(8). */
#define MAIN_OK	    0
#define MAIN_SYSTEM 2
#define MAIN_MOUNT  32

/* How long the server may take to accept our good-bye, and between attempts to mount. */
#define MAIN_STOP_NS  UINT64_C(5000000000)
#define MAIN_RETRY_MS 1000
/* How often one that has answered before may end a connection at once: knfsd does so when what it
 * asks its helpers, about a user or a flavor that is new to it, takes more than a second. */
#define MAIN_RESET_MAX 5
/* How many servers may send us on to another. */
#define MAIN_FOLLOW_MAX 8
/* How long the kernel may take to write what is dirty and unmount. */
#define MAIN_UNMOUNT_MS 30000
#define MAIN_SILENT_MS	1000

#ifdef VSOCKFS_STATIC
static const bool main_numeric_ids =
	true; /* a static program cannot load the user database's modules */
#else
static const bool main_numeric_ids = false;
#endif

/* The last that takes privileges. */
static struct control *main_mounted(
	struct share *share, struct guard *guard, struct mounter *mounter)
{
	static const struct control_ops ops = {.answer = share_answer};
	const struct options *options = share->options;
	const struct guard_mount_id *id = guard_id(guard);
	struct control *control = NULL;
	int err = control_new(id->major, id->minor, &ops, share, &control);
	if (err)
		log_debug("no control socket: %s", strerror(-err));
	guard_ready(guard, !options->foreground, share_rings(share));
	if (mounter)
		mounter_ready(mounter, id, !options->foreground);
	referral_ready(share);
	if (options->rootfs && (err = rootfs_start(share)) < 0)
		log_error("shutting down may hang: %s", strerror(-err));
	err = options->sandbox ? sandbox_enter(!options->rootfs) : 0;
	if (err)
		log_debug("no system call filter: %s", strerror(-err));
	return control;
}

/* For mount -v; nothing else is said of what works. */
static void main_tell(const struct share *share)
{
	const struct options *o = share->options;
	if (!o->verbose)
		return;
	printf("vsockfs: %s on %s: NFSv4.%u over %s, rsize=%u, wsize=%u, nconnect=%u\n", o->source,
		o->mountpoint, nfs_client_limits(share->client)->minor, address_netid(&o->server),
		share->rsize, share->wsize, share->nworkers);
	fflush(stdout);
}

/* What a busy mount's programs have written is saved before it goes; a server that is silent is
 * waited for once. */
static void main_unmount(struct share *share, struct guard *guard, struct control *control)
{
	service_stopping();
	if (share->options->rootfs) {
		/* It has ended already, and what has its place now is not ours. */
		control_free(control);
		return;
	}
	if (control) {
		/* In this order: the number is nobody else's while the socket is open. */
		guard_remove_control(guard, control_inode(control));
		control_free(control);
	}
	bool silent = share_flush(share) == -ETIMEDOUT;
	share_unmount(share, silent ? MAIN_SILENT_MS : MAIN_UNMOUNT_MS);
	if (share->takeover)
		takeover_forget();
	if (silent)
		return;
	share_flush(share);
	share_return_state(share);
}

/* The next daemon can take over, or has. */
static void main_prepare_takeover(struct share *share, struct guard *guard)
{
	struct takeover *takeover = share->takeover;
	if (!takeover)
		return;
	if (takeover->resumed) {
		takeover_sweep(takeover, share);
		log_info("%s: taken over", share->options->mountpoint);
	}
	/* Before it is stored: from then on it may be somebody's. */
	guard_keep(guard, true);
	if (takeover_store(takeover, share, guard_id(guard)) != 0 && !takeover->resumed)
		guard_keep(guard, false);
}

/* True: the process shall end, and the mount shall stay for the next one. */
static bool main_hands_over(const struct share *share, int signal_number)
{
	if (signal_number == SIGUSR1 && share->takeover) {
		log_info("the mount stays for the next daemon");
		return true;
	}
	log_info("ended by %s", strsignal(signal_number));
	return false;
}

/* Returns when the mount has ended, or a signal asks for its end; true: for that of the process. */
static bool main_wait(struct share *share, int signals)
{
	struct pollfd pfds[] = {
		{.fd = signals, .events = POLLIN}, {.fd = share->event_fd, .events = POLLIN}};
	while (!share->ended) {
		if (poll(pfds, 2, -1) < 0 && errno != EINTR)
			return false;
		eventfd_t value;
		struct signalfd_siginfo info;
		if (pfds[1].revents)
			eventfd_read(share->event_fd, &value);
		if (pfds[0].revents && read(signals, &info, sizeof(info)) == sizeof(info) &&
			!share->options->rootfs)
			return main_hands_over(share, (int)info.ssi_signo);
	}
	return false;
}

/* Failures that may pass while the server starts or the device appears; retry= says for how long.
 */
static bool main_worth_retrying(int err)
{
	return err == -ECONNREFUSED || err == -ECONNRESET || err == -ETIMEDOUT || err == -ENODEV ||
	       err == -ENOENT || err == -EHOSTUNREACH || err == -ENETUNREACH || err == -EAGAIN;
}

/* A signal came instead of a connection. The exit status. */
static int main_cancelled(struct guard *guard, const struct takeover *takeover, int signals)
{
	struct signalfd_siginfo info = {0};
	if (read(signals, &info, sizeof(info)) == sizeof(info))
		log_info("ended by %s", strsignal((int)info.ssi_signo));
	if (!takeover || !takeover->resumed)
		return MAIN_MOUNT;
	/* With the last word about the mount: nobody is there to flush it, or to serve it later. */
	if (info.ssi_signo != SIGUSR1) {
		takeover_forget();
		guard_clear(guard);
	}
	return MAIN_OK;
}

/* The options of the server that has the export. It is one mount for a process's life. */
static const struct options *main_follow(const struct options *options, const struct share *share)
{
	static struct options followed;
	static char path[PATH_MAX];
	char server[ADDRESS_UADDR_MAX];
	char *shorter = source_normalise_path(share->elsewhere_path);
	if (!shorter || strlen(shorter) >= sizeof(path)) {
		free(shorter);
		return NULL;
	}
	memcpy(path, shorter, strlen(shorter) + 1);
	free(shorter);
	followed = *options;
	followed.server = share->elsewhere;
	followed.export_path = path;
	followed.sec_fh.len = 0;
	followed.sec_list.count = 0;
	followed.tried_secs.count = 0;
	log_info("%s is at %s:%s", options->source,
		address_uaddr(&followed.server, server, sizeof(server)), path);
	return &followed;
}

/* Attempts that failed with a reset. */
struct main_resets {
	unsigned known; /* by a server that has answered before */
	unsigned vsock;
};

/* Is it worth another attempt, retry= or not, and after how many ms? Over vsock at once: a port of
 * ours that is used again too soon may be reset although somebody listens. */
static bool main_reset(
	const struct options *options, int err, struct main_resets *resets, int *pause_ms)
{
	*pause_ms = MAIN_RETRY_MS;
	if (err != -ECONNRESET)
		return false;
	if (options->server.proto == ADDRESS_VSOCK && resets->vsock++ == 0) {
		*pause_ms = 0;
		return true;
	}
	return options->tried_secs.count > 0 && resets->known++ < MAIN_RESET_MAX;
}

/* A share that is connected, or an exit status with one line said. */
static int main_connect(const struct options *options, const struct tls_context *tls,
	struct guard *guard, struct takeover *takeover, int signals, struct share **share)
{
	uint64_t give_up = loop_clock() + options->retry_s * UINT64_C(1000000000);
	struct main_resets resets = {0};
	unsigned followed = 0;
	for (;;) {
		struct share *s;
		int err = share_new(options, tls, guard, takeover, &s);
		if (err) {
			log_error("%s: %s", options->source, strerror(-err));
			return MAIN_SYSTEM;
		}
		err = share_connect(s, signals);
		if (!err) {
			*share = s;
			return MAIN_OK;
		}
		const struct options *elsewhere = NULL;
		if (err == -EREMOTE && s->elsewhere_path && followed++ < MAIN_FOLLOW_MAX)
			elsewhere = main_follow(options, s);
		else if (err == -EPERM || err == -EACCES)
			elsewhere = flavor_next(s);
		int pause_ms;
		bool soon = main_reset(options, err, &resets, &pause_ms);
		/* What was restored can be so once: the service manager tries again. */
		bool again = main_worth_retrying(err) && (soon || loop_clock() < give_up) &&
			     !(takeover && takeover->resumed);
		if (!again && !elsewhere && err != -ECANCELED)
			log_error("%s: %s", options->source, s->why);
		share_disconnect(s, 0);
		share_free(s);
		if (elsewhere) {
			options = elsewhere;
			continue;
		}
		if (again) {
			struct pollfd pfd = {.fd = signals, .events = POLLIN};
			err = poll(&pfd, 1, pause_ms) > 0 ? -ECANCELED : 0;
		}
		if (err)
			return err == -ECANCELED ? main_cancelled(guard, takeover, signals)
						 : MAIN_MOUNT;
	}
}

static int main_signals(void)
{
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Mounts and serves until the end. Returns the exit status. */
static int main_serve(const struct options *options, const struct tls_context *tls,
	struct guard *guard, struct mounter *mounter, struct takeover *takeover)
{
	struct share *share;
	int signals = main_signals();
	share = NULL;
	int status = main_connect(options, tls, guard, takeover, signals, &share);
	if (!share) {
		daemonize_fail(status);
		close(signals);
		return status;
	}
	referral_start(share, mounter);
	int err = share_mount(share);
	if (err) {
		log_error("%s: %s", options->source, share->why);
		status = MAIN_MOUNT;
		daemonize_fail(status);
		if (takeover)
			takeover_forget();
	} else {
		main_prepare_takeover(share, guard);
		struct control *control = main_mounted(share, guard, mounter);
		main_tell(share);
		daemonize_ready(rootfs_log_target(options), options->debug);
		service_ready();
		if (main_wait(share, signals)) {
			/* Of what is not committed the next daemon has no copy. */
			share_flush(share);
			_exit(MAIN_OK);
		}
		main_unmount(share, guard, control);
	}
	share_disconnect(share, MAIN_STOP_NS);
	share_free(share);
	close(signals);
	return status;
}

/* What an earlier daemon has left: 0, or -errno with a line said if it has to go, or (-EBUSY) does
 * not belong to us. */
static int main_load_takeover(const struct options *options, struct takeover **takeover)
{
	struct service_fds fds;
	char why[128] = "it was not kept";
	int err = -ENOENT;
	if (service_take_fds(&fds))
		err = takeover_load(options, &fds, takeover, why, sizeof(why));
	service_close_fds(&fds);
	if (err && options->resuming)
		log_error("%s is not taken over: %s", options->mountpoint, why);
	return err;
}

/* That, or a place for what this daemon will leave; *takeover is NULL if nothing is wanted. */
static int main_takeover(
	const struct options *options, struct guard *guard, struct takeover **takeover)
{
	*takeover = NULL;
	if (!options->takeover)
		return 0;
	if (!service_managed()) {
		log_warn("-o takeover is for services of a service manager (Type=notify)");
		return 0;
	}
	int err = main_load_takeover(options, takeover);
	if (err == 0 || err == -EBUSY)
		return err;
	if (options->resuming) {
		takeover_forget();
		guard_clear(guard);
	}
	err = takeover_new(takeover);
	if (err)
		log_warn("nothing is kept for another daemon: %s", strerror(-err));
	return 0;
}

/* Before the rights for it are gone. 0 or an exit status. */
static int main_start_kerberos(struct options *options)
{
	bool wanted = options->secs.count == 0 && options->gsshost;
	for (unsigned i = 0; i < options->secs.count; i++)
		wanted |= rpc_sec_is_gss(options->secs.secs[i]);
	if (!wanted || !kerberos_built())
		return MAIN_OK;
	options->keytab = kerberos_has_keytab();
	/* Nobody asked for it, and there is nothing to do it with. */
	if (options->secs.count == 0 && !options->keytab)
		return MAIN_OK;
	int err = kerberos_start(options, &options->gss_fd);
	if (err) {
		log_error("cannot start a process: %s", strerror(-err));
		return MAIN_SYSTEM;
	}
	kerberos_prepare();
	return MAIN_OK;
}

static int main_run(struct options *options)
{
	struct guard *guard;
	signal(SIGPIPE, SIG_IGN);
	idmap_init(main_numeric_ids || options->rootfs);
	privilege_prepare(options);
	int err = guard_start(options, options->auto_unmount ? GUARD_UNMOUNT : GUARD_LEAVE, &guard);
	if (err) {
		log_error("cannot start a process: %s", strerror(-err));
		daemonize_fail(MAIN_SYSTEM);
		return MAIN_SYSTEM;
	}
	struct mounter *mounter;
	err = mounter_start(options, &mounter);
	if (err)
		log_warn("referrals are not followed: %s", strerror(-err));
	struct takeover *takeover;
	int status = main_start_kerberos(options);
	if (status != MAIN_OK) {
		daemonize_fail(status);
		mounter_free(mounter);
		guard_free(guard);
		return status;
	}
	status = MAIN_MOUNT;
	struct tls_context *tls;
	/* a key is nothing for the guard to have */
	int insecure = xprtsec_load(options, &tls);
	err = main_takeover(options, guard, &takeover);
	if (options->sandbox)
		privilege_drop(options);
	if (!err && !insecure)
		status = main_serve(options, tls, guard, mounter, takeover);
	else
		daemonize_fail(status);
	takeover_free(takeover);
	tls_context_free(tls);
	mounter_free(mounter);
	guard_free(guard);
	return status;
}

int main(int argc, char **argv)
{
	struct options options;
	log_init(LOG_TARGET_STDERR, false);
	if (argc > 0 && unmount_is_called(argv[0]))
		return unmount_run(argc, argv);
	int status = options_parse(argc, argv, become_other, &options);
	if (status == MAIN_OK && options.action == OPTIONS_HELP)
		options_print_usage(stdout);
	else if (status == MAIN_OK && options.action == OPTIONS_VERSION)
		options_print_version(stdout);
	else if (status == MAIN_OK && options.action == OPTIONS_REMOUNT)
		status = remount_run(&options);
	else if (status == MAIN_OK && !options.fake) {
		log_init(LOG_TARGET_STDERR, options.debug);
		if (options.rootfs)
			rootfs_mark(argv);
		if (daemonize_start(options.foreground, &status) == 0) {
			/* The daemon wakes the group of its processes; autofs has no part in it. */
			if (options.rootfs && !options.foreground)
				setsid();
			status = main_run(&options);
		}
	}
	options_free(&options);
	return status;
}
