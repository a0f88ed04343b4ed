# User programs: every user/NAME.c is one, and user/attack/*.c together are one more. Each is linked with user/libc
# and with lib/, then all are made part of the kernel's image (programs.S; inc/exec.h says what for).
# obj/user/NAME.elf is for gdb; obj/user/NAME, the same without its symbols, is what runs.

USER_FILES = $(filter-out $(LATER_FILES),$(sort $(wildcard $(1))))
PROGRAMS := $(sort $(patsubst user/%.c,%,$(call USER_FILES,user/*.c)) attack)
USER_LIB := $(patsubst user/%,$(O)/user/%.o,$(call USER_FILES,user/libc/*.S user/libc/*.c)) \
    $(O)/user/lib/string.c.o $(O)/user/lib/printf.c.o
ATTACKS := $(call USER_FILES,user/attack/*.c)

# The kernel's flags, but programs may compute with floating-point numbers, and nobody looks over their shoulder.
USER_CFLAGS = $(filter-out -mgeneral-regs-only -DSAN,$(CFLAGS)) -ffunction-sections -Iuser/libc
USER_LDFLAGS := -nostdlib -static -no-pie -Wl,--fix-cortex-a53-843419 -Wl,--build-id=none -Wl,--gc-sections \
    -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -T user/user.ld

$(O)/user/lib/%.c.o: lib/%.c $(O)/flags
	$(say) ucc $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(USER_CFLAGS) -MMD -MP -c -o $@ $<

$(O)/user/%.o: user/% $(O)/flags
	$(say) ucc $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(USER_CFLAGS) -MMD -MP -c -o $@ $<

# One file after the other, but in one run of the compiler.
$(O)/user/attack.c.o: $(ATTACKS) $(O)/flags
	$(say) ucc user/attack
	@mkdir -p $(@D)
	$(Q)$(CC) $(USER_CFLAGS) -fno-toplevel-reorder -MMD -MP -c -o $@ \
	    $(addprefix -include ,$(filter-out user/attack/main.c,$(ATTACKS))) user/attack/main.c

$(O)/user/%.elf: $(O)/user/%.c.o $(USER_LIB) user/user.ld labs/lab5/build.mk
	$(say) uld $@
	$(Q)$(CC) $(USER_LDFLAGS) -o $@ $< $(USER_LIB)

$(PROGRAMS:%=$(O)/user/%): %: %.elf
	$(Q)$(OBJCOPY) -S $< $@

.SECONDARY: $(USER_LIB) $(PROGRAMS:%=$(O)/user/%.c.o) $(PROGRAMS:%=$(O)/user/%.elf)
-include $(USER_LIB:.o=.d) $(PROGRAMS:%=$(O)/user/%.c.d)

.PHONY: programs
programs: $(PROGRAMS:%=$(O)/user/%)

# ---- In the kernel's image ----------------------------------------------------------------------------

# OTHER_PROGRAMS: paths of ELF files that were made elsewhere, to be in it too.
PROGRAM_FILES = $(PROGRAMS:%=$(O)/user/%) $(OTHER_PROGRAMS)
EXTRA_OBJECTS += $(O)/programs.S.o

PROGRAM_LINES = awk -v RS=' ' ' \
    BEGIN { print ".section .rodata\n.global programs, nprograms\n.balign 8\nprograms:" } \
    { n++; name = $$0; sub(".*/", "", name); print ".quad name_" n ", file_" n ", end_" n; \
      text = text "name_" n ": .asciz \"" name "\"\n.balign 16\nfile_" n ": .incbin \"" $$0 "\"\nend_" n ":\n" } \
    END { print ".balign 8\nnprograms: .quad " n "\n" text }'

# Made anew when there is another program, or one less.
$(O)/programs.S: FORCE
	@mkdir -p $(@D)
	@printf '%s ' $(PROGRAM_FILES) | $(PROGRAM_LINES) > $@.new
	@cmp -s $@.new $@ && rm $@.new || mv $@.new $@

$(O)/programs.S.o: $(O)/programs.S $(O)/flags $(PROGRAM_FILES)
	$(say) as $<
	$(Q)$(CC) $(filter-out -g,$(CFLAGS)) -c -o $@ $<

LAB_HELP += ; echo 'make programs     build what is in user/, and leave the kernel alone'
LAB_HELP += ; echo 'make DEBUG=1 qemu looks at all page tables at every switch, too (audit in the monitor)'
