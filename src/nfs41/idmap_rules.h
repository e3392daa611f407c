/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_NFS41_IDMAP_RULES_H
#define VSOCKFS_NFS41_IDMAP_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * -o idmap=: which id of the guest is which of the server. The rules hold both ways: for owners
 * that the server names, owners that programs set, and the credentials that are sent. Without any
 * each id is itself.
 */

#define IDMAP_RULES_MAX 4096

struct idmap_rule {
	bool group, numbered; /* `server` counts */
	uint32_t guest, server;
	char *owner; /* what the server says instead of a number, "name@domain", or NULL */
};

/*
 * Takes the rules, once, before anybody asks. `others`: who has none is himself, if that is not one
 * side of a rule; else nobody. 0, -EEXIST when the rules contradict each other (*at is the index of
 * one that does), or -ENOMEM.
 */
int idmap_set_rules(struct idmap_rule *rules_take, size_t count, bool others, size_t *at);
void idmap_free_rules(struct idmap_rule *rules, size_t count);

/* What the guest's id is at the server. False: nobody. */
bool idmap_to_server(uint32_t guest, bool group, uint32_t *server);
/* And back. */
uint32_t idmap_to_guest(uint32_t server, bool group);

/* The rule for an owner string, or NULL. */
const struct idmap_rule *idmap_find_owner(const uint8_t *text, size_t len, bool group);
/* The string by which the server knows the guest's id, or NULL. */
const char *idmap_owner_of(uint32_t guest, bool group);
/* False: a name without a rule is nobody's, whatever the guest's user database says. */
bool idmap_others(void);

#endif
