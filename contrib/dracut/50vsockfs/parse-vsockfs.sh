#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# root=vsockfs:SOURCE is a root that will be found.

# shellcheck disable=SC2154 # dracut's
if [ "${root%%:*}" = vsockfs ]; then
	# shellcheck disable=SC2034 # for dracut
	rootok=1
fi
