// SPDX-License-Identifier: GPL-2.0
// Breaks as NVIDIA's open driver 550 does on Debian 13's newest kernels: a function of the kernel got one argument more.
#include <linux/module.h>

static int broken_resize(int resource, int size, int exclude)
{
	return resource + size + exclude;
}

static int __init broken_init(void)
{
	return broken_resize(1, 2);
}

module_init(broken_init);
MODULE_DESCRIPTION("A module that does not compile, for tests");
MODULE_LICENSE("GPL");
