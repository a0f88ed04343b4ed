# KMALLOC=heap: kmalloc works on the heap of part A, instead of the caches of part B.

KMALLOC ?= slab
ifeq ($(filter slab heap,$(KMALLOC)),)
$(error KMALLOC is "$(KMALLOC)"; it can be slab or heap)
endif
ifeq ($(KMALLOC),heap)
CFLAGS += -DKMALLOC_HEAP=1
endif

# DEBUG=1, and SAN=1 as well: every object of kmalloc's is watched (kern/heapdebug.c).
UNWATCHED += kern/heap.c kern/slab.c kern/slabs.c kern/vmalloc.c kern/heapdebug.c
ifeq ($(DEBUG),1)
CFLAGS += -DDEBUG
endif
ifeq ($(filter 1,$(SAN) $(DEBUG)),)
LATER_FILES += kern/heapdebug.c
endif

LAB_HELP += ; echo 'make KMALLOC=heap build with kmalloc over the heap (part A), not the caches (part B)'
LAB_HELP += ; echo 'make DEBUG=1 qemu finds who writes behind an object, frees it twice or never (leaks in the monitor)'
