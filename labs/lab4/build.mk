# KMALLOC=heap: kmalloc works on the heap of part A, instead of the caches of part B.

KMALLOC ?= slab
ifeq ($(filter slab heap,$(KMALLOC)),)
$(error KMALLOC is "$(KMALLOC)"; it can be slab or heap)
endif
ifeq ($(KMALLOC),heap)
CFLAGS += -DKMALLOC_HEAP=1
endif

LAB_HELP += ; echo 'make KMALLOC=heap build with kmalloc over the heap (part A), not the caches (part B)'
