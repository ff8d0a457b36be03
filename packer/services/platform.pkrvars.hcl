# SPDX-License-Identifier: GPL-3.0-or-later
# The layer below: the lock's kernel and driver, nothing else. Services are built on its image, with pair_below.

family = "platform"
roles  = []
