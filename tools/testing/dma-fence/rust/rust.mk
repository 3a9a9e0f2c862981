# SPDX-License-Identifier: GPL-2.0
#
# explore-rust: scenarios for the kernel crate. KBUILD= names where kbuild has built a
# kernel for User-mode Linux without lock debugging, of which rust/ is enough.
#
# The crate is compiled by the command that kbuild has recorded, with LLVM's pass added
# that tells the engine of each access to memory.
#
# RUST_KERNEL=  rust/kernel of the sources that are compiled (those that kbuild has compiled)
# RUST=         where to compile it, which may be the same for RT=1 and without (rust/ of O=)

ifeq ($(wildcard $(KBUILD)/rust/.kernel.o.cmd),)
$(error $(KBUILD) has no rust/kernel.o: KBUILD= must name where kbuild has built it with ARCH=um)
endif
include $(KBUILD)/rust/.kernel.o.cmd

RUST ?= $(abspath $(O))/rust
RUST_INSTRUMENTED := -Cpasses="tsan-module tsan" -Cllvm-args=-force-attribute=sanitize_thread \
	-Cllvm-args=-tsan-distinguish-volatile -Copt-level=1 -g
# Of what has not changed since the last time nothing is compiled again.
INCREMENTAL = -Ccodegen-units=64 -Cincremental=$(RUST)/incremental
recorded := $(filter-out --emit=% -Ccodegen-units=%,$(savedcmd_rust/kernel.o))
crate_root := $(filter %/rust/kernel/lib.rs,$(recorded))
# What compiles another crate in the same way, against the instrumented one.
driver := $(filter-out --crate-type rlib --crate-name kernel --extern ffi pin_init build_error \
	macros bindings uapi zerocopy zerocopy_derive $(crate_root),$(recorded))

RUST_KERNEL ?= $(patsubst %/lib.rs,%,$(crate_root))
recorded := $(patsubst $(crate_root),$(RUST_KERNEL)/lib.rs,$(recorded))
rust_sources := $(wildcard rust/*.rs)
rust_helpers := dma_fence.c dma_fence_more.c dma_fence_containers.c
rust_objects := $(RUST)/libexplore.rlib $(RUST)/libkernel.rlib \
	$(addprefix $(KBUILD)/rust/,core.o compiler_builtins.o pin_init.o ffi.o bindings.o)

all: $(O)/explore-rust

run-rust: $(O)/explore-rust
	$(O)/explore-rust --jobs=$$(nproc)

$(RUST)/libkernel.rlib: $(KBUILD)/rust/kernel.o rust/rust.mk \
	$(wildcard $(RUST_KERNEL)/*.rs $(RUST_KERNEL)/*/*.rs $(RUST_KERNEL)/*/*/*.rs)
	@mkdir -p $(@D)
	cd $(KBUILD) && RUSTC_BOOTSTRAP=1 $(recorded) --emit=link=$@ $(RUST_INSTRUMENTED) $(INCREMENTAL)
	@objcopy $(SECTIONS) $@

$(RUST)/libexplore.rlib: $(RUST)/libkernel.rlib $(rust_sources)
	cd $(KBUILD) && RUSTC_BOOTSTRAP=1 $(driver) -Amissing_docs -Aunreachable_pub -Aclippy::all \
		--crate-type rlib --crate-name explore --extern pin_init \
		--extern kernel=$(RUST)/libkernel.rlib --emit=link=$@ $(RUST_INSTRUMENTED) \
		$(INCREMENTAL) $(abspath rust/explore.rs)
	@objcopy $(SECTIONS) $@

$(O)/rust/%.o: $(SRCTREE)/rust/helpers/%.c $(O)/include/made
	@mkdir -p $(@D)
	$(CC) $(INSTRUMENTED) -D__rust_helper= -Werror=implicit-function-declaration -c -o $@ $<

$(O)/rust/shim.o: shim/rust.c $(O)/include/made
	@mkdir -p $(@D)
	$(CC) $(FLAGS) -c -o $@ $<

$(O)/explore-rust: $(engine) $(tested) $(rust_objects) $(O)/rust/shim.o \
		$(patsubst %.c,$(O)/rust/%.o,$(rust_helpers))
	$(CC) -no-pie -Wl,--unresolved-symbols=ignore-all -Wl,-z,noexecstack -o $@ -Wl,--whole-archive \
		$(filter %/libexplore.rlib,$^) -Wl,--no-whole-archive -Wl,--start-group \
		$(filter-out %/libexplore.rlib,$^) -Wl,--end-group
