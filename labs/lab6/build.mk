# FAILNTH=0: a kernel in which no allocation can be made to fail (kern/failnth.c); each costs some instructions less.

FAILNTH ?= 1
ifeq ($(FAILNTH),1)
CFLAGS_kern_failnth.c += -DFAILNTH
LDFLAGS += $(foreach f,kalloc kmalloc kzalloc pmm_alloc,-Wl,--wrap=$(f))
endif
