// SPDX-License-Identifier: GPL-2.0
/*
 * A module with a mistake in it, to see that a kernel which watches for that
 * kind of mistake notices: make sanitize loads it at the very end, and wants a
 * report.
 */

#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>

static char *mistake = "";
module_param(mistake, charp, 0444);
MODULE_PARM_DESC(mistake, "use-after-free, data-race, deadlock or leak");

/* Makes the compiler believe that memory is used. */
static noinline void use(char *memory)
{
	OPTIMIZER_HIDE_VAR(memory);
	memory[0]++;
}

static int planted_use_after_free(void)
{
	char *memory = kzalloc(64, GFP_KERNEL);

	if (!memory)
		return -ENOMEM;
	kfree(memory);
	use(memory);
	return 0;
}

static int planted_leak(void)
{
	int i;

	/* The address of one or the other may still be on some stack. */
	for (i = 0; i < 16; i++) {
		char *memory = kzalloc(64, GFP_KERNEL);

		if (!memory)
			return -ENOMEM;
		use(memory);
	}
	return 0;
}

static DEFINE_SPINLOCK(one);
static DEFINE_SPINLOCK(other);

/* Nothing blocks here, but it would if two did this at the same time. */
static int planted_deadlock(void)
{
	spin_lock(&one);
	spin_lock(&other);
	spin_unlock(&other);
	spin_unlock(&one);

	spin_lock(&other);
	spin_lock(&one);
	spin_unlock(&one);
	spin_unlock(&other);
	return 0;
}

static long shared;

static noinline void planted_data_race(void)
{
	int i;

	for (i = 0; i < 1000; i++) {
		shared += i;
		barrier();
	}
}

static int racer(void *unused)
{
	while (!kthread_should_stop()) {
		planted_data_race();
		cond_resched();
	}
	return 0;
}

static int planted_data_races(void)
{
	unsigned long end = jiffies + 5 * HZ;
	struct task_struct *task = kthread_run(racer, NULL, "planted");

	if (IS_ERR(task))
		return PTR_ERR(task);
	while (time_before(jiffies, end)) {
		planted_data_race();
		cond_resched();
	}
	kthread_stop(task);
	return 0;
}

static int __init planted_init(void)
{
	if (!strcmp(mistake, "use-after-free"))
		return planted_use_after_free();
	if (!strcmp(mistake, "data-race"))
		return planted_data_races();
	if (!strcmp(mistake, "deadlock"))
		return planted_deadlock();
	if (!strcmp(mistake, "leak"))
		return planted_leak();
	return -EINVAL;
}
module_init(planted_init);

static void __exit planted_exit(void)
{
}
module_exit(planted_exit);

MODULE_DESCRIPTION("A mistake for sanitizers to find");
MODULE_LICENSE("GPL");
