// SPDX-License-Identifier: GPL-2.0-only
/*
 * How histograms of the benchmark of DMA fences are printed, for a script.
 */

#define pr_fmt(fmt) "dma_fence_bench: " fmt

#include <linux/atomic.h>
#include <linux/printk.h>
#include <linux/sprintf.h>

#include "dma-fence-bench.h"

void dma_fence_bench_print(struct dma_fence_bench_histogram *histogram,
			   const char *what, const char *mode, const char *side)
{
	char line[512];
	size_t length = 0;
	unsigned int i;

	for (i = 0; i < BENCH_NUM_BUCKETS; i++) {
		int count = atomic_xchg(&histogram->buckets[i], 0);
		unsigned int order = i >> BENCH_BUCKET_BITS;
		u64 ns = i;

		if (!count)
			continue;
		if (order > 1)
			ns = (u64)(i - ((order - 1) << BENCH_BUCKET_BITS)) << (order - 1);
		length += scnprintf(line + length, sizeof(line) - length, " %llu:%d", ns, count);
		if (length > sizeof(line) - 40) {
			pr_info("histogram %s %s %s%s\n", what, mode, side, line);
			length = 0;
		}
	}
	if (length)
		pr_info("histogram %s %s %s%s\n", what, mode, side, line);
}
