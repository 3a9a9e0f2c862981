/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the benchmark of DMA fences share.
 */

#ifndef __DMA_FENCE_BENCH_H
#define __DMA_FENCE_BENCH_H

#include <linux/kconfig.h>
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/types.h>

struct dma_fence;
struct kunit;

/* Two to the power of this many buckets for each power of two. */
#define BENCH_BUCKET_BITS	5
#define BENCH_NUM_BUCKETS	(40 << BENCH_BUCKET_BITS)

/* How often something has taken how many nanoseconds. */
struct dma_fence_bench_histogram {
	atomic_t buckets[BENCH_NUM_BUCKETS];
};

static inline void
dma_fence_bench_count(struct dma_fence_bench_histogram *histogram, u64 ns)
{
	unsigned int bucket = ns;

	if (ns >> BENCH_BUCKET_BITS) {
		unsigned int order = ilog2(ns) - BENCH_BUCKET_BITS;

		bucket = (order << BENCH_BUCKET_BITS) + (ns >> order);
	}
	atomic_inc(&histogram->buckets[min(bucket, BENCH_NUM_BUCKETS - 1)]);
}

/* Prints the histogram, and clears it. */
void dma_fence_bench_print(struct dma_fence_bench_histogram *histogram,
			   const char *what, const char *mode, const char *side);

/* For either language: the code between these two is measured. */
void dma_fence_bench_begin(void);
void dma_fence_bench_end(unsigned int iterations);

/* The time in nanoseconds. */
u64 dma_fence_bench_now(void);

/* A payload is gone, whose fence was told to signal at the time given. */
void dma_fence_bench_destroyed(u64 signaled);
void dma_fence_bench_watch(struct dma_fence_bench_histogram *destroyed);

/* Has other CPUs poll a fence all the time. */
int dma_fence_bench_pollers_start(unsigned int count);
void dma_fence_bench_poll(struct dma_fence *fence);
void dma_fence_bench_pollers_stop(void);

/* A stream of jobs, and what its fences carry: a job is done, its buffer is freed. */
void dma_fence_bench_stream(struct kunit *test, unsigned int rounds, unsigned int milliseconds);
bool dma_fence_bench_stream_is_done(u64 number);
void dma_fence_bench_stream_deadline(void);
void dma_fence_bench_stream_free(u64 since);

/* In Rust. */
int dma_fence_bench_rust_create(unsigned int param, unsigned int n);
int dma_fence_bench_rust_signal(unsigned int param, unsigned int n);
int dma_fence_bench_rust_test(unsigned int param, unsigned int n);
int dma_fence_bench_rust_poll_no_op(unsigned int param, unsigned int n);
int dma_fence_bench_rust_poll(unsigned int param, unsigned int n);
int dma_fence_bench_rust_signal_polled(unsigned int param, unsigned int n);
int dma_fence_bench_rust_callbacks(unsigned int param, unsigned int n);
int dma_fence_bench_rust_timeline(unsigned int param, unsigned int n);
int dma_fence_bench_rust_latency(unsigned int param, unsigned int n);
int dma_fence_bench_rust_size(unsigned int param, unsigned int n);

struct dma_fence *dma_fence_bench_rust_issue(u64 number);
void dma_fence_bench_rust_signal_at(struct dma_fence *fence, u64 now);

/* Prints how much memory a fence takes. */
void dma_fence_bench_size(struct dma_fence *fence, unsigned int payload);

#endif /* __DMA_FENCE_BENCH_H */
