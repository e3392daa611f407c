/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connecting, to every kind of address. */
#include "stream_fixture.h"

#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
/* after <sys/socket.h> */
#include <linux/vm_sockets.h>

#include "vsock/socket.h"

static const struct stream_config plain;

static struct address address_of(const char *source)
{
	struct address address;
	const char *export_path, *why;

	if (address_parse_source(source, &address, &export_path, &why))
		fail_msg("%s: %s", source, why);
	return address;
}

/* A name of its own for each test process. */
static struct address abstract_address(void)
{
	char source[64];

	snprintf(source, sizeof(source), "unix:@vsockfs-test-%d:/x", (int)getpid());
	return address_of(source);
}

static int listen_at(const struct address *address, int backlog)
{
	struct sockaddr_storage sa;
	socklen_t len;
	int fd;

	assert_int_equal(address_resolve(address, &sa, &len), 0);
	fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) < 0 || listen(fd, backlog) < 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* A free port of the address's host, which the address then has. */
static int listen_tcp(struct address *address, int backlog)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int fd;

	address->port = 0;
	fd = listen_at(address, backlog);
	if (fd >= 0) {
		assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
		address->port =
			ntohs(sa.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&sa)->sin6_port
						       : ((struct sockaddr_in *)&sa)->sin_port);
	}
	return fd;
}

/* Connects, and sends and receives a few bytes. */
static void check_connects(struct fixture *f, const struct address *address, int listener)
{
	struct stream_config config = {.buffer_size = 1 << 20, .connect_timeout_ns = 5000 * MS};
	struct end *end = end_new(f);
	struct letter *letter = letter_new(end, "ping", 4);
	char data[4];
	int fd;

	assert_int_equal(stream_connect(f->loop, address, &config, &end_ops, end, &end->stream), 0);
	assert_int_equal(end->connected, 0);
	fixture_run(f);
	assert_int_equal(end->connected, 1);
	assert_int_equal(end->connect_err, 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	stream_recv(end->stream, data, 4, true);
	stream_send(end->stream, &letter->msg);
	stream_flush(end->stream);
	read_all(fd, data, 4);
	assert_memory_equal(data, "ping", 4);
	write_all(fd, "pong", 4);
	fixture_run(f);
	assert_int_equal(end->result, 4);
	assert_memory_equal(data, "pong", 4);
	end_free(end);
	free(letter);
	close(fd);
}

/* A connection that cannot be made: at once or by `connected`, never by hanging. Returns why. */
static int check_fails(
	struct fixture *f, const struct address *address, const struct stream_config *config)
{
	struct end *end = end_new(f);
	int err = stream_connect(f->loop, address, config, &end_ops, end, &end->stream);

	if (!err) {
		while (!end->connected)
			fixture_run(f);
		err = end->connect_err;
		fixture_run_for(f, 2 * MS);
		assert_int_equal(end->connected, 1);
		assert_int_equal(end->closed, 0);
	}
	assert_true(err < 0);
	end_free(end);
	return err;
}

static void test_unix(void **state)
{
	struct fixture *f = fixture_get(state);
	const char *tmp = getenv("TMPDIR");
	char dir[64], source[96];
	struct address address;
	int listener;

	/* a long one would leave no room for the socket's name */
	if (!tmp || strlen(tmp) > 30)
		tmp = "/tmp";
	snprintf(dir, sizeof(dir), "%s/vsockfs-test-XXXXXX", tmp);
	assert_non_null(mkdtemp(dir));
	snprintf(source, sizeof(source), "unix:%s/s:/x", dir);
	address = address_of(source);
	assert_int_equal(check_fails(f, &address, &plain), -ENOENT);
	listener = listen_at(&address, 1);
	assert_true(listener >= 0);
	check_connects(f, &address, listener);
	close(listener);
	assert_int_equal(check_fails(f, &address, &plain), -ECONNREFUSED);
	unlink(address.host);
	rmdir(dir);
}

static void test_unix_abstract(void **state)
{
	struct fixture *f = fixture_get(state);
	struct address address = abstract_address();
	int listener = listen_at(&address, 1);

	assert_true(listener >= 0);
	check_connects(f, &address, listener);
	close(listener);
}

/* With a full queue the kernel only says EAGAIN; the stream waits for its turn. */
static void test_unix_with_a_full_queue(void **state)
{
	struct fixture *f = fixture_get(state);
	struct address address = abstract_address();
	struct stream_config config = {.connect_timeout_ns = 25 * MS};
	struct end *first = end_new(f), *second = end_new(f);
	int listener = listen_at(&address, 0);
	uint64_t start;

	assert_int_equal(
		stream_connect(f->loop, &address, &plain, &end_ops, first, &first->stream), 0);
	fixture_run(f);
	assert_int_equal(first->connect_err, 0);

	start = loop_clock();
	assert_int_equal(check_fails(f, &address, &config), -ETIMEDOUT);
	assert_in_range(loop_clock() - start, 25 * MS, 5000 * MS);

	assert_int_equal(
		stream_connect(f->loop, &address, &plain, &end_ops, second, &second->stream), 0);
	fixture_run_for(f, 15 * MS);
	assert_int_equal(second->connected, 0);
	close(accept(listener, NULL, NULL));
	fixture_run(f);
	assert_int_equal(second->connected, 1);
	assert_int_equal(second->connect_err, 0);
	end_free(first);
	end_free(second);

	/* and it can be closed while it waits */
	first = end_new(f);
	second = end_new(f);
	assert_int_equal(
		stream_connect(f->loop, &address, &plain, &end_ops, first, &first->stream), 0);
	assert_int_equal(
		stream_connect(f->loop, &address, &plain, &end_ops, second, &second->stream), 0);
	end_free(second);
	end_free(first);
	close(listener);
}

static void test_tcp(void **state)
{
	struct fixture *f = fixture_get(state);
	struct address address = address_of("tcp:127.0.0.1:/x");
	int listener = listen_tcp(&address, 1);

	assert_true(listener >= 0);
	check_connects(f, &address, listener);
	close(listener);
	assert_int_equal(check_fails(f, &address, &plain), -ECONNREFUSED);
}

static void test_tcp_v6(void **state)
{
	struct fixture *f = fixture_get(state);
	struct address address = address_of("tcp:[::1]:/x");
	int listener = listen_tcp(&address, 1);

	if (listener < 0) {
		print_message("no IPv6 here\n");
		skip();
	}
	check_connects(f, &address, listener);
	close(listener);
}

/* A listener with a full queue lets a SYN go unanswered. */
static void test_tcp_times_out(void **state)
{
	struct fixture *f = fixture_get(state);
	struct address address = address_of("tcp:127.0.0.1:/x");
	struct stream_config config = {.connect_timeout_ns = 40 * MS};
	struct end *fill[2] = {end_new(f), end_new(f)}, *closing = end_new(f);
	int listener = listen_tcp(&address, 0);

	assert_true(listener >= 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(stream_connect(f->loop, &address, &plain, &end_ops, fill[i],
					 &fill[i]->stream),
			0);
	fixture_run_for(f, 10 * MS);
	assert_int_equal(check_fails(f, &address, &config), -ETIMEDOUT);

	assert_int_equal(
		stream_connect(f->loop, &address, &plain, &end_ops, closing, &closing->stream), 0);
	fixture_run_for(f, 2 * MS);
	assert_int_equal(closing->connected, 0);
	end_free(closing);
	end_free(fill[0]);
	end_free(fill[1]);
	close(listener);
}

/* No such server: whatever this machine's vsock answers, it is an error and it comes. */
static void test_vsock_without_a_server(void **state)
{
	struct fixture *f = fixture_get(state);
	struct stream_config config = {.buffer_size = 4 << 20, .connect_timeout_ns = 300 * MS};
	struct address address = address_of("2:/x");
	uint64_t start = loop_clock();
	int err;

	address.port = 0xfffffff0;
	err = check_fails(f, &address, &config);
	assert_true(loop_clock() - start < 5000 * MS);
	print_message("CID 2 without a server: %s\n", strerror(-err));
}

/* A listener for `address` on the loopback of this kernel; skips without one. */
static int listen_vsock(struct address *address)
{
	struct sockaddr_vm vm = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_LOCAL, .svm_port = VMADDR_PORT_ANY};
	socklen_t len = sizeof(vm);
	int listener = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&vm, sizeof(vm)) < 0) {
		print_message("no vsock loopback here: %s\n", strerror(errno));
		if (listener >= 0)
			close(listener);
		skip();
	}
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&vm, &len), 0);
	*address = address_of("local:/x");
	address->port = vm.svm_port;
	return listener;
}

static void test_vsock_loopback(void **state)
{
	struct fixture *f = fixture_get(state);
	struct address address;
	int listener = listen_vsock(&address);

	check_connects(f, &address, listener);
	close(listener);
}

static void *send_much(void *arg)
{
	static uint8_t much[1 << 20];
	int fd = *(int *)arg;

	memset(much, 'x', sizeof(much));
	write_all(fd, much, sizeof(much));
	return NULL;
}

/* vsock refuses to wait for more than the buffer holds: it comes all the same, each time. */
static void test_more_than_the_buffer(void **state)
{
	struct fixture *f = fixture_get(state);
	struct stream_config config = {.buffer_size = 128 << 10};
	struct address address;
	int listener = listen_vsock(&address);
	struct end *end = end_new(f);
	uint8_t *data = malloc(1 << 20);

	assert_non_null(data);
	assert_int_equal(
		stream_connect(f->loop, &address, &config, &end_ops, end, &end->stream), 0);
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	fixture_run(f);
	for (int i = 0; i < 2; i++) {
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, send_much, &fd), 0);
		memset(data, 0, 1 << 20);
		stream_recv(end->stream, data, 1 << 20, true);
		fixture_run(f);
		assert_int_equal(end->result, 1 << 20);
		assert_int_equal(data[(1 << 20) - 1], 'x');
		pthread_join(thread, NULL);
	}
	end_free(end);
	close(fd);
	close(listener);
	free(data);
}

static void test_name_without_address(void **state)
{
	struct fixture *f = fixture_get(state);
	struct address address = address_of("tcp:no-such-host.invalid:/x");

	assert_int_equal(check_fails(f, &address, &plain), -EHOSTUNREACH);
}

static int new_socket(const char *source, const struct stream_config *config, int *fd)
{
	struct address address = address_of(source);
	struct sockaddr_storage sa;
	socklen_t len;

	assert_int_equal(address_resolve(&address, &sa, &len), 0);
	return socket_new(&sa, config, fd);
}

static void test_sockets_are_set_up(void **state)
{
	struct stream_config config = {.buffer_size = 150000};
	const char *sources[] = {"tcp:127.0.0.1:/x", "unix:/x:/x"};
	socklen_t len = sizeof(int);
	int fd, value;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(new_socket(sources[i], &config, &fd), 0);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		if (i == 0) {
			assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
			assert_int_equal(value, 1);
		} else {
			/* the kernel doubles it for its own bookkeeping */
			assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &value, &len), 0);
			assert_int_equal(value, 300000);
			assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &len), 0);
			assert_int_equal(value, 300000);
		}
		close(fd);
	}
}

static void test_vsock_sockets_are_set_up(void **state)
{
	struct stream_config config = {.buffer_size = 8 << 20, .connect_timeout_ns = 1500 * MS + 1};
	uint64_t size = 0;
	struct timeval tv;
	socklen_t len = sizeof(size);
	int fd, err = new_socket("2:/x", &config, &fd);

	if (err == -EAFNOSUPPORT) {
		print_message("no AF_VSOCK in this kernel\n");
		skip();
	}
	assert_int_equal(err, 0);
	assert_int_equal(getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &size, &len), 0);
	assert_int_equal(size, 8 << 20);
	len = sizeof(tv);
	assert_int_equal(getsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &tv, &len), 0);
	assert_int_equal(tv.tv_sec, 1);
	assert_in_range(tv.tv_usec, 500000, 510000);
	close(fd);
}

static unsigned local_port(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	if (sa.ss_family == AF_VSOCK)
		return ((struct sockaddr_vm *)&sa)->svm_port;
	if (sa.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&sa)->sin6_port);
	return ntohs(((struct sockaddr_in *)&sa)->sin_port);
}

/* Root gets a port below 1024, and another one when that is taken; others get EACCES. */
static void test_reserved_ports(void **state)
{
	struct stream_config config = {.reserved_port = true};
	const char *sources[] = {"tcp:127.0.0.1:/x", "tcp:[::1]:/x", "2:/x"};

	for (int i = 0; i < 3; i++) {
		int first, second, err = new_socket(sources[i], &config, &first);
		if (err == -EAFNOSUPPORT) {
			print_message("%s: no such address family here\n", sources[i]);
			continue;
		}
		if (err == -EACCES && geteuid() != 0)
			continue;
		assert_int_equal(err, 0);
		assert_int_equal(new_socket(sources[i], &config, &second), 0);
		assert_in_range(local_port(first), 665, 1023);
		assert_in_range(local_port(second), 665, 1023);
		assert_int_not_equal(local_port(first), local_port(second));
		close(first);
		close(second);
	}
	/* a Unix socket has none to bind */
	int fd;
	assert_int_equal(new_socket("unix:/x:/x", &config, &fd), 0);
	close(fd);
}

static bool loopback_up(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;

	if (fd >= 0)
		close(fd);
	return up;
}

/* A connection to the listener, ended by this side: it lingers in TIME_WAIT. */
static bool leave_behind(int listener, const struct sockaddr_storage *to)
{
	const struct stream_config config = {.reserved_port = true};
	int fd = -1, peer = -1;
	bool done = socket_new(to, &config, &fd) == 0 &&
		    (connect(fd, (const struct sockaddr *)to, sizeof(struct sockaddr_in)) == 0 ||
			    errno == EINPROGRESS) &&
		    (peer = accept(listener, NULL, NULL)) >= 0;

	if (fd >= 0)
		close(fd);
	if (peer >= 0)
		close(peer);
	return done;
}

/* In a network of its own. 0: it went well; 77: it cannot be tried here. */
static int connect_behind_time_wait(void)
{
	struct stream_config config = {.reserved_port = true};
	struct address one = address_of("tcp:127.0.0.1:/x"), other = one;
	struct sockaddr_storage sa;
	socklen_t len;
	int fd;

	if (unshare(CLONE_NEWNET) < 0 || !loopback_up())
		return 77;
	int listener = listen_tcp(&one, 8);
	if (listener < 0 || listen_tcp(&other, 8) < 0 || address_resolve(&one, &sa, &len) != 0)
		return 1;
	for (unsigned i = 665; i <= 1023; i++)
		if (!leave_behind(listener, &sa))
			return 2;
	if (address_resolve(&other, &sa, &len) != 0 || socket_new(&sa, &config, &fd) != 0)
		return 3;
	if (local_port(fd) < 665 || local_port(fd) > 1023)
		return 4;
	return connect(fd, (struct sockaddr *)&sa, len) == 0 || errno == EINPROGRESS ? 0 : 5;
}

/* Whoever reconnects often must not run out of ports for a minute. */
static void test_reserved_ports_of_past_connections(void **state)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(connect_behind_time_wait());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_BOTH(test_unix),
		ON_BOTH(test_unix_abstract),
		ON_BOTH(test_unix_with_a_full_queue),
		ON_BOTH(test_tcp),
		ON_BOTH(test_tcp_v6),
		ON_BOTH(test_tcp_times_out),
		ON_BOTH(test_vsock_without_a_server),
		ON_BOTH(test_vsock_loopback),
		ON_BOTH(test_more_than_the_buffer),
		ON_BOTH(test_name_without_address),
		cmocka_unit_test(test_sockets_are_set_up),
		cmocka_unit_test(test_vsock_sockets_are_set_up),
		cmocka_unit_test(test_reserved_ports),
		cmocka_unit_test(test_reserved_ports_of_past_connections),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
