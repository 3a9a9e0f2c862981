// SPDX-License-Identifier: GPL-2.0-only
/// The ops of a struct dma_fence are called with the lock of the fence held,
/// unless its struct dma_fence_ops has .unlocked_ops = true, and enable_signaling
/// even then. Find ops that take that lock, call something that takes it, sleep,
/// or forward to another fence; and code that holds the lock and polls, names or
/// publishes a fence. False positives may occur where a lock has the same name in
/// another structure, or a fence is known to have signaled.
///
// Confidence: Moderate
// Comments: An external lock is known by the name of its member if the file also
//	has the call of dma_fence_init(). Functions which an op or the holder of a
//	lock calls are looked into if they are in the same file, one level deep.
// Options: --no-includes --include-headers

virtual report

// What is called without the lock

@outside@
symbol true;
identifier s, fn;
identifier member = {get_driver_name, get_timeline_name, signaled, set_deadline};
position q;
@@

struct dma_fence_ops s = { ..., .unlocked_ops = true, ..., .member = fn@q, ... };

// What is called under the lock ...

@op@
identifier s, fn;
identifier member = {get_driver_name, get_timeline_name, signaled, set_deadline, enable_signaling};
position q != outside.q;
@@

struct dma_fence_ops s = { ..., .member = fn@q, ... };

// ... and must not take that of another, which enable_signaling of a container may

@forwarder@
identifier s, fn;
identifier member = {get_driver_name, get_timeline_name, signaled, set_deadline};
position q != outside.q;
@@

struct dma_fence_ops s = { ..., .member = fn@q, ... };

// Ops that take the lock, by whatever name

@self exists@
identifier op.fn, f;
identifier h = {dma_fence_lock_irqsave, dma_fence_is_signaled,
		dma_fence_signal, dma_fence_signal_timestamp,
		dma_fence_check_and_signal, dma_fence_set_deadline,
		dma_fence_driver_name, dma_fence_timeline_name,
		dma_fence_enable_signaling, dma_fence_add_callback,
		dma_fence_remove_callback, dma_fence_get_status,
		dma_fence_wait, dma_fence_wait_timeout,
		dma_fence_default_wait, dma_fence_describe};
position p;
@@

fn(struct dma_fence *f, ...)
{
	<+...
	h@p(f, ...)
	...+>
}

@helper exists@
identifier op.fn, f, g;
@@

fn(struct dma_fence *f, ...)
{
	<+...
	g(f, ...)
	...+>
}

@self_helper exists@
identifier helper.g, f;
identifier h = {dma_fence_lock_irqsave, dma_fence_is_signaled,
		dma_fence_signal, dma_fence_signal_timestamp,
		dma_fence_check_and_signal, dma_fence_set_deadline,
		dma_fence_driver_name, dma_fence_timeline_name,
		dma_fence_enable_signaling, dma_fence_add_callback,
		dma_fence_remove_callback, dma_fence_get_status,
		dma_fence_wait, dma_fence_wait_timeout,
		dma_fence_default_wait, dma_fence_describe};
position p;
@@

g(struct dma_fence *f, ...)
{
	<+...
	h@p(f, ...)
	...+>
}

@own_lock@
identifier op.s, lk;
identifier init = {dma_fence_init, dma_fence_init64};
expression E, x;
@@

init(x, &s, \(&E->lk\|&E.lk\), ...)

@self_lock exists@
identifier op.fn, own_lock.lk;
identifier lock = {spin_lock, spin_lock_bh, spin_lock_irq, spin_lock_irqsave};
expression E;
position p;
@@

fn(...)
{
	<+...
	lock@p(\(&E->lk\|&E.lk\), ...)
	...+>
}

// Ops that sleep

@sleeper exists@
identifier op.fn;
identifier h = {mutex_lock, mutex_lock_interruptible, mutex_lock_killable,
		down, down_read, down_write, ww_mutex_lock, dma_resv_lock,
		might_sleep, msleep, usleep_range, fsleep, ssleep, schedule,
		schedule_timeout, wait_for_completion,
		wait_for_completion_timeout, wait_event,
		wait_event_timeout, wait_event_interruptible, flush_work,
		flush_workqueue, flush_delayed_work, cancel_work_sync,
		cancel_delayed_work_sync, irq_work_sync, synchronize_rcu,
		synchronize_irq, pm_runtime_get_sync, clk_prepare_enable,
		copy_from_user, copy_to_user};
position p;
@@

fn(...)
{
	<+...
	h@p(...)
	...+>
}

@sleeper_gfp exists@
identifier op.fn, h;
position p;
@@

fn(...)
{
	<+...
	h@p(..., \(GFP_KERNEL\|GFP_KERNEL_ACCOUNT\), ...)
	...+>
}

// Ops that put the lock of their fence in front of that of another

@forward exists@
identifier forwarder.fn, f;
expression other;
identifier h = {dma_fence_is_signaled, dma_fence_signal,
		dma_fence_set_deadline, dma_fence_driver_name,
		dma_fence_timeline_name, dma_fence_add_callback,
		dma_fence_get_status};
position p != self.p;
@@

fn(struct dma_fence *f, ...)
{
	<+...
	h@p(other, ...)
	...+>
}

// Who holds the lock of a fence, and what must not be done then

@lock_of_fences@
identifier lk;
identifier init = {dma_fence_init, dma_fence_init64};
expression E, x, s;
@@

init(x, s, \(&E->lk\|&E.lk\), ...)

@holder exists@
identifier lock_of_fences.lk;
identifier lock = {spin_lock, spin_lock_bh, spin_lock_irq, spin_lock_irqsave};
identifier unlock = {spin_unlock, spin_unlock_bh, spin_unlock_irq,
		     spin_unlock_irqrestore};
identifier h = {dma_fence_is_signaled, dma_fence_signal,
		dma_fence_signal_timestamp, dma_fence_check_and_signal,
		dma_fence_set_deadline, dma_fence_driver_name,
		dma_fence_timeline_name, dma_fence_enable_signaling,
		dma_fence_add_callback, dma_fence_get_status,
		dma_fence_init, dma_fence_init64, dma_resv_add_fence,
		dma_resv_test_signaled, drm_syncobj_replace_fence,
		drm_syncobj_add_point, sync_file_create};
expression E;
position p;
@@

lock(\(&E->lk\|&E.lk\), ...)
... when != unlock(\(&E->lk\|&E.lk\), ...)
h@p(...)

@holder_fence exists@
identifier h = {dma_fence_is_signaled, dma_fence_signal,
		dma_fence_set_deadline, dma_fence_driver_name,
		dma_fence_timeline_name, dma_fence_add_callback,
		dma_fence_get_status, dma_fence_enable_signaling};
expression f;
position p;
@@

dma_fence_lock_irqsave(f, ...)
... when != dma_fence_unlock_irqrestore(f, ...)
h@p(f, ...)

@publisher exists@
identifier g;
identifier h = {dma_fence_is_signaled, dma_fence_set_deadline,
		dma_fence_driver_name, dma_fence_timeline_name,
		dma_fence_add_callback, dma_fence_get_status,
		dma_resv_add_fence, drm_syncobj_replace_fence,
		drm_syncobj_add_point, sync_file_create};
@@

g(...)
{
	<+...
	h(...)
	...+>
}

@holder_helper exists@
identifier lock_of_fences.lk, publisher.g;
identifier lock = {spin_lock, spin_lock_bh, spin_lock_irq, spin_lock_irqsave};
identifier unlock = {spin_unlock, spin_unlock_bh, spin_unlock_irq,
		     spin_unlock_irqrestore};
expression E;
position p;
@@

lock(\(&E->lk\|&E.lk\), ...)
... when != unlock(\(&E->lk\|&E.lk\), ...)
g@p(...)

@script:python depends on report@
fn << op.fn;
h << self.h;
p << self.p;
@@

coccilib.report.print_report(p[0], "ERROR: %s is called with the lock of its fence held, which %s takes" % (fn, h))

@script:python depends on report@
fn << op.fn;
g << helper.g;
h << self_helper.h;
p << self_helper.p;
@@

coccilib.report.print_report(p[0], "ERROR: %s is called by %s with the lock of its fence held, which %s takes" % (g, fn, h))

@script:python depends on report@
fn << op.fn;
lk << own_lock.lk;
p << self_lock.p;
@@

coccilib.report.print_report(p[0], "ERROR: %s is called with the lock of its fence held, which is %s" % (fn, lk))

@script:python depends on report@
fn << op.fn;
h << sleeper.h;
p << sleeper.p;
@@

coccilib.report.print_report(p[0], "ERROR: %s is called with the lock of its fence held, and %s sleeps" % (fn, h))

@script:python depends on report@
fn << op.fn;
h << sleeper_gfp.h;
p << sleeper_gfp.p;
@@

coccilib.report.print_report(p[0], "ERROR: %s is called with the lock of its fence held, and %s sleeps" % (fn, h))

@script:python depends on report@
fn << forwarder.fn;
h << forward.h;
p << forward.p;
@@

coccilib.report.print_report(p[0], "WARNING: %s is called with the lock of its fence held, and %s takes that of another" % (fn, h))

@script:python depends on report@
lk << lock_of_fences.lk;
h << holder.h;
p << holder.p;
@@

coccilib.report.print_report(p[0], "ERROR: %s must not be called with %s held, which is the lock of fences" % (h, lk))

@script:python depends on report@
h << holder_fence.h;
p << holder_fence.p;
@@

coccilib.report.print_report(p[0], "ERROR: %s takes the lock of the fence, which is held" % h)

@script:python depends on report@
lk << lock_of_fences.lk;
g << publisher.g;
p << holder_helper.p;
@@

coccilib.report.print_report(p[0], "ERROR: %s must not be called with %s held, which is the lock of fences" % (g, lk))
