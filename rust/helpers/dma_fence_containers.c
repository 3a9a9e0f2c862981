// SPDX-License-Identifier: GPL-2.0

#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>

__rust_helper bool rust_helper_dma_fence_is_array(struct dma_fence *fence)
{
	return dma_fence_is_array(fence);
}

/*
 * As dma_fence_array_init(), for an array that signals with the first of its
 * fences. The core has no function for that any more, but still allows for it.
 * Whatever signals an array does so when num_pending gets to zero, or finds that
 * it would:
 *
 * - A callback subtracts one. Only the one that hits zero signals the array, so
 *   later ones, which get below that, do not.
 * - The enable_signaling op subtracts one for a fence that it finds signaled, and
 *   signals the array if that hits zero. If a callback was faster, it is that
 *   one's to do.
 * - The signaled op takes zero or less for an answer once signaling is enabled.
 *   Before, it counts down from this in a copy, and stops at zero.
 *
 * So that is with the first fence if this starts at one. Each callback still has
 * its own reference to the array, which nobody else knows of so far.
 */
__rust_helper void rust_helper_dma_fence_array_init_any(struct dma_fence_array *array,
							int num_fences,
							struct dma_fence **fences,
							u64 context,
							unsigned int seqno)
{
	dma_fence_array_init(array, num_fences, fences, context, seqno);
	atomic_set(&array->num_pending, 1);
}

__rust_helper bool rust_helper_dma_fence_is_chain(struct dma_fence *fence)
{
	return dma_fence_is_chain(fence);
}

__rust_helper bool rust_helper_dma_fence_is_container(struct dma_fence *fence)
{
	return dma_fence_is_container(fence);
}

__rust_helper struct dma_fence_chain *rust_helper_dma_fence_chain_alloc(void)
{
	return dma_fence_chain_alloc();
}

__rust_helper void rust_helper_dma_fence_chain_free(struct dma_fence_chain *chain)
{
	dma_fence_chain_free(chain);
}
