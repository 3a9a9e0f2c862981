// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fences of vgem, as they are: user space attaches one to a buffer and signals it, or a
 * timer does. The timer has no reference, and is deleted with the last one.
 */
#include "../world.h"
#include "drivers.h"

#define PROMISE "must be signaled in time, or the fence will expire"
#define PROMISE_LAST "the timer does not outlive the fence"

struct vgem_file {
	struct idr fence_idr;
	struct mutex fence_mutex; /* for the above */
};

int vgem_fence_open(struct vgem_file *file);
int vgem_fence_attach_ioctl(struct drm_device *dev, void *data, struct drm_file *file);
int vgem_fence_signal_ioctl(struct drm_device *dev, void *data, struct drm_file *file);
void vgem_fence_close(struct vgem_file *file);

/*
 * The timer runs with interrupts disabled on PREEMPT_RT, too, and takes the lock of the fence,
 * which may sleep there.
 */
#define SLEEPS_ON_RT .rt = "takes a lock that may sleep"

static struct vgem_file vfile;
static struct dma_resv resv;
static struct drm_gem_object object = { &resv };
static struct drm_file file = { &vfile, &object };
static struct dma_fence *fence; /* that of the buffer, with a reference of its own */
static u32 id;

static int attach(u32 *number)
{
	struct drm_vgem_fence_attach arg = { .flags = VGEM_FENCE_WRITE };
	int ret = vgem_fence_attach_ioctl(NULL, &arg, &file);

	*number = arg.out_fence;
	return ret;
}

static void setup_none(void)
{
	vgem_fence_open(&vfile);
}

static void setup(void)
{
	setup_none();
	explore_assert(!attach(&id), "a fence cannot be attached");
	fence = dma_fence_get(resv.fence);
}

static int signal(u32 number)
{
	struct drm_vgem_fence_signal arg = { .fence = number };

	return vgem_fence_signal_ioctl(NULL, &arg, &file);
}

static void signaler(void)
{
	int ret = signal(id);

	explore_assert(!ret || ret == -ETIMEDOUT,
		       "the fence that was attached is not there, but %d", ret);
	explore_assert(dma_fence_test_signaled_flag(fence), "the fence was signaled, but has not");
}

/* Of two who signal one finds nothing. */
static int found[2];

static void first_signaler(void)
{
	found[0] = signal(id);
}
static void second_signaler(void)
{
	found[1] = signal(id);
}

static void put_buffer(void)
{
	dma_fence_put(resv.fence);
	RCU_INIT_POINTER(resv.fence, NULL);
}

static void closer(void)
{
	vgem_fence_close(&vfile);
}

static void check(void)
{
	if (fence)
		explore_assert(dma_fence_test_signaled_flag(fence),
			       "nobody has signaled the fence");
	put_buffer();
	dma_fence_put(fence);
}

static void check_close(void)
{
	closer();
	check();
}

static void check_two(void)
{
	explore_assert((found[0] == -ENOENT) != (found[1] == -ENOENT),
		       "two who signal find %d and %d", found[0], found[1]);
	check_close();
}

static void expires(void)
{
	shim_timer_expires();
}

static void waiter(void)
{
	explore_assert(!dma_fence_wait(fence, false), "a wait has ended otherwise");
	explore_assert(dma_fence_test_signaled_flag(fence), "a wait has ended too early");
}

/* A fence is attached while the timer is at work, and signaled or not. */
static void attacher(void)
{
	explore_assert(!attach(&id), "a fence cannot be attached");
	fence = dma_fence_get(resv.fence);
}

static void attacher_signals(void)
{
	attacher();
	signaler();
}

static void check_attached(void)
{
	check_close();
}

/* The buffer has a fence already, so that another one is signaled and put at once. */
static void attacher_of_second(void)
{
	u32 second;
	int ret = attach(&second);

	explore_assert(ret == -EBUSY || (!ret && dma_fence_test_signaled_flag(fence)),
		       "a second fence was attached, with %d", ret);
}

static void check_busy(void)
{
	dma_fence_signal(fence);
	check_close();
}

/* Nobody but who has signaled it, and the buffer, has a reference. */
static void setup_signaled(void)
{
	setup();
	dma_fence_put(fence);
	fence = NULL;
	signal(id);
}

static void setup_no_buffer(void)
{
	setup();
	dma_fence_put(fence);
	fence = NULL;
	put_buffer();
}

static void signaler_puts(void)
{
	int ret = signal(id);

	explore_assert(!ret || ret == -ETIMEDOUT,
		       "the fence that was attached is not there, but %d", ret);
}

static struct dma_fence_cb cb;

static void put_by_callback(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	dma_fence_put(fence);
}

static void setup_callback(void)
{
	setup();
	dma_fence_add_callback(fence, &cb, put_by_callback);
	fence = NULL;
	put_buffer();
}

SCENARIOS(vgem) = {
	{ "vgem/signal", PROMISE, setup, { signaler, expires }, check_close, SLEEPS_ON_RT },
	{ "vgem/signal/irq",
	  PROMISE,
	  setup,
	  { signaler, expires },
	  check_close,
	  SLEEPS_ON_RT,
	  .irq = true },
	{ "vgem/signal/two", PROMISE, setup, { first_signaler, second_signaler }, check_two },
	{ "vgem/signal/three",
	  PROMISE,
	  setup,
	  { first_signaler, second_signaler, expires },
	  check_two,
	  SLEEPS_ON_RT },
	{ "vgem/wait", PROMISE, setup, { waiter, signaler }, check_close },
	{ "vgem/wait/timer", PROMISE, setup, { waiter, expires }, check_close, SLEEPS_ON_RT },
	{ "vgem/wait/irq",
	  PROMISE,
	  setup,
	  { waiter, expires },
	  check_close,
	  SLEEPS_ON_RT,
	  .irq = true },
	{ "vgem/wait/both",
	  PROMISE,
	  setup,
	  { waiter, signaler, expires },
	  check_close,
	  SLEEPS_ON_RT },
	{ "vgem/close", PROMISE, setup, { closer, expires }, check, SLEEPS_ON_RT },
	{ "vgem/close/irq", PROMISE, setup, { closer, expires }, check, SLEEPS_ON_RT, .irq = true },
	{ "vgem/attach",
	  PROMISE,
	  setup_none,
	  { attacher_signals, expires },
	  check_attached,
	  SLEEPS_ON_RT },
	{ "vgem/attach/irq",
	  PROMISE,
	  setup_none,
	  { attacher_signals, expires },
	  check_attached,
	  SLEEPS_ON_RT,
	  .irq = true },
	{ "vgem/attach/busy", PROMISE, setup, { attacher_of_second, signaler }, check_close },
	{ "vgem/attach/busy_timer",
	  PROMISE,
	  setup,
	  { attacher_of_second, expires },
	  check_busy,
	  SLEEPS_ON_RT },
	{ "vgem/last_reference",
	  PROMISE_LAST,
	  setup_no_buffer,
	  { signaler_puts, expires },
	  closer,
	  SLEEPS_ON_RT },
	{ "vgem/last_reference/irq",
	  PROMISE_LAST,
	  setup_no_buffer,
	  { signaler_puts, expires },
	  closer,
	  SLEEPS_ON_RT,
	  .irq = true },
	{ "vgem/last_reference/signaled",
	  PROMISE_LAST,
	  setup_signaled,
	  { put_buffer, expires },
	  closer,
	  SLEEPS_ON_RT },
	{ "vgem/last_reference/close",
	  PROMISE_LAST,
	  setup_no_buffer,
	  { closer, expires },
	  NULL,
	  SLEEPS_ON_RT },
	{ "vgem/last_reference/callback",
	  PROMISE_LAST,
	  setup_callback,
	  { signaler_puts, expires },
	  closer,
	  SLEEPS_ON_RT },
	{}
};
