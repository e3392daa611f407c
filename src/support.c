/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "support.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "options.h"

#define SUPPORT_KNOWN 0x80u

struct support_table {
	_Atomic uint8_t has[UINT16_MAX + 1]; /* by node.fsid */
};

unsigned support_possible(const struct options *options, unsigned minor)
{
	unsigned possible = options->acl ? SUPPORT_ACL | SUPPORT_DACL | SUPPORT_SACL : 0;
	if (options->acl && minor >= 2)
		possible |= SUPPORT_POSIX;
	if (options->xattr && minor >= 2)
		possible |= SUPPORT_XATTR | SUPPORT_LABEL;
	return possible;
}

int support_table_new(struct support_table **table)
{
	*table = calloc(1, sizeof(**table));
	return *table ? 0 : -ENOMEM;
}

void support_table_free(struct support_table *table)
{
	free(table);
}

void support_want(struct nfs_bitmap *want)
{
	nfs_bitmap_set(want, FATTR4_SUPPORTED_ATTRS);
	nfs_bitmap_set(want, FATTR4_ACLSUPPORT);
	nfs_bitmap_set(want, FATTR4_XATTR_SUPPORT);
}

void support_put(struct support_table *table, uint16_t fsid, const struct nfs_fsattr *fs)
{
	unsigned has = SUPPORT_KNOWN;
	if (fs->xattr_support)
		has |= SUPPORT_XATTR;
	if (nfs_bitmap_has(&fs->supported, FATTR4_SEC_LABEL))
		has |= SUPPORT_LABEL;
	if (nfs_bitmap_has(&fs->supported, FATTR4_ACL) && (fs->aclsupport & ACL4_SUPPORT_ALLOW_ACL))
		has |= SUPPORT_ACL;
	if (nfs_bitmap_has(&fs->supported, FATTR4_DACL))
		has |= SUPPORT_DACL;
	if (nfs_bitmap_has(&fs->supported, FATTR4_SACL))
		has |= SUPPORT_SACL;
	if (nfs_bitmap_has(&fs->supported, FATTR4_POSIX_ACCESS_ACL) &&
		nfs_bitmap_has(&fs->supported, FATTR4_POSIX_DEFAULT_ACL))
		has |= SUPPORT_POSIX;
	atomic_store(&table->has[fsid], (uint8_t)has);
}

bool support_get(struct support_table *table, uint16_t fsid, unsigned *has)
{
	*has = atomic_load(&table->has[fsid]);
	return *has & SUPPORT_KNOWN;
}
