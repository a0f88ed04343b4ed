# Tests that run on the host: `make test-host`. Included by staff.mk.
#
# A program is a word in HOST_TESTS (cmocka, or anything else whose exit status tells), built by gcc from
# test/host/NAME.c, or in HOST_FUZZ (libFuzzer), built by clang; and for each, as far as needed:
#     NAME_SRCS     the code under test, and its helpers: compiled as the kernel is, freestanding, with
#                   lib's memset and so on (rename.h)
#     NAME_HELPERS  further parts of the test: compiled as the test itself is
#     NAME_LIBS     further arguments for the linker
#     NAME_FLAGS    further flags for all of the program, such as -DLAB=2
#     NAME_ARGS     arguments, when it runs; libFuzzer: further options
#     NAME_SEEDS    libFuzzer: files to start from
#     NAME_RUNS     libFuzzer: how many inputs to try
# AddressSanitizer and UBSan watch all of them, and the first finding ends the run.

O ?= obj
HOST_O := $(O)/host
HOSTCC ?= gcc
CLANG ?= clang
DTC ?= dtc

HOST_TESTS += test_string test_printf test_fdt
HOST_FUZZ += fuzz_fdt

library_FLAGS := -DLAB=6 # as much of it as there is
test_string_SRCS := lib/string.c lib/page.c
test_printf_SRCS := lib/printf.c lib/string.c
test_fdt_SRCS := lib/fdt.c lib/string.c test/host/fdt_walk.c
test_fdt_ARGS := test/host/fdt

fuzz_fdt_SRCS := $(test_fdt_SRCS)
fuzz_fdt_SEEDS := $(HOST_O)/seeds/pi3.dtb $(HOST_O)/seeds/banks.dtb
fuzz_fdt_RUNS := 100000
test_string_FLAGS := $(library_FLAGS)
test_printf_FLAGS := $(library_FLAGS)
test_fdt_FLAGS := $(library_FLAGS)
fuzz_fdt_FLAGS := $(library_FLAGS)

# The memory code on a little machine (machine.h); kalloc and kfree go through it.
machine_FLAGS := -DLAB=2 -DSOL=2 -include test/host/machine.h
machine_LIBS := -Wl,--wrap=kalloc -Wl,--wrap=kfree
HOST_TESTS += test_kalloc test_vm test_ram
HOST_FUZZ += fuzz_vm

test_kalloc_SRCS := kern/kalloc.c
test_kalloc_HELPERS := test/host/machine.c test/host/report.c
test_kalloc_FLAGS := $(machine_FLAGS)
test_kalloc_LIBS := $(machine_LIBS)

test_vm_SRCS := kern/vm.c kern/kalloc.c
test_vm_HELPERS := test/host/machine.c test/host/report.c test/host/model.c
test_vm_FLAGS := $(machine_FLAGS) -O2
test_vm_LIBS := $(machine_LIBS)

test_ram_FLAGS := -DLAB=3 -DSOL=3

fuzz_vm_SRCS := $(test_vm_SRCS)
fuzz_vm_HELPERS := $(test_vm_HELPERS)
fuzz_vm_FLAGS := $(machine_FLAGS) -O2
fuzz_vm_LIBS := $(machine_LIBS)
fuzz_vm_ARGS := -max_len=600 -len_control=0
fuzz_vm_RUNS := 60000

# What hands out page frames, on a machine of its own (pool.h): calls from file to file go through it.
pool_SRCS := kern/memmap.c kern/zone.c kern/pmm.c kern/kcache.c kern/kalloc.c lib/string.c
pool_HELPERS := test/host/pool.c test/host/report.c test/host/pages.c
pool_FLAGS := -DLAB=3 -DSOL=3 -O2 -include test/host/pool.h
pool_WRAPPED := memmap_init memmap_reserve alloc_frame alloc_frames free_frame page_share page_unshare page_refs \
	pmm_init pmm_alloc pmm_free pmm_free_range pmm_wanted pmm_stats mem_has_space kcache_refill kcache_drain \
	kalloc kfree
pool_LIBS := $(pool_WRAPPED:%=-Wl,--wrap=%)
HOST_TESTS += test_memmap test_states test_states4 test_pmm test_frames test_huge

# How many calls the random run makes, and how many more users a block has in the search through all states.
PMM_STEPS ?= 2000000
PMM_USERS ?= 0

test_memmap_SRCS := $(pool_SRCS)
test_memmap_HELPERS := $(pool_HELPERS) test/host/bitmap.c
test_memmap_FLAGS := $(pool_FLAGS) -DMEMMAP_FRAMES=512
test_memmap_LIBS := $(pool_LIBS)

test_states_SRCS := $(pool_SRCS)
test_states_HELPERS := $(pool_HELPERS)
test_states_FLAGS := $(pool_FLAGS) -DPMM_ORDERS=3 -DKCACHE_MAX=4 -DKCACHE_BATCH=2
test_states_ARGS := $(PMM_USERS)
test_states_LIBS := $(pool_LIBS)

test_states4_SRCS := $(pool_SRCS)
test_states4_HELPERS := $(pool_HELPERS)
test_states4_FLAGS := $(pool_FLAGS) -DPMM_ORDERS=4 -DKCACHE_MAX=4 -DKCACHE_BATCH=2
test_states4_ARGS := $(PMM_USERS)
test_states4_LIBS := $(pool_LIBS)

test_pmm_SRCS := $(pool_SRCS)
test_pmm_HELPERS := $(pool_HELPERS)
test_pmm_FLAGS := $(pool_FLAGS) -DMEMMAP_FRAMES=512
test_pmm_ARGS := $(PMM_STEPS)
test_pmm_LIBS := $(pool_LIBS)

test_frames_SRCS := $(pool_SRCS) kern/frames.c
test_frames_HELPERS := $(pool_HELPERS)
test_frames_FLAGS := $(pool_FLAGS) -DMEMMAP_FRAMES=8192
test_frames_LIBS := $(pool_LIBS)

# 1 TiB, and 48 GiB for the holes.
test_huge_SRCS := $(pool_SRCS)
test_huge_HELPERS := test/host/pool.c test/host/report.c
test_huge_FLAGS := $(pool_FLAGS) -DMEMMAP_FRAMES=0x10c00000
test_huge_LIBS := $(pool_LIBS)

# The heap, with the pmm behind it.
HEAP_STEPS ?= 300000
HOST_TESTS += test_heap

test_heap_SRCS := $(pool_SRCS) kern/heap.c
test_heap_HELPERS := $(pool_HELPERS)
test_heap_FLAGS := -DLAB=4 -DSOL=4 -O2 -include test/host/pool.h -DMEMMAP_FRAMES=512
test_heap_ARGS := $(HEAP_STEPS)
test_heap_LIBS := $(pool_LIBS)

HOST_FUZZ += fuzz_pmm

fuzz_pmm_SRCS := $(pool_SRCS) kern/frames.c
fuzz_pmm_HELPERS := $(pool_HELPERS) test/host/bitmap.c
fuzz_pmm_FLAGS := $(pool_FLAGS) -DPMM_ORDERS=5 -DMEMMAP_FRAMES=512 -DKCACHE_MAX=8 -DKCACHE_BATCH=3
fuzz_pmm_LIBS := $(pool_LIBS)
fuzz_pmm_ARGS := -max_len=400 -len_control=0
fuzz_pmm_RUNS := 25000

# Heap, caches and kmalloc, on the same machine: with caches for small sizes, and with the heap for them.
caches_SRCS := $(pool_SRCS) kern/heap.c kern/slab.c test/host/caches.c
caches_HELPERS := test/host/pool.c test/host/report.c test/host/objects.c
caches_FLAGS := -DLAB=4 -DSOL=4 -O2 -include test/host/pool.h -DPOOL_CACHES
caches_LIBS := $(pool_LIBS) -Wl,--wrap=chunk_new
HOST_TESTS += test_slab test_kmalloc test_kmalloc_heap
HOST_FUZZ += fuzz_heap fuzz_slab

# How many calls the random runs make.
KMALLOC_STEPS ?= 1000000

test_slab_SRCS := $(caches_SRCS)
test_slab_HELPERS := $(caches_HELPERS)
test_slab_FLAGS := $(caches_FLAGS)
test_slab_LIBS := $(caches_LIBS)

test_kmalloc_SRCS := $(caches_SRCS)
test_kmalloc_HELPERS := $(caches_HELPERS)
test_kmalloc_FLAGS := $(caches_FLAGS)
test_kmalloc_ARGS := $(KMALLOC_STEPS)
test_kmalloc_LIBS := $(caches_LIBS)

test_kmalloc_heap_SRCS := $(caches_SRCS)
test_kmalloc_heap_HELPERS := $(caches_HELPERS)
test_kmalloc_heap_FLAGS := $(caches_FLAGS) -DKMALLOC_HEAP=1
test_kmalloc_heap_ARGS := $(KMALLOC_STEPS)
test_kmalloc_heap_LIBS := $(caches_LIBS)

HOST_TESTS += test_vmalloc

test_vmalloc_SRCS := $(caches_SRCS) kern/vmalloc.c kern/vm.c
test_vmalloc_HELPERS := $(caches_HELPERS)
test_vmalloc_FLAGS := $(caches_FLAGS) -DPOOL_TLB
test_vmalloc_LIBS := $(caches_LIBS)

fuzz_slab_SRCS := $(caches_SRCS)
fuzz_slab_HELPERS := $(caches_HELPERS)
fuzz_slab_FLAGS := $(caches_FLAGS) -DPMM_ORDERS=6 -DKCACHE_MAX=8 -DKCACHE_BATCH=3
fuzz_slab_LIBS := $(caches_LIBS)
fuzz_slab_ARGS := -max_len=400 -len_control=0
fuzz_slab_RUNS := 5000

fuzz_heap_SRCS := $(caches_SRCS)
fuzz_heap_HELPERS := $(caches_HELPERS)
fuzz_heap_FLAGS := $(fuzz_slab_FLAGS) -DKMALLOC_HEAP=1
fuzz_heap_LIBS := $(caches_LIBS)
fuzz_heap_ARGS := $(fuzz_slab_ARGS)
fuzz_heap_RUNS := $(fuzz_slab_RUNS)

# Address spaces: their list of ranges, their tables, what mmap does with both; and programs that fill them.
HOST_TESTS += test_vma test_vmiter test_mmap test_elf test_exec test_exec_lazy test_fork
HOST_FUZZ += fuzz_elf

test_vma_SRCS := kern/vma.c
test_vma_HELPERS := test/host/report.c
test_vma_FLAGS := -DLAB=5 -DSOL=5

test_vmiter_SRCS := kern/vmiter.c
test_vmiter_FLAGS := -DLAB=5 -DSOL=5 -DKERNBASE=0UL

space_SRCS := kern/vma.c kern/aspace.c kern/vm.c
space_HELPERS := test/host/space.c test/host/report.c
space_FLAGS := -DLAB=5 -DSOL=5 -O2 -include test/host/space.h

test_mmap_SRCS := kern/mmap.c $(space_SRCS)
test_mmap_HELPERS := $(space_HELPERS)
test_mmap_FLAGS := $(space_FLAGS)
test_mmap_LIBS := -Wl,--wrap=user_alloc -Wl,--wrap=user_protect

test_elf_SRCS := kern/elf.c lib/string.c
test_elf_HELPERS := test/host/elf_file.c test/host/report.c
test_elf_FLAGS := -DLAB=5 -DSOL=5

test_exec_SRCS := kern/exec.c kern/elf.c kern/mmap.c $(space_SRCS) lib/string.c
test_exec_HELPERS := test/host/program.c test/host/elf_file.c $(space_HELPERS)
test_exec_FLAGS := $(space_FLAGS)
test_exec_LIBS := -Wl,--wrap=user_alloc

# In lab 6 pages come when they are touched, and several processes share them.
lazy_SRCS := kern/pagefault.c kern/pager.c
lazy_FLAGS := $(subst =5,=6,$(space_FLAGS))

test_exec_lazy_SRCS := $(test_exec_SRCS) $(lazy_SRCS)
test_exec_lazy_HELPERS := $(test_exec_HELPERS)
test_exec_lazy_FLAGS := $(lazy_FLAGS)
test_exec_lazy_LIBS := $(test_exec_LIBS)

test_fork_SRCS := kern/fork.c $(lazy_SRCS) kern/mmap.c kern/elf.c $(space_SRCS) lib/string.c
test_fork_HELPERS := test/host/elf_file.c $(space_HELPERS)
test_fork_FLAGS := $(lazy_FLAGS) -include test/host/forked.h

# test_elf writes the files to start from.
fuzz_elf_SRCS := $(test_exec_SRCS)
fuzz_elf_HELPERS := $(test_exec_HELPERS)
fuzz_elf_FLAGS := $(space_FLAGS)
fuzz_elf_SEEDS := $(HOST_O)/seeds/good.elf $(HOST_O)/seeds/many.elf
fuzz_elf_RUNS := 50000

# Also for programs that other fragments add
HOST_SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
HOST_FLAGS := -std=gnu17 -O1 -g -fno-omit-frame-pointer -fno-strict-aliasing -iquote inc -iquote test/host \
	-Wall -Wextra -Wshadow -Wundef -Wvla -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes \
	-Wwrite-strings -Wimplicit-fallthrough -Werror
HOST_KERNEL_FLAGS := -ffreestanding -fno-builtin -include test/host/rename.h \
	-Wcast-qual -Wformat=2 -Wconversion -Wsign-conversion

# One line a step; V=1 shows the commands.
host_q := $(if $(V),,@)
host_say = $(if $(V),,@echo "+ $(1)")

.PHONY: test-host $(HOST_TESTS:%=run-%) $(HOST_FUZZ:%=run-%)
test-host: $(HOST_TESTS:%=run-%) $(HOST_FUZZ:%=run-%)

# Objects are made again when the flags change (another LAB, say).
$(HOST_O)/%/flags: host-force
	@mkdir -p $(@D)
	@echo '$(HOSTCC) $(CLANG) $(HOST_FLAGS) $(HOST_KERNEL_FLAGS) $(HOST_SANITIZE) $($*_FLAGS)' \
		| cmp -s - $@ || echo '$(HOSTCC) $(CLANG) $(HOST_FLAGS) $(HOST_KERNEL_FLAGS) $(HOST_SANITIZE) $($*_FLAGS)' >$@
.PHONY: host-force
host-force:

# host_program NAME, compiler, sanitizer flags, libraries
define host_program
$(1)_TEST_OBJS := $$(patsubst %.c,$(HOST_O)/$(1)/%.o,test/host/$(1).c $$($(1)_HELPERS))
$(1)_OBJS := $$(patsubst %.c,$(HOST_O)/$(1)/%.o,$$($(1)_SRCS))

$$($(1)_OBJS): $(HOST_O)/$(1)/%.o: %.c $(HOST_O)/$(1)/flags
	$$(call host_say,$(2) $$< for $(1))
	@mkdir -p $$(@D)
	$$(host_q)$(2) $$(HOST_FLAGS) $$(HOST_KERNEL_FLAGS) $(3) $$($(1)_FLAGS) -MMD -MP -c $$< -o $$@

$$($(1)_TEST_OBJS): $(HOST_O)/$(1)/%.o: %.c $(HOST_O)/$(1)/flags
	$$(call host_say,$(2) $$<)
	@mkdir -p $$(@D)
	$$(host_q)$(2) $$(HOST_FLAGS) $(3) $$($(1)_FLAGS) -MMD -MP -c $$< -o $$@

$(HOST_O)/$(1)/$(1): $$($(1)_TEST_OBJS) $$($(1)_OBJS)
	$$(host_q)$(2) $(3) $$^ $(4) $$($(1)_LIBS) -o $$@

-include $$($(1)_OBJS:.o=.d) $$($(1)_TEST_OBJS:.o=.d)
endef

HOST_FUZZ_SANITIZE := $(HOST_SANITIZE) -fsanitize=fuzzer
$(foreach t,$(HOST_TESTS),$(eval $(call host_program,$(t),$(HOSTCC),$(HOST_SANITIZE),-lcmocka)))
$(foreach t,$(HOST_FUZZ),$(eval $(call host_program,$(t),$(CLANG),$(HOST_FUZZ_SANITIZE),)))

# What it counts with.
$(test_huge_OBJS): HOST_KERNEL_FLAGS += -fsanitize-coverage=trace-pc

define test_run
run-$(1): $(HOST_O)/$(1)/$(1)
	$$(call host_say,run $(1))
	$$(host_q)$$< $$($(1)_ARGS) 2>&1
endef
$(foreach t,$(HOST_TESTS),$(eval $(call test_run,$(t))))

# The same inputs in every run: one seed, a number of runs instead of a time, and a corpus that begins anew.
define fuzz_run
run-$(1): $(HOST_O)/$(1)/$(1) $$($(1)_SEEDS)
	$$(call host_say,run $(1))
	@rm -rf $(HOST_O)/$(1)/corpus && mkdir -p $(HOST_O)/$(1)/corpus
	$$(if $$($(1)_SEEDS),@cp $$($(1)_SEEDS) $(HOST_O)/$(1)/corpus)
	$$(host_q)$$< -seed=1 -runs=$$($(1)_RUNS) -timeout=10 -max_len=4096 -verbosity=0 -print_final_stats=1 $$($(1)_ARGS) \
		-artifact_prefix=$(HOST_O)/$(1)/ $(HOST_O)/$(1)/corpus >$(HOST_O)/$(1)/log 2>&1 \
		|| { tail -n 60 $(HOST_O)/$(1)/log; exit 1; }
	@echo "$(1): `sed -n 's/^stat::number_of_executed_units: *//p' $(HOST_O)/$(1)/log` inputs, no finding"
endef
$(foreach t,$(HOST_FUZZ),$(eval $(call fuzz_run,$(t))))

$(HOST_O)/seeds/%.dtb: test/host/fdt/%.dts
	$(call host_say,dtc $<)
	@mkdir -p $(@D)
	$(host_q)$(DTC) -q -I dts -O dtb -o $@ $<

$(HOST_O)/seeds/%.elf: $(HOST_O)/test_elf/test_elf
	@mkdir -p $(@D)
	$(host_q)$< $* >$@

# A longer run of the fuzzers, FUZZ_SECONDS for each; the corpus grows from run to run.
FUZZ_SECONDS ?= 600
.PHONY: fuzz $(HOST_FUZZ:%=fuzz-%)
fuzz: $(HOST_FUZZ:%=fuzz-%)
define fuzz_long
fuzz-$(1): $(HOST_O)/$(1)/$(1) $$($(1)_SEEDS)
	$$(call host_say,fuzz $(1) for $(FUZZ_SECONDS) s)
	@mkdir -p $(HOST_O)/$(1)/corpus
	$$(if $$($(1)_SEEDS),@cp $$($(1)_SEEDS) $(HOST_O)/$(1)/corpus)
	$$(host_q)$$< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -max_len=4096 -print_final_stats=1 $$($(1)_ARGS) \
		-artifact_prefix=$(HOST_O)/$(1)/ $(HOST_O)/$(1)/corpus
endef
$(foreach t,$(HOST_FUZZ),$(eval $(call fuzz_long,$(t))))

# Every line and every branch of the memory code is run by the tests above: built once more, without sanitizers.
HOST_COVERED := kern/kalloc.c kern/vm.c kern/ram.c kern/memmap.c kern/zone.c kern/pmm.c kern/kcache.c kern/frames.c \
	kern/heap.c kern/slab.c kern/slabs.c kern/vmalloc.c \
	kern/vma.c kern/vmiter.c kern/mmap.c kern/elf.c kern/exec.c kern/aspace.c kern/fork.c kern/pagefault.c kern/pager.c
coverage_O := $(HOST_O)/coverage
coverage_TESTS := test_kalloc test_vm test_memmap test_pmm test_frames test_huge test_heap test_slab test_kmalloc \
	test_kmalloc_heap test_vmalloc test_vma test_vmiter test_mmap test_elf test_exec test_exec_lazy test_fork
# Without optimisation, fewer calls must do.
test_pmm_COVERAGE := 100000
test_huge_COVERAGE := 2
test_heap_COVERAGE := 20000
test_kmalloc_COVERAGE := 100000
test_kmalloc_heap_COVERAGE := 100000

# Its object files, without the sanitizers; of what is under test, with --coverage. Then the run.
define coverage_test
coverage-$(1):
	$$(call host_say,run $(1) for coverage)
	@rm -rf $(coverage_O)/$(1) && mkdir -p $(coverage_O)/$(1)
	$$(host_q)for f in $$($(1)_SRCS); do \
		$$(HOSTCC) $$(HOST_FLAGS) $$(HOST_KERNEL_FLAGS) $$($(1)_FLAGS) --coverage -O0 -c $$$$f \
			-o $(coverage_O)/$(1)/`basename $$$$f`.o || exit 1; done
	$$(host_q)for f in test/host/$(1).c $$($(1)_HELPERS); do $$(HOSTCC) $$(HOST_FLAGS) $$($(1)_FLAGS) -c $$$$f \
			-o $(coverage_O)/$(1)/`basename $$$$f`.o || exit 1; done
	$$(host_q)cd $(coverage_O)/$(1) && $$(HOSTCC) --coverage *.o $$($(1)_LIBS) -lcmocka -o $(1)
	$$(host_q)$(coverage_O)/$(1)/$(1) $$($(1)_COVERAGE) >$(coverage_O)/$(1)/log 2>&1 \
		|| { cat $(coverage_O)/$(1)/log; exit 1; }
endef
$(foreach t,$(coverage_TESTS),$(eval $(call coverage_test,$(t))))

# It includes the file that it tests.
coverage-test_ram:
	$(call host_say,run test_ram for coverage)
	@rm -rf $(coverage_O)/test_ram && mkdir -p $(coverage_O)/test_ram
	$(host_q)$(HOSTCC) $(HOST_FLAGS) $(test_ram_FLAGS) -O0 --coverage test/host/test_ram.c -lcmocka \
		-dumpdir $(coverage_O)/test_ram/ -o $(coverage_O)/test_ram/test_ram
	$(host_q)$(coverage_O)/test_ram/test_ram >$(coverage_O)/test_ram/log 2>&1 || { cat $(coverage_O)/test_ram/log; exit 1; }

.PHONY: run-coverage coverage-test_ram $(coverage_TESTS:%=coverage-%)
test-host: run-coverage
run-coverage: coverage-test_ram $(coverage_TESTS:%=coverage-%)
	$(call host_say,look at the coverage)
	@python3 test/host/coverage.py $(^:coverage-%=$(coverage_O)/%) -- $(HOST_COVERED)
