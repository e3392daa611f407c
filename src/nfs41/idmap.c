/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "nfs41/idmap.h"

#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nfs41/idmap_rules.h"

#define CACHE_SETS    64
#define CACHE_WAYS    4
#define FOUND_SECONDS 600 /* as nfsidmap(8) keeps its keys */
#define LOST_SECONDS  60
#define NSS_BUFFER    16384 /* beyond it a group's member list is not worth a lookup */

/* A name looked up; unknown names are kept too, so that a directory of them costs one lookup. */
struct idmap_entry {
	char *name; /* NULL: free */
	bool group;
	uint32_t id;
	time_t expires; /* CLOCK_MONOTONIC */
};

static struct {
	pthread_mutex_t lock;
	bool numeric_only;
	atomic_bool use_names;
	char domain[IDMAP_STRING_MAX]; /* last seen after an '@', or "" */
	struct idmap_entry cache[CACHE_SETS][CACHE_WAYS];
	unsigned next_way[CACHE_SETS];
} idmap = {.lock = PTHREAD_MUTEX_INITIALIZER};

void idmap_init(bool numeric_only)
{
	idmap.numeric_only = numeric_only;
}

static time_t now_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Decimal digits alone, below the reserved (uid_t)-1. */
static bool parse_number(const uint8_t *text, size_t len, uint32_t *id)
{
	uint64_t value = 0;

	if (len == 0 || len > 10)
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		value = value * 10 + (text[i] - '0');
	}
	if (value >= UINT32_MAX)
		return false;
	*id = (uint32_t)value;
	return true;
}

static uint32_t nss_lookup(const char *name, bool group, bool *found)
{
	char buffer[NSS_BUFFER];

	if (group) {
		struct group entry, *result = NULL;

		getgrnam_r(name, &entry, buffer, sizeof(buffer), &result);
		*found = result != NULL;
		return result ? result->gr_gid : IDMAP_NOBODY;
	}

	struct passwd entry, *result = NULL;

	getpwnam_r(name, &entry, buffer, sizeof(buffer), &result);
	*found = result != NULL;
	return result ? result->pw_uid : IDMAP_NOBODY;
}

static struct idmap_entry *cache_set(const char *name, bool group, unsigned *set)
{
	uint32_t hash = 2166136261u ^ group;

	for (const char *p = name; *p; p++)
		hash = (hash ^ (uint8_t)*p) * 16777619u;
	*set = hash % CACHE_SETS;
	return idmap.cache[*set];
}

static bool cache_get(const char *name, bool group, time_t now, uint32_t *id)
{
	bool hit = false;
	unsigned set;

	pthread_mutex_lock(&idmap.lock);
	struct idmap_entry *entry = cache_set(name, group, &set);
	for (unsigned i = 0; i < CACHE_WAYS && !hit; i++, entry++) {
		hit = entry->name && entry->group == group && entry->expires > now &&
		      strcmp(entry->name, name) == 0;
		if (hit)
			*id = entry->id;
	}
	pthread_mutex_unlock(&idmap.lock);
	return hit;
}

static void cache_put(const char *name, bool group, time_t expires, uint32_t id)
{
	char *copy = strdup(name);
	unsigned set, way;

	if (!copy)
		return;
	pthread_mutex_lock(&idmap.lock);
	struct idmap_entry *entries = cache_set(name, group, &set);
	for (way = 0; way < CACHE_WAYS; way++) {
		if (entries[way].name && entries[way].group == group &&
			strcmp(entries[way].name, name) == 0)
			break;
	}
	if (way == CACHE_WAYS)
		way = idmap.next_way[set]++ % CACHE_WAYS;
	free(entries[way].name);
	entries[way] =
		(struct idmap_entry){.name = copy, .group = group, .id = id, .expires = expires};
	pthread_mutex_unlock(&idmap.lock);
}

static void learn_domain(const char *domain)
{
	pthread_mutex_lock(&idmap.lock);
	if (strcmp(idmap.domain, domain) != 0)
		snprintf(idmap.domain, sizeof(idmap.domain), "%s", domain);
	pthread_mutex_unlock(&idmap.lock);
}

/* `text` is "name@domain"; without a domain it is taken for a name, as some servers mean it. */
static uint32_t map_name(const uint8_t *text, size_t len, bool group)
{
	char name[IDMAP_STRING_MAX];
	uint32_t id = IDMAP_NOBODY;
	bool found;

	if (len == 0 || len >= sizeof(name) || memchr(text, '\0', len))
		return IDMAP_NOBODY;
	memcpy(name, text, len);
	name[len] = '\0';

	char *at = strrchr(name, '@');
	if (at) {
		*at = '\0';
		if (at[1])
			learn_domain(at + 1);
	}

	time_t now = now_seconds();
	if (cache_get(name, group, now, &id))
		return id;
	id = nss_lookup(name, group, &found);
	cache_put(name, group, now + (found ? FOUND_SECONDS : LOST_SECONDS), id);
	return id;
}

static uint32_t map(const uint8_t *text, size_t len, bool group)
{
	const struct idmap_rule *rule = idmap_find_owner(text, len, group);
	const uint8_t *at = memrchr(text, '@', len);
	char domain[IDMAP_STRING_MAX];
	uint32_t id;

	if (rule) {
		size_t domain_len = at ? len - (size_t)(at + 1 - text) : 0;
		memcpy(domain, at ? at + 1 : text, domain_len);
		domain[domain_len] = '\0';
		if (domain_len > 0)
			learn_domain(domain);
		return rule->guest;
	}
	if (parse_number(text, len, &id))
		return idmap_to_guest(id, group);
	if (idmap.numeric_only || !idmap_others())
		return IDMAP_NOBODY;
	id = map_name(text, len, group);
	return id == IDMAP_NOBODY ? id : idmap_to_guest(id, group);
}

uid_t idmap_uid(const uint8_t *owner, size_t len)
{
	return map(owner, len, false);
}

gid_t idmap_gid(const uint8_t *group, size_t len)
{
	return map(group, len, true);
}

/* "name@domain", or the number for an id that has no name or when names are not in use. */
static size_t format(uint32_t id, const char *name, char out[IDMAP_STRING_MAX])
{
	int len = -1;

	if (name) {
		pthread_mutex_lock(&idmap.lock);
		len = snprintf(out, IDMAP_STRING_MAX, "%s@%s", name, idmap.domain);
		pthread_mutex_unlock(&idmap.lock);
	}
	if (len < 0 || len >= IDMAP_STRING_MAX)
		len = snprintf(out, IDMAP_STRING_MAX, "%u", id);
	return (size_t)len;
}

/* By the rule's name, or by what the guest's user database calls the server's number. */
static size_t name_or_number(uint32_t guest, bool group, char out[IDMAP_STRING_MAX])
{
	struct passwd user, *user_found = NULL;
	struct group entry, *group_found = NULL;
	bool names = atomic_load(&idmap.use_names);
	const char *owner = names ? idmap_owner_of(guest, group) : NULL;
	char buffer[NSS_BUFFER];
	uint32_t id;

	if (owner)
		return (size_t)snprintf(out, IDMAP_STRING_MAX, "%s", owner);
	idmap_to_server(guest, group, &id);
	if (names && group)
		getgrgid_r(id, &entry, buffer, sizeof(buffer), &group_found);
	else if (names)
		getpwuid_r(id, &user, buffer, sizeof(buffer), &user_found);
	return format(id,
		group_found  ? group_found->gr_name
		: user_found ? user_found->pw_name
			     : NULL,
		out);
}

size_t idmap_owner(uid_t uid, char out[IDMAP_STRING_MAX])
{
	return name_or_number(uid, false, out);
}

size_t idmap_group(gid_t gid, char out[IDMAP_STRING_MAX])
{
	return name_or_number(gid, true, out);
}

bool idmap_use_names(void)
{
	bool domain_known;

	pthread_mutex_lock(&idmap.lock);
	domain_known = idmap.domain[0] != '\0';
	pthread_mutex_unlock(&idmap.lock);
	if (idmap.numeric_only || !domain_known)
		return false;
	return !atomic_exchange(&idmap.use_names, true);
}
