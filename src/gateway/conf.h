/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VSOCKFS_GATEWAY_CONF_H
#define VSOCKFS_GATEWAY_CONF_H

#include <stdint.h>
#include <stdio.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "gateway/inet.h"
#include "gateway/name.h"
#include "gateway/text.h"

/*
 * What /etc/vsockfs/gateway.conf says: the guests that may connect, the address from which the
 * server sees each of them, and their limits. vsockfs-gateway(8) describes the file.
 */

#define CONF_FILE	 "/etc/vsockfs/gateway.conf"
#define CONF_PORT_LOWEST 1024 /* of those that any user may have */

/* From what port a guest's connection reaches the server. */
enum conf_ports {
	CONF_PORTS_SAME,     /* reserved when the guest's is; a Unix socket has none */
	CONF_PORTS_RESERVED, /* always reserved */
	CONF_PORTS_REQUIRE,  /* reserved, and the guest's must be */
};

struct conf_limits {
	uint32_t connections; /* at once */
	uint32_t connects;    /* new ones in a second, on average */
	uint32_t calls;	      /* in a second, on average; 0: no limit */
	uint64_t rate;	      /* bytes in a second, both ways together; 0: no limit */
	uint64_t idle;	      /* ns without a byte until a connection ends; 0: no limit */
};

struct conf_rule {
	struct name name;
	struct inet address; /* AF_UNSPEC for vsock:*, whose guests take theirs from the prefix */
	enum conf_ports ports;
	struct conf_limits limits;
	uid_t owner; /* of a hypervisor's socket */
	gid_t group; /* (gid_t)-1: the socket is the owner's alone */
	TAILQ_ENTRY(conf_rule) entry;
};

TAILQ_HEAD(conf_rules, conf_rule);

struct conf {
	struct inet server4, server6; /* the NFS server's addresses */
	uint16_t server4_port, server6_port;
	uint32_t port;		/* of the vsock listener, and behind hypervisors' sockets */
	struct inet_net prefix; /* AF_UNSPEC when there is none */
	uint32_t total;		/* connections of all guests at once */
	uint32_t share;		/* calls in a second beside other guests; 0: no limit */
	uint64_t wait;		/* ns for which a new connection waits for a server that is away */
	uint64_t drain;		/* ns for replies that are under way at the end */
	struct conf_rules rules;
};

/*
 * Reads the file into *conf. The number of complaints written to `errors`: with any, *conf is
 * NULL. -ENOENT (among others) from opening the file is one complaint too.
 */
unsigned conf_read(const char *name, FILE *errors, struct conf **conf);
/* The same from a text that is open. */
unsigned conf_parse(struct text *text, struct conf **conf);
void conf_free(struct conf *conf);

/* The rule for this guest, NULL for none. A rule of its own comes before vsock:*. */
const struct conf_rule *conf_find(const struct conf *conf, const struct name *guest);
/*
 * The address from which the server sees this guest. False when it has none: no rule names it, or
 * its CID does not fit into the prefix.
 */
bool conf_address(const struct conf *conf, const struct name *guest, struct inet *address);

#endif
