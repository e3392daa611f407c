/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nfs41/client_priv.h"
#include "nfs41/error.h"

/* A start that failed, told to whoever typed the command: what is wrong, and what to do. */

static const char *why_nothing_listens(const struct nfs_client *client)
{
	if (client->config.address.proto == ADDRESS_VSOCK)
		return "nothing listens there: is the NFS server running, and does it serve vsock?";
	return "nothing listens there: is the NFS server running?";
}

static const char *why_no_vsock(const struct nfs_client *client)
{
	if (client->config.address.proto != ADDRESS_VSOCK)
		return NULL;
	return "no vsock device reaches that CID: give the machine one (QEMU: -device "
	       "vhost-vsock-pci,guest-cid=...), or load its module "
	       "(vmw_vsock_virtio_transport, vsock_loopback)";
}

/* The connection could not be made. NULL: the errno's own words will do. */
static const char *why_not_connected(const struct nfs_client *client, int err)
{
	switch (-err) {
	case ECONNREFUSED:
	case ECONNRESET: return why_nothing_listens(client);
	case ENOENT: return "no such socket: is the server, or the virtual machine, running?";
	case ENODEV:
	case EAFNOSUPPORT:
	case EADDRNOTAVAIL: return why_no_vsock(client);
	case ENETUNREACH:
	case EHOSTUNREACH: return "there is no way to that address";
	case EACCES:
	case EPERM:
		return client->config.stream.reserved_port ? "no right to use a port below 1024: "
							     "try -o noresvport (the export then "
							     "needs \"insecure\"), or be root"
							   : "no permission to connect to it";
	case EADDRINUSE: return "no port below 1024 is free: try -o noresvport";
	case ETIMEDOUT: return "no answer to the connection: is the address right?";
	default: return NULL;
	}
}

static const char *why_not_served(const struct nfs_client *client, int err)
{
	switch (-err) {
	case EPROTONOSUPPORT:
		return "the server does not speak the NFS version asked for (NFSv4.1 or 4.2 is "
		       "needed): enable it there, or try another vers=";
	case EPROTO: return "what answers there is not an NFSv4.1 server";
	case EKEYEXPIRED: return "the Kerberos ticket has expired";
	case EACCES:
	case EPERM:
		if (rpc_sec_is_gss(rpc_cred_gss(client->config.cred)))
			return "access denied: is there a ticket for the server (gsshost=) or a "
			       "key to get one, and does the export allow its sec=?";
		return "access denied by the server: does the export name this client, and allow "
		       "its sec= and its port (\"insecure\")?";
	case ECONNRESET: return "the server closed the connection: does it know this client?";
	case ETIMEDOUT: return "the server does not answer";
	default: return NULL;
	}
}

int client_why(struct nfs_client *client)
{
	const struct recovery *r = &client->recovery;
	int err = r->status > 0 ? nfs_error_errno((uint32_t)r->status) : r->status;
	const char *words = client->insecure[0]	     ? client->insecure
			    : client->connected_once ? why_not_served(client, err)
						     : why_not_connected(client, err);
	const char *name = r->status > 0 ? nfs_error_name((uint32_t)r->status) : NULL;
	if (words && name)
		snprintf(
			client->why, sizeof(client->why), "%s: %s (%s)", client->peer, words, name);
	else if (words || !name)
		snprintf(client->why, sizeof(client->why), "%s: %s", client->peer,
			words ? words : strerror(-err));
	else
		snprintf(client->why, sizeof(client->why), "%s: the server refuses a session: %s",
			client->peer, name);
	return err;
}
