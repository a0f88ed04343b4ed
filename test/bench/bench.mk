# `make bench`: what operations cost, in guest instructions, against their targets. Included by staff.mk.

BENCH_O = $(O)/bench
BENCH_SOURCES = $(filter-out $(LATER_FILES) kern/scratch.c,$(sort $(wildcard kern/*.S kern/*.c lib/*.c))) \
    test/bench/bench.c

.PHONY: bench bench-kernel
bench: bench-kernel
	@$(firstword $(PYTEST)) -B test/bench/bench.py $(BENCH_O)/kernel8.img $(LAB)

# The only program of this kernel: what processes cost (user.c).
$(O)/user/bench.c.o: test/bench/user.c $(O)/flags
	$(say) ucc $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(USER_CFLAGS) -c -o $@ $<

# Without the sanitizer and the checks; kern/ram.c maps memory through bench.c; the allocators take no locks.
BENCH_UNLOCKED = kern/kalloc.c kern/kcache.c kern/memmap.c kern/pmm.c kern/zone.c \
    kern/heap.c kern/slab.c kern/slabs.c
bench-kernel:
	@$(MAKE) --no-print-directory O=$(BENCH_O) UBSAN=0 FAILNTH=0 PROGRAMS=bench SOURCES='$(BENCH_SOURCES)' \
	    CFLAGS_kern_ram.c=-Dkvm_map_ram=bench_map_ram \
	    $(foreach f,$(BENCH_UNLOCKED),CFLAGS_$(subst /,_,$f)='-include test/bench/nolock.h') $(BENCH_O)/kernel8.img
