# Lab 3's addition to the Makefile. SAN=1 follows pages that do not come from kalloc, too; but not between
# the pmm and kalloc's list, where they are nobody's, nor in the checks' imaginary machines.
UNWATCHED += kern/memmap.c kern/pmm.c kern/zone.c kern/kcache.c kern/frames.c
ifeq ($(SAN),1)
FRAME_CALLS := alloc_frame alloc_frames pmm_alloc pmm_free
LDFLAGS += $(FRAME_CALLS:%=-Wl,--wrap=%)
$(O)/labs/%.c.o $(O)/kern/kcache.c.o: CFLAGS += $(foreach f,$(FRAME_CALLS),-D$f=__real_$f)
endif
