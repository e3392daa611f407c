#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# install_helpers.sh BINDIR SBINDIR: run by meson install. Links the names under which mount(8)
# looks for the helpers of the types vsockfs and fuse.vsockfs to the program.
set -e
mkdir -p "$DESTDIR$2"
for name in mount.vsockfs mount.fuse.vsockfs; do
	ln -sf "$1/vsockfs" "$DESTDIR$2/$name"
done
