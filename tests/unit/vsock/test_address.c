/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the above */
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
/* after <sys/socket.h> */
#include <linux/vm_sockets.h>

#include "vsock/address.h"

static void check_source(const char *source, enum address_proto proto, uint32_t cid, uint32_t port,
	const char *host, const char *path)
{
	struct address address;
	const char *export_path = NULL, *why = NULL;
	int err = address_parse_source(source, &address, &export_path, &why);

	if (err)
		fail_msg("%s: %s", source, why);
	assert_int_equal(address.proto, proto);
	if (proto == ADDRESS_VSOCK)
		assert_int_equal(address.cid, cid);
	assert_int_equal(address.port, port);
	assert_string_equal(address.host, host);
	assert_string_equal(export_path, path);
	/* within the source itself */
	assert_ptr_equal(export_path + strlen(export_path), source + strlen(source));
}

static void test_vsock_sources(void **state)
{
	check_source("2:/export", ADDRESS_VSOCK, 2, 2049, "", "/export");
	check_source("0:/", ADDRESS_VSOCK, 0, 2049, "", "/");
	check_source("4294967294:/a:/b", ADDRESS_VSOCK, 4294967294u, 2049, "", "/a:/b");
	check_source("host:/x", ADDRESS_VSOCK, 2, 2049, "", "/x");
	check_source("local:/x", ADDRESS_VSOCK, 1, 2049, "", "/x");
	check_source("vsock:3:/x", ADDRESS_VSOCK, 3, 2049, "", "/x");
	check_source("vsock:host:/x", ADDRESS_VSOCK, 2, 2049, "", "/x");
}

static void test_unix_sources(void **state)
{
	char source[200] = "unix:", path[200] = "/";

	check_source("unix:/run/s.sock:/export", ADDRESS_UNIX, 0, 2049, "/run/s.sock", "/export");
	check_source("unix:/run/a:b:/x:/y", ADDRESS_UNIX, 0, 2049, "/run/a:b", "/x:/y");
	check_source("unix:@name:/x", ADDRESS_UNIX, 0, 2049, "@name", "/x");
	/* the longest that a socket address holds */
	memset(path + 1, 'a', 106);
	strcat(source, path);
	strcat(source, ":/x");
	check_source(source, ADDRESS_UNIX, 0, 2049, path, "/x");
}

static void test_tcp_sources(void **state)
{
	check_source("tcp:server:/x", ADDRESS_TCP, 0, 2049, "server", "/x");
	check_source("tcp:server:12049:/x", ADDRESS_TCP, 0, 12049, "server", "/x");
	check_source("tcp:10.0.0.1:1:/x:/y", ADDRESS_TCP, 0, 1, "10.0.0.1", "/x:/y");
	check_source("tcp:[::1]:/x", ADDRESS_TCP, 0, 2049, "::1", "/x");
	check_source("tcp:[fe80::1%lo]:65535:/x", ADDRESS_TCP, 0, 65535, "fe80::1%lo", "/x");
}

/* `hint` is what the sentence must contain: what to write instead. */
static void check_refused(const char *source, const char *hint)
{
	struct address address;
	const char *export_path, *why = NULL;

	if (address_parse_source(source, &address, &export_path, &why) != -EINVAL)
		fail_msg("%s was taken", source);
	if (!why || !strstr(why, hint))
		fail_msg("%s: \"%s\" does not say \"%s\"", source, why, hint);
}

static void test_refused_vsock_sources(void **state)
{
	check_refused("", "CID:/path");
	check_refused("/dev/sda1", "CID:/path");
	check_refused("2", "CID:/path");
	check_refused(":/x", "CID:/path");
	check_refused("server:/x", "tcp:host:/path");
	check_refused("10.0.0.1:/x", "tcp:host:/path");
	check_refused("[::1]:/x", "tcp:host:/path");
	check_refused("4294967295:/x", "2");
	check_refused("4294967296:/x", "0 to 4294967294");
	check_refused("99999999999999999999999:/x", "0 to 4294967294");
	check_refused("-1:/x", "0 to 4294967294");
	check_refused("vsock:server:/x", "0 to 4294967294");
	check_refused("vsock::/x", "0 to 4294967294");
	check_refused("vsock:2", "CID:/path");
	check_refused("2:", "begins with '/'");
	check_refused("2:export", "begins with '/'");
	check_refused("host:export", "begins with '/'");
	check_refused("+2:/x", "tcp:host:/path");
	check_refused(" 2:/x", "tcp:host:/path");
}

static void test_refused_other_sources(void **state)
{
	char source[400] = "unix:/";

	check_refused("unix:", "unix:/path/to/socket:/path");
	check_refused("unix:relative:/x", "unix:/path/to/socket:/path");
	check_refused("unix:/run/s", "unix:/path/to/socket:/path");
	check_refused("unix:/run/s:x", "unix:/path/to/socket:/path");
	check_refused("unix:/:/x", "unix:/path/to/socket:/path");
	check_refused("unix:@:/x", "unix:@name:/path");
	memset(source + 6, 'a', 107);
	strcat(source, ":/x");
	check_refused(source, "107 bytes");

	check_refused("tcp:", "tcp:host:/path");
	check_refused("tcp:server", "tcp:host:/path");
	check_refused("tcp:server:export", "tcp:host:/path");
	check_refused("tcp::/x", "tcp:host:/path");
	check_refused("tcp:[]:/x", "tcp:host:/path");
	check_refused("tcp:[::1:/x", "tcp:host:/path");
	check_refused("tcp:[a:/b]:/x", "tcp:host:/path");
	check_refused("tcp:[server]:/x", "tcp:host:/path");
	check_refused("tcp:[::1]x:/x", "tcp:host:/path");
	check_refused("tcp:fe80::1:/x", "[v6]");
	check_refused("tcp:server:0:/x", "1 to 65535");
	check_refused("tcp:server:65536:/x", "1 to 65535");
	check_refused("tcp:server:x:/x", "1 to 65535");
	check_refused("tcp:server::/x", "1 to 65535");
	strcpy(source, "tcp:");
	memset(source + 4, 'a', 256);
	strcpy(source + 260, ":/x");
	check_refused(source, "255 bytes");
}

static void check_names(
	const char *source, const char *netid, const char *uaddr, const char *described)
{
	char out[ADDRESS_UADDR_MAX];
	struct address address;
	const char *export_path, *why;

	assert_int_equal(address_parse_source(source, &address, &export_path, &why), 0);
	assert_string_equal(address_netid(&address), netid);
	assert_ptr_equal(address_uaddr(&address, out, sizeof(out)), out);
	assert_string_equal(out, uaddr);
	assert_ptr_equal(address_describe(&address, out, sizeof(out)), out);
	assert_string_equal(out, described);
	/* what does not fit is cut */
	address_describe(&address, out, 4);
	assert_memory_equal(out, described, 3);
	assert_int_equal(out[3], '\0');
}

static void test_locations(void **state)
{
	static const struct {
		const char *server;
		uint32_t cid, port;
	} good[] = {{"vsock:2", 2, 2049}, {"vsock:2.2049", 2, 2049},
		{"vsock:5.4294967294", 5, 4294967294u}, {"2", 2, 2049},
		{"vsock:4294967294", 4294967294u, 2049}};
	static const char *const bad[] = {"", "vsock:", "vsock:4294967295", "vsock:2.", "vsock:2.x",
		"vsock:2.4294967295", "vsock:2.1.1", "2.2049", "10.0.0.1", "127.1", "host", "local",
		"example.org", "::1", "vsock:-1", "vsock: 2", "unix:/run/x", "tcp:2"};
	struct address address;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_true(address_parse_location(good[i].server, &address));
		assert_int_equal(address.proto, ADDRESS_VSOCK);
		assert_int_equal(address.cid, good[i].cid);
		assert_int_equal(address.port, good[i].port);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (address_parse_location(bad[i], &address))
			fail_msg("\"%s\" is a vsock address", bad[i]);
}

static void test_names(void **state)
{
	check_names("2:/x", "vsock", "vsock:2.2049", "vsock 2 port 2049");
	check_names("unix:/run/s:/x", "unix", "/run/s", "unix socket /run/s");
	check_names("tcp:10.0.0.1:/x", "tcp", "10.0.0.1.8.1", "tcp 10.0.0.1 port 2049");
	check_names("tcp:[::1]:65534:/x", "tcp6", "::1.255.254", "tcp ::1 port 65534");
	check_names("tcp:server:/x", "tcp", "server.8.1", "tcp server port 2049");
}

static int resolve(const char *source, struct sockaddr_storage *sa, socklen_t *len)
{
	struct address address;
	const char *export_path, *why;

	assert_int_equal(address_parse_source(source, &address, &export_path, &why), 0);
	memset(sa, 0xff, sizeof(*sa));
	return address_resolve(&address, sa, len);
}

static void test_resolve_vsock(void **state)
{
	struct sockaddr_storage sa;
	struct sockaddr_vm *vm = (struct sockaddr_vm *)&sa;
	socklen_t len;

	assert_int_equal(resolve("7:/x", &sa, &len), 0);
	assert_int_equal(len, sizeof(*vm));
	assert_int_equal(vm->svm_family, AF_VSOCK);
	assert_int_equal(vm->svm_cid, 7);
	assert_int_equal(vm->svm_port, 2049);
	/* the kernel refuses a flag or a reserved byte that it does not know */
	for (size_t i = offsetof(struct sockaddr_vm, svm_cid) + 4; i < sizeof(*vm); i++)
		assert_int_equal(((uint8_t *)vm)[i], 0);
}

static void test_resolve_unix(void **state)
{
	struct sockaddr_storage sa;
	struct sockaddr_un *un = (struct sockaddr_un *)&sa;
	socklen_t len;

	assert_int_equal(resolve("unix:/run/s:/x", &sa, &len), 0);
	assert_int_equal(un->sun_family, AF_UNIX);
	assert_string_equal(un->sun_path, "/run/s");
	assert_int_equal(len, offsetof(struct sockaddr_un, sun_path) + 7);

	assert_int_equal(resolve("unix:@name:/x", &sa, &len), 0);
	assert_memory_equal(un->sun_path, "\0name", 5);
	assert_int_equal(len, offsetof(struct sockaddr_un, sun_path) + 5);
}

static void test_resolve_tcp(void **state)
{
	struct sockaddr_storage sa;
	struct sockaddr_in *in = (struct sockaddr_in *)&sa;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&sa;
	socklen_t len;

	assert_int_equal(resolve("tcp:10.1.2.3:77:/x", &sa, &len), 0);
	assert_int_equal(in->sin_family, AF_INET);
	assert_int_equal(ntohl(in->sin_addr.s_addr), 0x0a010203);
	assert_int_equal(ntohs(in->sin_port), 77);
	assert_int_equal(len, sizeof(*in));

	assert_int_equal(resolve("tcp:[::1]:78:/x", &sa, &len), 0);
	assert_int_equal(in6->sin6_family, AF_INET6);
	assert_memory_equal(&in6->sin6_addr, &in6addr_loopback, 16);
	assert_int_equal(ntohs(in6->sin6_port), 78);
	assert_int_equal(len, sizeof(*in6));

	/* RFC 6761: never a host */
	assert_int_equal(resolve("tcp:no-such-host.invalid:/x", &sa, &len), -EHOSTUNREACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vsock_sources),
		cmocka_unit_test(test_unix_sources),
		cmocka_unit_test(test_tcp_sources),
		cmocka_unit_test(test_refused_vsock_sources),
		cmocka_unit_test(test_refused_other_sources),
		cmocka_unit_test(test_locations),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_resolve_vsock),
		cmocka_unit_test(test_resolve_unix),
		cmocka_unit_test(test_resolve_tcp),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
