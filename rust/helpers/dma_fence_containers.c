// SPDX-License-Identifier: GPL-2.0

#include <linux/dma-fence-array.h>
#include <linux/dma-fence-chain.h>

__rust_helper bool rust_helper_dma_fence_is_array(struct dma_fence *fence)
{
	return dma_fence_is_array(fence);
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
