/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/conf.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#define CONF_SECOND UINT64_C(1000000000) /* ns */

static const struct conf_limits conf_default_limits = {
	.connections = 64,
	.connects = 20,
	.idle = 900 * CONF_SECOND,
};

/* What is being read: the file, the result, and the limits that the next guests begin with. */
struct conf_reader {
	struct text *text;
	struct conf *conf;
	struct conf_limits defaults;
	struct text_word prefix; /* copy of the word that set the prefix */
};

/* One word KEY=VALUE of a line; `key` and `value` point into the word. */
struct conf_setting {
	const struct text_word *word;
	const char *key, *value;
};

static void conf_complain_value(
	struct conf_reader *r, const struct conf_setting *s, const char *shape)
{
	text_complain(
		r->text, s->word, (size_t)(s->value - s->word->text), "%s is %s", s->key, shape);
}

static bool conf_split(struct conf_reader *r, const struct text_word *word, struct conf_setting *s)
{
	char *equals = strchr(word->text, '=');

	if (!equals) {
		text_complain(r->text, word, 0, "'%s' has no '='", word->text);
		return false;
	}
	*equals = '\0';
	*s = (struct conf_setting){word, word->text, equals + 1};
	return true;
}

static bool conf_count(struct conf_reader *r, const struct conf_setting *s, uint32_t *value)
{
	uint64_t number;

	if (!text_number(s->value, 1000000, &number) || number == 0) {
		conf_complain_value(r, s, "a number from 1 to 1000000");
		return false;
	}
	*value = (uint32_t)number;
	return true;
}

static void conf_calls(struct conf_reader *r, const struct conf_setting *s, uint32_t *value)
{
	uint64_t number;

	if (!text_number(s->value, 1000000, &number) || (number > 0 && number < 10))
		conf_complain_value(r, s, "0 or a number from 10 to 1000000");
	else
		*value = (uint32_t)number;
}

/* True when the key is one of the limits, whatever becomes of its value. */
static bool conf_limit(
	struct conf_reader *r, const struct conf_setting *s, struct conf_limits *limits)
{
	if (strcmp(s->key, "connections") == 0) {
		conf_count(r, s, &limits->connections);
	} else if (strcmp(s->key, "connects") == 0) {
		conf_count(r, s, &limits->connects);
	} else if (strcmp(s->key, "calls") == 0) {
		conf_calls(r, s, &limits->calls);
	} else if (strcmp(s->key, "rate") == 0) {
		if (!text_size(s->value, UINT64_C(1) << 40, &limits->rate) ||
			(limits->rate > 0 && limits->rate < 65536))
			conf_complain_value(r, s, "0 or bytes in a second from 64K to 1024G");
	} else if (strcmp(s->key, "idle") == 0) {
		if (!text_duration(s->value, &limits->idle))
			conf_complain_value(r, s, "0 or a time such as 90s, 15m or 2h");
	} else {
		return false;
	}
	return true;
}

static void conf_set_ports(
	struct conf_reader *r, const struct conf_setting *s, struct conf_rule *rule)
{
	if (strcmp(s->value, "same") == 0)
		rule->ports = CONF_PORTS_SAME;
	else if (strcmp(s->value, "reserved") == 0)
		rule->ports = CONF_PORTS_RESERVED;
	else if (strcmp(s->value, "require") == 0 && rule->name.kind == NAME_PATH)
		conf_complain_value(r, s, "same or reserved here: a Unix socket has no port");
	else if (strcmp(s->value, "require") == 0)
		rule->ports = CONF_PORTS_REQUIRE;
	else
		conf_complain_value(r, s, "same, reserved or require");
}

static void conf_set_owner(
	struct conf_reader *r, const struct conf_setting *s, struct conf_rule *rule)
{
	char *colon = strchr(s->value, ':');
	struct passwd *user;
	struct group *group;
	uint64_t number;

	if (rule->name.kind != NAME_PATH) {
		conf_complain_value(r, s, "for the socket of vsock:/PATH only");
		return;
	}
	if (colon)
		*colon = '\0';
	if (text_number(s->value, UINT32_MAX - 1, &number))
		rule->owner = (uid_t)number;
	else if ((user = getpwnam(s->value)))
		rule->owner = user->pw_uid;
	else
		conf_complain_value(r, s, "a user that exists");
	if (!colon)
		return;
	if (text_number(colon + 1, UINT32_MAX - 1, &number))
		rule->group = (gid_t)number;
	else if ((group = getgrnam(colon + 1)))
		rule->group = group->gr_gid;
	else
		text_complain(r->text, s->word, (size_t)(colon + 1 - s->word->text),
			"there is no group '%s'", colon + 1);
}

static void conf_set_address(
	struct conf_reader *r, const struct conf_setting *s, struct conf_rule *rule)
{
	char text[INET_TEXT_MAX], name[NAME_TEXT_MAX];
	struct conf_rule *other;

	if (rule->name.kind == NAME_ANY) {
		conf_complain_value(r, s, "for one guest; those of vsock:* take the prefix");
		return;
	}
	if (!inet_parse(s->value, &rule->address)) {
		conf_complain_value(r, s, "a numeric address");
		return;
	}
	if (inet_equal(&rule->address, &r->conf->server4) ||
		inet_equal(&rule->address, &r->conf->server6)) {
		conf_complain_value(r, s, "the server's own, which every local program has");
		return;
	}
	TAILQ_FOREACH (other, &r->conf->rules, entry)
		if (inet_equal(&other->address, &rule->address))
			text_complain(r->text, s->word, (size_t)(s->value - s->word->text),
				"%s is the address of %s", inet_text(&rule->address, text),
				name_text(&other->name, name));
}

static void conf_guest_setting(
	struct conf_reader *r, const struct text_word *word, struct conf_rule *rule)
{
	struct conf_setting s;

	if (!conf_split(r, word, &s))
		return;
	if (strcmp(s.key, "address") == 0)
		conf_set_address(r, &s, rule);
	else if (strcmp(s.key, "ports") == 0)
		conf_set_ports(r, &s, rule);
	else if (strcmp(s.key, "owner") == 0)
		conf_set_owner(r, &s, rule);
	else if (!conf_limit(r, &s, &rule->limits))
		text_complain(r->text, word, 0, "a guest has no setting '%s'", s.key);
}

static void conf_guest(struct conf_reader *r)
{
	struct text_word *words = r->text->words;
	struct conf_rule *rule = calloc(1, sizeof(*rule)), *other;
	const char *why;

	if (!rule) {
		text_complain(r->text, &words[0], 0, "%s", strerror(ENOMEM));
		return;
	}
	rule->limits = r->defaults;
	rule->group = (gid_t)-1;
	why = r->text->nwords < 2 ? "guest needs a name: vsock:CID, vsock:/PATH or vsock:*"
				  : name_parse(words[1].text, &rule->name);
	if (why) {
		text_complain(r->text, &words[r->text->nwords > 1], 0, "%s", why);
		free(rule);
		return;
	}
	TAILQ_FOREACH (other, &r->conf->rules, entry)
		if (name_equal(&other->name, &rule->name))
			text_complain(
				r->text, &words[1], 0, "%s has a rule already", words[1].text);
	unsigned before = r->text->nerrors;
	for (size_t i = 2; i < r->text->nwords; i++)
		conf_guest_setting(r, &words[i], rule);
	/* An address that was refused has been complained about. */
	bool has = rule->address.family != AF_UNSPEC || r->text->nerrors > before;
	if (!has && rule->name.kind == NAME_PATH)
		text_complain(r->text, &words[1], 0,
			"%s needs an address=: behind a Unix socket there is no CID",
			words[1].text);
	else if (!has && r->conf->prefix.address.family == AF_UNSPEC)
		text_complain(r->text, &words[1], 0, "%s needs %sa prefix before it in the file",
			words[1].text, rule->name.kind == NAME_ANY ? "" : "an address=, or ");
	TAILQ_INSERT_TAIL(&r->conf->rules, rule, entry);
}

/* "A.B.C.D[:PORT]" or "[V6][:PORT]" */
static bool conf_parse_server(char *word, struct inet *inet, uint16_t *port)
{
	char *host = word, *end;
	uint64_t number = 2049;

	if (word[0] == '[') {
		host++;
		end = strchr(host, ']');
		if (!end)
			return false;
		*end++ = '\0';
	} else {
		end = strchr(word, ':');
		if (!end)
			end = word + strlen(word);
	}
	if (*end == ':') {
		*end = '\0';
		if (!text_number(end + 1, 65535, &number) || number == 0)
			return false;
	} else if (*end) {
		return false;
	}
	*port = (uint16_t)number;
	return inet_parse(host, inet) && (word[0] == '[') == (inet->family == AF_INET6);
}

static void conf_server(struct conf_reader *r, const struct text_word *word)
{
	struct inet inet;
	uint16_t port;

	if (!conf_parse_server(word->text, &inet, &port)) {
		text_complain(r->text, word, 0,
			"server is a numeric address, such as 127.0.0.1:2049 or [::1]:2049");
	} else if (inet.family == AF_INET) {
		r->conf->server4 = inet;
		r->conf->server4_port = port;
	} else {
		r->conf->server6 = inet;
		r->conf->server6_port = port;
	}
}

static void conf_prefix(struct conf_reader *r, const struct text_word *word)
{
	bool host_bits;

	if (!inet_parse_net(word->text, &r->conf->prefix, &host_bits))
		text_complain(r->text, word, 0, "%s",
			host_bits ? "the prefix has bits set behind its length"
				  : "prefix is a network, such as fd12:3456:789a::/96");
	else if (r->conf->prefix.bits == 0)
		text_complain(r->text, word, 0, "a prefix has a length of 1 or more");
	r->prefix = *word;
}

static void conf_defaults(struct conf_reader *r)
{
	for (size_t i = 1; i < r->text->nwords; i++) {
		struct conf_setting s;
		if (conf_split(r, &r->text->words[i], &s) && !conf_limit(r, &s, &r->defaults))
			text_complain(r->text, s.word, 0,
				"default sets connections, connects, calls, rate and idle, not "
				"'%s'",
				s.key);
	}
}

/* The words that take one value. */
static bool conf_single(struct conf_reader *r, const char *key, const struct text_word *word)
{
	struct conf_setting s = {word, key, word->text};
	uint64_t *ns = NULL;
	uint64_t port;

	if (!TAILQ_EMPTY(&r->conf->rules) &&
		(strcmp(key, "server") == 0 || strcmp(key, "prefix") == 0))
		text_complain(r->text, word, 0, "%s stands before the guests", key);
	else if (strcmp(key, "server") == 0) {
		conf_server(r, word);
	} else if (strcmp(key, "prefix") == 0) {
		conf_prefix(r, word);
	} else if (strcmp(key, "port") == 0) {
		if (!text_number(word->text, 65535, &port) || port == 0)
			conf_complain_value(r, &s, "a number from 1 to 65535");
		else
			r->conf->port = (uint32_t)port;
	} else if (strcmp(key, "total") == 0) {
		conf_count(r, &s, &r->conf->total);
	} else if (strcmp(key, "share") == 0) {
		conf_calls(r, &s, &r->conf->share);
	} else if (strcmp(key, "wait") == 0) {
		ns = &r->conf->wait;
	} else if (strcmp(key, "drain") == 0) {
		ns = &r->conf->drain;
	} else {
		return false;
	}
	if (ns && !text_duration(word->text, ns))
		conf_complain_value(r, &s, "a time such as 30s or 2m");
	return true;
}

static void conf_line(struct conf_reader *r)
{
	struct text_word *words = r->text->words, none = {(char *)"", 0, 0};
	const char *key = words[0].text;

	if (strcmp(key, "guest") == 0) {
		conf_guest(r);
	} else if (strcmp(key, "default") == 0) {
		conf_defaults(r);
	} else if (r->text->nwords == 2) {
		if (!conf_single(r, key, &words[1]))
			text_complain(r->text, &words[0], 0, "unknown word '%s'", key);
	} else if (r->text->nwords > 2) {
		text_complain(r->text, &words[2], 0, "%s takes one value", key);
	} else {
		none.line = words[0].line;
		none.column = words[0].column;
		text_complain(r->text, &none, 0, "'%s' has no value, or is unknown", key);
	}
}

/* What only the whole file shows, when it is one. */
static void conf_check(struct conf_reader *r)
{
	char text[INET_TEXT_MAX];
	struct conf_rule *rule;

	if (r->text->nerrors > 0 || r->conf->prefix.address.family == AF_UNSPEC)
		return;
	if (inet_net_has(&r->conf->prefix, &r->conf->server4) ||
		inet_net_has(&r->conf->prefix, &r->conf->server6))
		text_complain(r->text, &r->prefix, 0, "the server's own address is in the prefix");
	TAILQ_FOREACH (rule, &r->conf->rules, entry)
		if (inet_net_has(&r->conf->prefix, &rule->address))
			text_complain(r->text, &r->prefix, 0,
				"%s is in the prefix, where another guest's CID may have it",
				inet_text(&rule->address, text));
}

unsigned conf_parse(struct text *text, struct conf **out)
{
	struct conf *conf = calloc(1, sizeof(*conf));
	struct conf_reader r = {.text = text, .conf = conf, .defaults = conf_default_limits};

	*out = NULL;
	if (!conf) {
		fprintf(text->errors, "%s: %s\n", text->name, strerror(ENOMEM));
		return ++text->nerrors;
	}
	TAILQ_INIT(&conf->rules);
	inet_parse("127.0.0.1", &conf->server4);
	inet_parse("::1", &conf->server6);
	conf->server4_port = conf->server6_port = 2049;
	conf->port = 2049;
	conf->total = 4096;
	conf->share = 2500;
	conf->wait = 30 * CONF_SECOND;
	conf->drain = 5 * CONF_SECOND;
	while (text_next(text))
		conf_line(&r);
	conf_check(&r);
	if (text->nerrors > 0)
		conf_free(conf);
	else
		*out = conf;
	return text->nerrors;
}

unsigned conf_read(const char *name, FILE *errors, struct conf **conf)
{
	struct text text;
	unsigned nerrors = 1;

	*conf = NULL;
	if (text_init(&text, name, errors) == 0)
		nerrors = conf_parse(&text, conf);
	text_deinit(&text);
	return nerrors;
}

void conf_free(struct conf *conf)
{
	struct conf_rule *rule;

	if (!conf)
		return;
	while ((rule = TAILQ_FIRST(&conf->rules))) {
		TAILQ_REMOVE(&conf->rules, rule, entry);
		free(rule);
	}
	free(conf);
}

const struct conf_rule *conf_find(const struct conf *conf, const struct name *guest)
{
	const struct conf_rule *rule, *any = NULL;

	TAILQ_FOREACH (rule, &conf->rules, entry) {
		if (name_equal(&rule->name, guest))
			return rule;
		if (rule->name.kind == NAME_ANY)
			any = rule;
	}
	return guest->kind == NAME_CID && name_is_guest_cid(guest->cid) ? any : NULL;
}

bool conf_address(const struct conf *conf, const struct name *guest, struct inet *address)
{
	const struct conf_rule *rule = conf_find(conf, guest);

	if (!rule || guest->kind == NAME_ANY)
		return false;
	if (rule->address.family != AF_UNSPEC) {
		*address = rule->address;
		return true;
	}
	return inet_net_host(&conf->prefix, guest->cid, address);
}
