// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>

MODULE_DESCRIPTION("A module that does nothing, for tests");
MODULE_LICENSE("GPL");
MODULE_VERSION("1.0");
