/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/conf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static unsigned parse(const char *input, char **complaints, struct conf **conf)
{
	size_t size;
	FILE *errors = open_memstream(complaints, &size);
	struct text text;
	unsigned n;

	assert_int_equal(text_init_memory(&text, "f", input, strlen(input), errors), 0);
	n = conf_parse(&text, conf);
	text_deinit(&text);
	fclose(errors);
	return n;
}

static struct conf *good(const char *input)
{
	char *complaints;
	struct conf *conf;

	parse(input, &complaints, &conf);
	assert_string_equal(complaints, "");
	assert_non_null(conf);
	free(complaints);
	return conf;
}

static void bad(const char *input, const char *expected)
{
	char *complaints;
	struct conf *conf;

	assert_true(parse(input, &complaints, &conf) > 0);
	assert_null(conf);
	assert_string_equal(complaints, expected);
	free(complaints);
}

static struct name named(const char *text)
{
	struct name name;

	assert_null(name_parse(text, &name));
	return name;
}

static void check_address(const struct conf *conf, const char *guest, const char *expected)
{
	struct name name = named(guest);
	char text[INET_TEXT_MAX];
	struct inet inet;

	if (!conf_address(conf, &name, &inet))
		inet = (struct inet){0};
	assert_string_equal(inet_text(&inet, text), expected);
}

static void test_nothing_is_allowed(void **state)
{
	struct conf *conf = good("# nothing\n");
	struct name five = named("vsock:5");

	assert_null(conf_find(conf, &five));
	assert_int_equal(conf->port, 2049);
	check_address(conf, "vsock:5", "none");
	conf_free(conf);
}

static void test_addresses(void **state)
{
	struct conf *conf = good("prefix fd00:1::/96\n"
				 "guest vsock:5 address=127.0.1.5\n"
				 "guest vsock:*\n"
				 "guest vsock:1 address=127.0.1.1\n"
				 "guest vsock:/run/vm address=fd00:2::1\n");
	struct name one = named("vsock:1");

	check_address(conf, "vsock:5", "127.0.1.5");
	check_address(conf, "vsock:6", "fd00:1::6");
	check_address(conf, "vsock:4294967294", "fd00:1::ffff:fffe");
	check_address(conf, "vsock:/run/vm", "fd00:2::1");
	check_address(conf, "vsock:/run/other", "none");
	/* the host and this machine itself are no guests */
	check_address(conf, "vsock:2", "none");
	check_address(conf, "vsock:0", "none");
	assert_non_null(conf_find(conf, &one));
	conf_free(conf);

	conf = good("prefix 127.128.0.0/9\nguest vsock:*\n");
	check_address(conf, "vsock:5", "127.128.0.5");
	check_address(conf, "vsock:8388607", "127.255.255.255");
	check_address(conf, "vsock:8388608", "none");
	conf_free(conf);
}

static void test_settings(void **state)
{
	struct conf *conf =
		good("server 127.0.0.1:3049\nserver [::1]\nport 2050\nwait 5s\nshare 70\n"
		     "default connections=3 idle=0\n"
		     "guest vsock:5 address=127.0.1.5 rate=2M ports=require connects=7 calls=10\n"
		     "default rate=1G\n"
		     "guest vsock:/run/x address=127.0.1.6 owner=0:12 ports=reserved\n");
	struct name five = named("vsock:5"), x = named("vsock:/run/x");
	const struct conf_rule *rule = conf_find(conf, &five);

	assert_int_equal(conf->server4_port, 3049);
	assert_int_equal(conf->server6_port, 2049);
	assert_int_equal(conf->port, 2050);
	assert_int_equal(conf->share, 70);
	assert_int_equal(rule->limits.connections, 3);
	assert_int_equal(rule->limits.connects, 7);
	assert_int_equal(rule->limits.rate, 2 << 20);
	assert_int_equal(rule->limits.calls, 10);
	assert_int_equal(rule->limits.idle, 0);
	assert_int_equal(rule->ports, CONF_PORTS_REQUIRE);
	rule = conf_find(conf, &x);
	assert_int_equal(rule->limits.rate, 1 << 30);
	assert_int_equal(rule->ports, CONF_PORTS_RESERVED);
	assert_int_equal(rule->group, 12);
	conf_free(conf);
}

static void test_refused(void **state)
{
	bad("gest vsock:5\n", "f:1:1: unknown word 'gest'\n");
	bad("guest\n", "f:1:1: guest needs a name: vsock:CID, vsock:/PATH or vsock:*\n");
	bad("guest 5\n", "f:1:7: a guest is vsock:CID, vsock:/PATH or vsock:*\n");
	bad("guest vsock:x\n",
		"f:1:7: a CID is a number up to 4294967294; a path begins with '/'\n");
	bad("guest vsock:5\n",
		"f:1:7: vsock:5 needs an address=, or a prefix before it in the file\n");
	bad("guest vsock:*\n", "f:1:7: vsock:* needs a prefix before it in the file\n");
	bad("prefix fd00::/96\nguest vsock:/x\n",
		"f:2:7: vsock:/x needs an address=: behind a Unix socket there is no CID\n");
	bad("guest vsock:5 address=127.0.0.1\n",
		"f:1:23: address is the server's own, which every local program has\n");
	bad("guest vsock:5 address=host\n", "f:1:23: address is a numeric address\n");
	bad("guest vsock:5 address=127.0.1.1\nguest vsock:6 address=127.0.1.1\n",
		"f:2:23: 127.0.1.1 is the address of vsock:5\n");
	bad("guest vsock:5 address=127.0.1.1\nguest vsock:5 address=127.0.1.2\n",
		"f:2:7: vsock:5 has a rule already\n");
	bad("prefix 127.0.1.0/24\nguest vsock:5 address=127.0.1.1\n",
		"f:1:8: 127.0.1.1 is in the prefix, where another guest's CID may have it\n");
	bad("prefix 127.0.0.0/8\n", "f:1:8: the server's own address is in the prefix\n");
	bad("prefix 127.0.1.0/8\n", "f:1:8: the prefix has bits set behind its length\n");
	bad("prefix fd00::\n", "f:1:8: prefix is a network, such as fd12:3456:789a::/96\n");
	bad("guest vsock:5 address=127.0.1.1 rate=1\n",
		"f:1:38: rate is 0 or bytes in a second from 64K to 1024G\n");
	bad("guest vsock:5 address=127.0.1.1 calls=9\n",
		"f:1:39: calls is 0 or a number from 10 to 1000000\n");
	bad("share 9\n", "f:1:7: share is 0 or a number from 10 to 1000000\n");
	bad("guest vsock:5 address=127.0.1.1 ports\n", "f:1:33: 'ports' has no '='\n");
	bad("guest vsock:/x address=127.0.1.1 ports=require\n",
		"f:1:40: ports is same or reserved here: a Unix socket has no port\n");
	bad("guest vsock:5 address=127.0.1.1 owner=root\n",
		"f:1:39: owner is for the socket of vsock:/PATH only\n");
	bad("guest vsock:5 address=127.0.1.1 colour=red\n",
		"f:1:33: a guest has no setting 'colour'\n");
	bad("server localhost\n",
		"f:1:8: server is a numeric address, such as 127.0.0.1:2049 or [::1]:2049\n");
	bad("server ::1\n",
		"f:1:8: server is a numeric address, such as 127.0.0.1:2049 or [::1]:2049\n");
	bad("guest vsock:5 address=127.0.1.1\nserver 127.0.0.2\n",
		"f:2:8: server stands before the guests\n");
	bad("port 2049 2050\n", "f:1:11: port takes one value\n");
	bad("port\n", "f:1:1: 'port' has no value, or is unknown\n");
	bad("wait 1y\n", "f:1:6: wait is a time such as 30s or 2m\n");
}

static void test_nets(void **state)
{
	struct inet_net a, b;
	struct inet inet;
	bool host;

	assert_true(inet_parse_net("10.0.0.0/8", &a, &host));
	assert_true(inet_parse_net("10.1.0.0/16", &b, &host));
	assert_true(inet_net_overlaps(&a, &b) && inet_net_overlaps(&b, &a));
	assert_true(inet_parse("10.255.0.1", &inet) && inet_net_has(&a, &inet));
	assert_false(inet_net_has(&b, &inet));
	assert_true(inet_parse_net("::/0", &b, &host));
	assert_false(inet_net_has(&b, &inet) || inet_net_overlaps(&a, &b));
	assert_false(inet_parse_net("10.0.0.0/33", &a, &host));
	assert_false(inet_parse_net("10.0.0.0", &a, &host));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_allowed),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_nets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
