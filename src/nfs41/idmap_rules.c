/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/idmap_rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nfs41/idmap.h"

/* The same rules in the orders in which they are looked for. */
static struct {
	const struct idmap_rule **by_guest, **by_server, **by_owner;
	size_t nguest, nserver, nowner;
	bool set, others;
} rules;

static int compare_u64(uint64_t a, uint64_t b)
{
	return a < b ? -1 : a > b;
}

static uint64_t key(bool group, uint32_t id)
{
	return (uint64_t)group << 32 | id;
}

/* Numbers first, so that the rule which has one is the one that is found. */
static int compare_guest(const void *a, const void *b)
{
	const struct idmap_rule *x = *(const struct idmap_rule *const *)a;
	const struct idmap_rule *y = *(const struct idmap_rule *const *)b;
	int order = compare_u64(key(x->group, x->guest), key(y->group, y->guest));

	return order ? order : (int)y->numbered - (int)x->numbered;
}

static int compare_server(const void *a, const void *b)
{
	const struct idmap_rule *x = *(const struct idmap_rule *const *)a;
	const struct idmap_rule *y = *(const struct idmap_rule *const *)b;

	return compare_u64(key(x->group, x->server), key(y->group, y->server));
}

static int compare_owner(const void *a, const void *b)
{
	const struct idmap_rule *x = *(const struct idmap_rule *const *)a;
	const struct idmap_rule *y = *(const struct idmap_rule *const *)b;
	int order = (int)x->group - (int)y->group;

	return order ? order : strcmp(x->owner, y->owner);
}

void idmap_free_rules(struct idmap_rule *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i].owner);
	free(list);
}

static void drop_orders(void)
{
	free(rules.by_guest);
	free(rules.by_server);
	free(rules.by_owner);
	rules.by_guest = rules.by_server = rules.by_owner = NULL;
	rules.nguest = rules.nserver = rules.nowner = 0;
}

/* Two rules of one id on either side, but for a number and a name of the same. */
static const struct idmap_rule *find_clash(void)
{
	for (size_t i = 1; i < rules.nguest; i++) {
		const struct idmap_rule *a = rules.by_guest[i - 1], *b = rules.by_guest[i];
		if (a->group == b->group && a->guest == b->guest && a->numbered == b->numbered)
			return a > b ? a : b;
	}
	for (size_t i = 1; i < rules.nserver; i++)
		if (compare_server(&rules.by_server[i - 1], &rules.by_server[i]) == 0)
			return rules.by_server[i];
	for (size_t i = 1; i < rules.nowner; i++)
		if (compare_owner(&rules.by_owner[i - 1], &rules.by_owner[i]) == 0)
			return rules.by_owner[i];
	return NULL;
}

int idmap_set_rules(struct idmap_rule *list, size_t count, bool others, size_t *at)
{
	drop_orders();
	rules.by_guest = calloc(count + 1, sizeof(*rules.by_guest));
	rules.by_server = calloc(count + 1, sizeof(*rules.by_server));
	rules.by_owner = calloc(count + 1, sizeof(*rules.by_owner));
	if (!rules.by_guest || !rules.by_server || !rules.by_owner) {
		drop_orders();
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		rules.by_guest[rules.nguest++] = &list[i];
		if (list[i].numbered)
			rules.by_server[rules.nserver++] = &list[i];
		if (list[i].owner)
			rules.by_owner[rules.nowner++] = &list[i];
	}
	qsort(rules.by_guest, rules.nguest, sizeof(*rules.by_guest), compare_guest);
	qsort(rules.by_server, rules.nserver, sizeof(*rules.by_server), compare_server);
	qsort(rules.by_owner, rules.nowner, sizeof(*rules.by_owner), compare_owner);
	const struct idmap_rule *clash = find_clash();
	if (clash) {
		*at = (size_t)(clash - list);
		drop_orders();
		return -EEXIST;
	}
	rules.others = others;
	rules.set = true;
	return 0;
}

/* The first of the rules for this id: the one with a number, if any. */
static const struct idmap_rule *find_guest(uint32_t guest, bool group)
{
	const uint64_t wanted = key(group, guest);
	size_t low = 0, high = rules.nguest;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct idmap_rule *rule = rules.by_guest[middle];
		if (key(rule->group, rule->guest) < wanted)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == rules.nguest ||
		key(rules.by_guest[low]->group, rules.by_guest[low]->guest) != wanted)
		return NULL;
	return rules.by_guest[low];
}

static const struct idmap_rule *find_server(uint32_t server, bool group)
{
	const struct idmap_rule wanted = {.group = group, .server = server}, *p = &wanted;
	const struct idmap_rule **found = bsearch(
		&p, rules.by_server, rules.nserver, sizeof(*rules.by_server), compare_server);

	return found ? *found : NULL;
}

bool idmap_to_server(uint32_t guest, bool group, uint32_t *server)
{
	*server = guest;
	if (!rules.set)
		return true;
	const struct idmap_rule *rule = find_guest(guest, group);
	if (rule) {
		/* Known to the server by name alone: by his own number, then. */
		*server = rule->numbered ? rule->server : guest;
		return true;
	}
	if (rules.others && !find_server(guest, group))
		return true;
	*server = IDMAP_NOBODY;
	return false;
}

uint32_t idmap_to_guest(uint32_t server, bool group)
{
	if (!rules.set)
		return server;
	const struct idmap_rule *rule = find_server(server, group);
	if (rule)
		return rule->guest;
	return rules.others && !find_guest(server, group) ? server : IDMAP_NOBODY;
}

const struct idmap_rule *idmap_find_owner(const uint8_t *text, size_t len, bool group)
{
	char name[IDMAP_STRING_MAX];
	const struct idmap_rule wanted = {.group = group, .owner = name}, *p = &wanted;

	if (rules.nowner == 0 || len >= sizeof(name) || memchr(text, '\0', len))
		return NULL;
	memcpy(name, text, len);
	name[len] = '\0';
	const struct idmap_rule **found =
		bsearch(&p, rules.by_owner, rules.nowner, sizeof(*rules.by_owner), compare_owner);
	return found ? *found : NULL;
}

const char *idmap_owner_of(uint32_t guest, bool group)
{
	const struct idmap_rule *rule = find_guest(guest, group);

	if (!rule || rule->owner)
		return rule ? rule->owner : NULL;
	/* A rule with the name comes behind the one with the number. */
	const struct idmap_rule **end = rules.by_guest + rules.nguest;
	for (const struct idmap_rule **next = rules.by_guest; next < end; next++)
		if ((*next)->group == group && (*next)->guest == guest && (*next)->owner)
			return (*next)->owner;
	return NULL;
}

bool idmap_others(void)
{
	return !rules.set || rules.others;
}
