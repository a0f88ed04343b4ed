# Lab 2's addition to the Makefile. SAN=1 follows who has which page (kern/kasan_page.c). The checks' own
# kfree is not followed: they also put pages on the list, and take them off, in ways of their own.
UNWATCHED += kern/kalloc.c
ifeq ($(SAN),1)
LDFLAGS += -Wl,--wrap=kalloc,--wrap=kfree,--wrap=free_range,--wrap=ram_withdraw
$(O)/labs/%.c.o: CFLAGS += -Dkfree=__real_kfree
endif
