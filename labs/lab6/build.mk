# FAILNTH=0: a kernel in which no allocation can be made to fail (kern/failnth.c); each costs some instructions less.

# SAN=1 wraps the same functions for itself.
FAILNTH ?= $(if $(filter 1,$(SAN)),0,1)
ifeq ($(FAILNTH),1)
CFLAGS_kern_failnth.c += -DFAILNTH
LDFLAGS += $(foreach f,kalloc kmalloc kzalloc pmm_alloc,-Wl,--wrap=$(f))
endif

# user/tests/*.c are one program, like user/attack/*.c: one file after the other, in one run of the compiler. It is large
# enough.
TESTS := $(call USER_FILES,user/tests/*.c)
PROGRAMS += tests

$(O)/user/tests.c.o: $(TESTS) $(O)/flags
	$(say) ucc user/tests
	@mkdir -p $(@D)
	$(Q)$(CC) $(USER_CFLAGS) -Os -fno-toplevel-reorder -MMD -MP -c -o $@ \
	    $(addprefix -include ,$(filter-out user/tests/main.c,$(TESTS))) user/tests/main.c

$(O)/user/tests: %: %.elf
	$(Q)$(OBJCOPY) -S $< $@

programs $(O)/programs.S.o: $(O)/user/tests
.SECONDARY: $(O)/user/tests.c.o $(O)/user/tests.elf
-include $(O)/user/tests.c.d
