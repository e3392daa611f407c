/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "share.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "ahead.h"
#include "behind.h"
#include "capture.h"
#include "changes.h"
#include "closing.h"
#include "fresh.h"
#include "fsop.h"
#include "handle.h"
#include "lead.h"
#include "listing.h"
#include "migrate.h"
#include "preopen.h"
#include "recall.h"
#include "referral.h"
#include "ring.h"
#include "siblings.h"
#include "support.h"
#include "takeover.h"
#include "trace.h"
#include "upcoming.h"
#include "util/log.h"
#include "whole.h"
#include "xattrs.h"

#define SHARE_NS_PER_S		 UINT64_C(1000000000)
#define SHARE_REQUESTS		 128
#define SHARE_BUFS_KEPT		 4
#define SHARE_CONNECT_TIMEOUT_NS (5 * SHARE_NS_PER_S)

static void share_notify_lock(void *arg, const struct nfs_fh *fh, uint64_t owner)
{
	fsop_lock_available(arg, owner);
}

static uint32_t share_offload(void *arg, const struct nfs_fh *fh, const struct nfs_stateid *stateid,
	const struct callback_offload *result)
{
	struct share *share = arg;
	return offload_told(&share->offloads, fh, stateid, result);
}

static const struct callback_ops share_callbacks = {
	.notify_lock = share_notify_lock,
	.recall = recall_called,
	.recall_any = recall_called_any,
	.getattr = recall_called_getattr,
	.offload = share_offload,
};

static int share_new_client(struct share *share)
{
	const struct options *o = share->options;
	struct rpc_cred *sys = NULL;
	/* A machine without a key of its own has users with tickets all the same. */
	if (rpc_sec_is_gss(o->sec) && geteuid() == 0 && !o->keytab &&
		rpc_cred_new_sys("", 0, 0, NULL, 0, &sys) != 0)
		return -ENOMEM;
	struct nfs_client_config config = {
		.address = o->server,
		.stream = {.reserved_port = o->reserved_port,
			.buffer_size = o->socket_buffer,
			.connect_timeout_ns = SHARE_CONNECT_TIMEOUT_NS},
		.tls = share->tls,
		.cred = sys ? sys : share->mount_cred,
		.gss_fd = o->gss_fd,
		.minor = o->minor,
		.soft = o->soft,
		.softerr = o->softerr,
		.timeo_ns = o->timeo_ds * (SHARE_NS_PER_S / 10),
		.retrans = o->retrans,
		.rsize = o->rsize,
		.wsize = o->wsize,
		.max_requests = SHARE_REQUESTS,
		.clientaddr = o->clientaddr,
		.tap = capture_tap(share->capture),
		.identified = takeover_identified,
		.identified_arg = share,
	};
	takeover_get_server(share->takeover, &config.address);
	int err = nfs_client_new(&config, &share->client);
	rpc_cred_unref(sys);
	if (err)
		return err;
	nfs_client_set_callbacks(share->client, &share_callbacks, share);
	nfs_client_set_reclaim(share->client, &reclaim_ops, share->reclaim);
	nfs_client_set_move(share->client, &migrate_ops, share->migrate);
	recall_configure(share);
	return 0;
}

/* An open file or a lock did not survive the server's restart. */
static void share_lost(void *arg, const struct nfs_fh *fh, bool lock, int err)
{
	struct share *share = arg;
	/* What is given up because the mount ends is nobody's loss. */
	struct node *node = share->ended ? NULL : node_find_fh(share->nodes, fh);
	if (!node)
		return;
	log_error("%s: inode %" PRIu64 ": %s", share->options->source, node->ino,
		lock		 ? "a lock was lost: another client may have held it meanwhile"
		: err == -ESTALE ? "it was open, and the server does not have it any more"
				 : "the server does not let it be opened again");
	/* What the page cache has may be read without asking us, and is no longer protected. */
	notify_inval_inode(share->notify, node->id, NULL, NULL);
	node_unpin(share->nodes, node);
}

static int share_new_reclaim(struct share *share)
{
	const struct reclaim_config config = {
		.state = share->state, .lost = share_lost, .arg = share};
	return reclaim_new(&config, &share->reclaim);
}

static unsigned share_worker_count(const struct options *options)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	if (options->nconnect > 0)
		return options->nconnect < WORKER_MAX ? options->nconnect : WORKER_MAX;
	return cpus < 1 ? 1 : cpus > 4 ? 4 : (unsigned)cpus;
}

/* A worker's own completions are seen without a system call, and no program waits for the CPU that
 * it looks for them on. */
static bool share_may_spin(const struct share *share)
{
	cpu_set_t cpus;
	return share->options->busy_poll_us > 0 && share->ring_queues == 0 &&
	       loop_backend(share->workers[0]->loop) == LOOP_URING &&
	       sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) > 1;
}

static int share_new_workers(struct share *share)
{
	const char *why = "";
	share->ring_queues = ring_count_queues(share->options, &why);
	unsigned count = share_worker_count(share->options);
	for (unsigned i = 0; i < count; i++) {
		int err = worker_new(share, i, &share->workers[i]);
		if (err)
			return err;
		share->nworkers++;
		if (share->ring_queues > 0 && !loop_takes_commands(share->workers[i]->loop)) {
			share->ring_queues = 0;
			why = "the workers' loops cannot";
		}
		err = nfs_client_attach(
			share->client, share->workers[i]->loop, &share->workers[i]->conn);
		if (err)
			return err;
	}
	share->busy_poll = share_may_spin(share);
	share->rota.single = share->busy_poll;
	if (share->ring_queues > 0)
		return 0;
	if (share->options->fuse_ring == OPTIONS_RING_ON) {
		log_error("no FUSE over io_uring: %s", why);
		return -EOPNOTSUPP;
	}
	log_debug("no FUSE over io_uring: %s", why);
	return 0;
}

int share_new_handles(struct share *share, uint16_t epoch)
{
	handle_table_free(share->files);
	handle_table_free(share->dirs);
	share->files = share->dirs = NULL;
	int err = handle_table_new(epoch, &share->files);
	return err ? err : handle_table_new(epoch, &share->dirs);
}

static void share_close_open(void *arg, struct nfs_open *open_take)
{
	file_close(arg, open_take);
}

static int share_new_state(struct share *share)
{
	int err = proccred_new(share->options->sec, &share->creds);
	if (!err &&
		!(share->mount_cred = proccred_get(share->creds, getpid(), geteuid(), getegid())))
		err = -ENOMEM;
	if (!err)
		err = nfs_state_new(&share->state);
	if (!err)
		nfs_state_set_closer(share->state, share_close_open, share);
	if (!err)
		err = share_new_handles(share, 0);
	return err ? err : share_new_reclaim(share);
}

/* What waits on its way to the server. */
static int share_new_delayed(struct share *share)
{
	int err = unstable_pool_new(share, &share->unstable);
	if (!err)
		err = behind_pool_new(share, &share->behind);
	return err ? err : closing_pool_new(share, &share->closing);
}

/* Another daemon would not know of files that are opened ahead. */
static int share_new_upcoming(struct share *share)
{
	const struct options *options = share->options;
	return upcoming_table_new(
		options->takeover || options->delegations == DELEG_NONE, &share->upcoming);
}

/* What the server need not be asked for. */
static int share_new_known(struct share *share)
{
	int err = ahead_pool_new(share, &share->ahead);
	if (!err)
		err = lead_pool_new(share, &share->lead);
	if (!err)
		err = share_new_upcoming(share);
	if (!err)
		err = preopen_pool_new(&share->preopen);
	if (!err)
		err = fresh_table_new(share, &share->fresh);
	if (!err)
		err = whole_table_new(share, &share->whole);
	if (!err)
		err = changes_new(&share->changes);
	if (!err)
		err = listing_table_new(share, &share->listing);
	if (!err)
		err = siblings_table_new(share, &share->siblings);
	if (!err)
		err = support_table_new(&share->support);
	return err ? err : xattr_table_new(share, &share->xattrs);
}

static int share_new_watchers(struct share *share)
{
	int err = notify_new(&share->notify);
	if (!err)
		err = trace_new(&share->trace);
	if (!err)
		err = capture_new(&share->capture);
	if (!err)
		share->trace_threshold = trace_threshold(share->trace);
	return err;
}

/* In the order in which one needs the other. */
static int share_new_parts(struct share *share)
{
	int err = share_new_state(share);
	if (!err)
		err = share_new_delayed(share);
	if (!err)
		err = share_new_known(share);
	if (!err)
		err = share_new_watchers(share);
	if (!err)
		err = migrate_new(share, &share->migrate);
	if (!err)
		err = share_new_client(share);
	return err ? err : share_new_workers(share);
}

int share_new(const struct options *options, const struct tls_context *tls, struct guard *guard,
	struct takeover *takeover, struct share **share)
{
	struct share *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->options = options;
	s->tls = tls;
	s->guard = guard;
	s->takeover = takeover;
	s->fuse_fd = -1;
	s->kernel_checks = (options->allow_other || options->allow_root) && !options->access_server;
	pthread_mutex_init(&s->lock_mutex, NULL);
	offload_init(&s->offloads);
	TAILQ_INIT(&s->lock_waits);
	LIST_INIT(&s->past_dirs);
	cache_policy_init(&s->cache, options);
	s->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int err = s->event_fd < 0 ? -errno : share_new_parts(s);
	if (!err && takeover && takeover->resumed)
		err = takeover_restore(takeover, s);
	else if (!err && takeover)
		takeover_keep(takeover, s);
	if (err) {
		share_free(s);
		return err;
	}
	*share = s;
	return 0;
}

/* The end of the process is not the end of what another daemon may go on with. */
static void share_end_keeping(struct share *share)
{
	share->keep = NULL;
	if (share->state)
		nfs_state_set_journal(share->state, NULL, NULL);
	if (share->nodes)
		node_table_keep(share->nodes, NULL);
}

/* What programs still have open in a mount that was detached. */
static void share_drop_files(struct share *share)
{
	if (share->files)
		file_drop_all(share);
	if (share->dirs)
		fsop_drop_dirs(share);
}

void share_free(struct share *share)
{
	if (!share)
		return;
	share_end_keeping(share);
	notify_free(share->notify);
	referral_free(share);
	migrate_free(share->migrate);
	nfs_client_free(share->client);
	capture_free(share->capture);
	trace_free(share->trace);
	for (unsigned i = 0; i < share->nworkers; i++)
		worker_free(share->workers[i]);
	if (share->session)
		fuse_session_destroy(share->session);
	unstable_pool_free(share->unstable);
	share_drop_files(share);
	behind_pool_free(share->behind);
	closing_pool_free(share->closing);
	ahead_pool_free(share->ahead);
	lead_pool_free(share->lead);
	upcoming_table_free(share->upcoming);
	preopen_pool_free(share->preopen);
	fresh_table_free(share->fresh);
	whole_table_free(share->whole);
	listing_table_free(share->listing);
	siblings_table_free(share->siblings);
	changes_free(share->changes);
	support_table_free(share->support);
	free(share->elsewhere_path);
	xattr_table_free(share->xattrs);
	reclaim_free(share->reclaim);
	nfs_state_free(share->state);
	handle_table_free(share->files);
	handle_table_free(share->dirs);
	node_table_free(share->nodes);
	buf_pool_free(share->bufs);
	rpc_cred_unref(share->mount_cred);
	proccred_free(share->creds);
	if (share->fuse_fd >= 0)
		close(share->fuse_fd);
	if (share->event_fd >= 0)
		close(share->event_fd);
	pthread_mutex_destroy(&share->lock_mutex);
	offload_deinit(&share->offloads);
	free(share);
}

/* What the main thread waits for: a worker writes the result, then `done`. */
static void share_wait_end(struct share *share, struct share_wait *wait, int err)
{
	wait->err = err;
	wait->done = 1;
	eventfd_write(share->event_fd, 1);
}

/* -ECANCELED: `cancel_fd` (-1: none) became readable first. */
static int share_wait(struct share *share, const struct share_wait *wait, int cancel_fd)
{
	struct pollfd pfds[] = {
		{.fd = share->event_fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
	while (!wait->done) {
		eventfd_t value;
		if (poll(pfds, 2, -1) < 0 && errno != EINTR)
			return -errno;
		eventfd_read(share->event_fd, &value);
		if (pfds[1].revents && !wait->done)
			return -ECANCELED;
	}
	return wait->err;
}

static void share_opened(struct share *share, int err)
{
	share_wait_end(share, &share->connected, err);
}

static void share_ready(void *arg, int err, const char *why)
{
	struct share *share = arg;
	if (err) {
		snprintf(share->why, sizeof(share->why), "%s", why ? why : strerror(-err));
		share_wait_end(share, &share->connected, err);
		return;
	}
	export_open(share, share->workers[0], share_opened);
}

static void share_start_client(void *arg)
{
	struct share *share = arg;
	nfs_client_start(share->client, share_ready, share);
}

static void share_start_recall(void *arg)
{
	recall_start(arg);
}

int share_connect(struct share *share, int cancel_fd)
{
	int err;
	for (unsigned i = 0; i < share->nworkers; i++) {
		err = worker_start(share->workers[i]);
		if (err) {
			snprintf(share->why, sizeof(share->why), "starting a thread: %s",
				strerror(-err));
			return err;
		}
	}
	worker_call(share->workers[0], share_start_client, share);
	err = share_wait(share, &share->connected, cancel_fd);
	if (err)
		return err;
	worker_call(share->workers[0], share_start_recall, share);
	const struct nfs_limits *limits = nfs_client_limits(share->client);
	share->rsize = limits->rsize;
	share->wsize = limits->wsize;
	uint32_t payload = share->rsize > share->wsize ? share->rsize : share->wsize;
	/* A WRITE arrives with its header in front, for which the kernel wants a page. */
	err = buf_pool_new(payload + 4096, SHARE_BUFS, SHARE_BUFS_KEPT, &share->bufs);
	if (err)
		snprintf(share->why, sizeof(share->why), "%s", strerror(-err));
	/* Killed while the kernel copies a request into pages that are not there yet, the daemon
	 * would take it along: EIO, instead of being sent again. */
	else if (share->keep)
		buf_pool_populate(share->bufs);
	return err;
}

struct share_stop {
	struct share *share;
	uint64_t timeout_ns;
};

static void share_stopped(void *arg)
{
	struct share *share = arg;
	share_wait_end(share, &share->stopped, 0);
}

static void share_looks_no_more(void *arg)
{
	struct share_stop *stop = arg;
	nfs_client_stop(stop->share->client, stop->timeout_ns, share_stopped, stop->share);
}

static void share_stop_client(void *arg)
{
	struct share_stop *stop = arg;
	migrate_stop(stop->share->migrate, share_looks_no_more, stop);
}

void share_disconnect(struct share *share, uint64_t timeout_ns)
{
	if (share->nworkers == 0 || !share->workers[0]->running)
		return;
	uint64_t deadline = loop_clock() + timeout_ns;
	recall_return_all(share, timeout_ns / 2, UINT64_MAX / 2);
	uint64_t now = loop_clock();
	struct share_stop stop = {
		.share = share, .timeout_ns = now < deadline ? deadline - now : 0};
	worker_call(share->workers[0], share_stop_client, &stop);
	share_wait(share, &share->stopped, -1);
	/* A program's write that an invalidation waits for is answered (-EIO) as long as workers
	 * run.
	 */
	notify_stop(share->notify);
	referral_stop(share);
	for (unsigned i = 0; i < share->nworkers; i++)
		worker_quiesce(share->workers[i]);
	for (unsigned i = 0; i < share->nworkers; i++)
		worker_stop(share->workers[i]);
}
