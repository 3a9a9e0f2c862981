# SPDX-License-Identifier: GPL-2.0
#
# The one entry point. Everything is done by harness/ (python3 -m harness TARGET), which leaves the
# real work to apt, git, kbuild, kunit.py and QEMU. `make` or `make help` lists the targets.

TARGETS := setup run frames test demo explore races sanitize fuzz drivers igt litmus audit mutants bench evidence docs series check \
	   format shell menuconfig rust-analyzer clean distclean

export BASE KDIR LLVM JOBS ARCH SERIES CACHE ROUNDS ONLY BOUND REPLAY SECONDS SEED QUICK PAGE BUILD GCC
# Not V: kbuild would take it from the environment of everything below.
export HARNESS_VERBOSE := $(V)
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help $(TARGETS)
.NOTPARALLEL:

help:
	@python3 -m harness help

$(TARGETS):
	@python3 -m harness $@
