// SPDX-License-Identifier: GPL-2.0-only
/*
 * What other modules call in library.rs.
 */
#include <linux/export.h>

void fence_library_count_poll(void);
EXPORT_SYMBOL_GPL(fence_library_count_poll);
