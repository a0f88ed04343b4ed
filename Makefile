# Bramble's build. `make help` lists the targets. Everything that is made goes to obj/.
#
#   V=1      show the commands
#   ARGS=    the kernel's boot arguments, for make qemu
#   UBSAN=0  build without the checks for undefined behaviour
#   SAN=1    build with a check of each access to memory (kern/kasan.c); slower
#   O=DIR    build in DIR instead of obj

-include staff.mk
-include local.mk

O ?= obj
UBSAN ?= 1
SAN ?= 0
ARGS ?=
PYTHON ?= python3
.DEFAULT_GOAL := all

# ---- Tools -----------------------------------------------------------------------------------------

ifeq ($(origin CROSS),undefined)
CROSS := $(firstword $(foreach p,aarch64-linux-gnu- aarch64-none-elf- aarch64-elf-,\
             $(if $(shell command -v $(p)gcc),$(p))))
endif
ifeq ($(CROSS),)
ifeq ($(filter help clean doctor update next-lab handin,$(MAKECMDGOALS)),)
$(error No AArch64 compiler found. Run ./setup, which installs what is missing)
endif
endif
CC := $(CROSS)gcc
NM := $(CROSS)nm
OBJCOPY := $(CROSS)objcopy
OBJDUMP := $(CROSS)objdump

# ---- Flags -----------------------------------------------------------------------------------------

# What the machine and the kernel need.
CFLAGS := -std=gnu17 -O2 -g -march=armv8-a -ffreestanding -nostdinc -isystem $(shell $(CC) -print-file-name=include) \
    -fno-pie -no-pie -fno-common -fno-stack-protector -mbranch-protection=none -mgeneral-regs-only \
    -mstrict-align -mno-outline-atomics -fno-omit-frame-pointer -mno-omit-leaf-frame-pointer \
    -fno-optimize-sibling-calls -fno-strict-aliasing -fno-delete-null-pointer-checks \
    -fno-asynchronous-unwind-tables -fno-tree-loop-distribute-patterns -fno-ipa-icf -fno-partial-inlining \
    -mfix-cortex-a53-835769 -ffile-prefix-map=$(CURDIR)/= -Iinc
# A program that says one thing and means another is stopped where it does so (kern/ubsan.c). Not in
# boot.c, kvm.c and power.c, which run before addresses are translated.
ifeq ($(UBSAN),1)
UBSAN_FLAGS := -fsanitize=undefined
endif
NO_UBSAN := kern/boot.c kern/kvm.c kern/power.c kern/ubsan.c
# SAN=1: and one that touches memory which is not its own (kern/kasan.c). Not watched are the same files,
# those that say what went wrong, the allocators and the checks: they look at memory on purpose.
ifeq ($(SAN),1)
CFLAGS += -DSAN
SAN_FLAGS := -fsanitize=kernel-address --param asan-globals=1 --param asan-stack=0 \
    --param asan-instrumentation-with-call-threshold=0
else
LATER_FILES += kern/kasan%.c
endif
ifeq ($(filter 1,$(SAN) $(DEBUG)),)
LATER_FILES += kern/mistake.c
endif
UNWATCHED := $(NO_UBSAN) kern/kasan%.c kern/mistake.c kern/panic.c kern/trap.c kern/check.c kern/symbols.c \
    kern/pt.c lib/page.c labs/%
CFLAGS_lib_string.c += -DUNWATCHED
# Mistakes that no kernel survives are errors; all else is a warning, whatever the compiler's age.
CFLAGS += -Wall -Wextra -Werror=implicit-function-declaration -Werror=int-conversion \
    -Werror=incompatible-pointer-types
CFLAGS += $(STAGE_FLAGS)
LDFLAGS := -nostdlib -static -no-pie -Wl,--fix-cortex-a53-843419 -Wl,--build-id=none -Wl,-z,max-page-size=4096 \
    -Wl,--no-warn-rwx-segments -Wl,-z,noexecstack
LDFLAGS := $(filter-out $(if $(findstring no-warn-rwx,$(shell $(CROSS)ld --help 2>/dev/null)),,-Wl$(comma)--no-warn-rwx-segments),$(LDFLAGS))

# What later labs add: variables, flags, objects that are no source of the kernel's, lines of help.
EXTRA_OBJECTS :=
LAB_HELP := :
include $(filter-out $(LATER_FILES),$(sort $(wildcard labs/lab*/build.mk)))

# ---- Sources ---------------------------------------------------------------------------------------

SOURCES := $(filter-out $(LATER_FILES),$(sort $(wildcard kern/*.S kern/*.c lib/*.c labs/lab*/*.S labs/lab*/*.c)))
OBJECTS := $(patsubst %,$(O)/%.o,$(SOURCES)) $(EXTRA_OBJECTS)

ifeq ($(V),1)
Q :=
say := @:
else
Q := @
say := @printf '+ %-3s %s\n'
endif

# ---- Kernel ----------------------------------------------------------------------------------------

.PHONY: all
all: $(O)/kernel8.img $(O)/kernel8.asm $(O)/kernel8.hdr

# Everything is rebuilt when the flags change.
ALL_FLAGS = $(CC) $(CFLAGS) $(UBSAN_FLAGS) $(SAN_FLAGS) $(UNWATCHED) $(LDFLAGS) $(foreach f,$(SOURCES),$f $(CFLAGS_$(subst /,_,$f)))
$(O)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(ALL_FLAGS)' | cmp -s - $@ || echo '$(ALL_FLAGS)' > $@
.PHONY: FORCE
FORCE:

$(O)/%.c.o: %.c $(O)/flags
	$(say) cc $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) $(if $(filter $<,$(NO_UBSAN)),,$(UBSAN_FLAGS)) \
	    $(if $(filter $(UNWATCHED),$<),-DUNWATCHED,$(SAN_FLAGS)) $(CFLAGS_$(subst /,_,$<)) -MMD -MP -c -o $@ $<

$(O)/%.S.o: %.S $(O)/flags
	$(say) as $<
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

# The checks run in the order in which they are written, files in alphabetical order.
$(O)/labs/%.c.o: CFLAGS += -fno-toplevel-reorder

-include $(OBJECTS:.o=.d)

# Linked twice: the first kernel tells where its functions are, the second holds that table.
$(O)/nosymbols.elf: $(OBJECTS) $(O)/nosymbols.S.o linker.ld
	$(say) ld $@
	$(Q)$(CC) $(LDFLAGS) -T linker.ld -o $@ $(OBJECTS) $(O)/nosymbols.S.o

$(O)/kernel8.elf: $(O)/nosymbols.elf $(O)/symbols.S.o
	$(say) ld $@
	$(Q)$(CC) $(LDFLAGS) -T linker.ld -o $@ $(OBJECTS) $(O)/symbols.S.o

# symbols.c says what this table looks like.
SYMBOLS = LC_ALL=C awk ' \
    BEGIN { print ".section .symbols, \"a\"\n.global symbol_table, symbol_names, symbol_count\n.balign 8\nsymbol_table:" } \
    $$2 ~ /^[tT]$$/ && $$3 !~ /^[$$.]/ && $$3 != "image_start" && $$3 != "etext" { \
        printf ".word 0x%s - 0x80000, %d\n", substr($$1, 9), size; \
        names = names ".asciz \"" $$3 "\"\n"; size += length($$3) + 1; n++ } \
    END { print "symbol_count: .word " n + 0 "\nsymbol_names:\n" names }'

$(O)/nosymbols.S: $(O)/flags
	@: | $(SYMBOLS) > $@

$(O)/symbols.S: $(O)/nosymbols.elf
	$(say) sym $@
	$(Q)$(NM) -n $< | $(SYMBOLS) > $@

$(O)/nosymbols.S.o $(O)/symbols.S.o: %.o: %
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

$(O)/kernel8.img: $(O)/kernel8.elf
	$(say) img $@
	$(Q)$(OBJCOPY) -O binary $< $@

$(O)/kernel8.asm: $(O)/kernel8.elf
	$(Q)$(OBJDUMP) -S -d $< > $@

$(O)/kernel8.hdr: $(O)/kernel8.elf
	$(Q)$(OBJDUMP) -x $< > $@

# ---- Running ---------------------------------------------------------------------------------------

.PHONY: qemu memview memrec qemu-gdb gdb grade
qemu: $(O)/kernel8.img
	@$(PYTHON) -m grade.boot --obj $(O) --args "$(ARGS)"

memview: $(O)/kernel8.img
	@$(PYTHON) -m grade.boot --obj $(O) --args "$(ARGS)" --memview

memrec: $(O)/kernel8.img
	@$(PYTHON) -m grade.memrec --obj $(O) --args "$(ARGS)" --out $(O)/memory.html

qemu-gdb: $(O)/kernel8.img
	@$(PYTHON) -m grade.boot --obj $(O) --args "$(ARGS)" --gdb

gdb: $(if $(ARGS),$(O)/kernel8.img)
	@$(PYTHON) -m grade.boot --obj $(O) --args "$(ARGS)" --connect

grade:
	@$(PYTHON) -m grade $(GRADE) .

# ---- The student's way ------------------------------------------------------------------------------

.PHONY: update next-lab handin
update next-lab handin:
	@$(PYTHON) labs/work $@

# ---- Housekeeping -----------------------------------------------------------------------------------

.PHONY: doctor clean help
doctor:
	@./setup --doctor

clean:
	rm -rf $(O)

help:
	@echo 'make              build obj/kernel8.img (and .elf, .asm, .hdr)'
	@echo 'make qemu         build and run it; ARGS="check=NAME seed=N mem=64M" sets boot arguments'
	@echo 'make SAN=1 qemu   checks each access to memory: overflow, use of freed memory'
	@echo 'make memview      watch who has which page (from lab 3 on)'
	@echo 'make memrec       record a run of ARGS as a page to play back, obj/memory.html'
	@echo 'make qemu-gdb     like make qemu, waiting for make gdb in another terminal'
	@echo 'make gdb          gdb on make qemu-gdb; with ARGS="check=NAME seed=N", up to where that check fails;'
	@echo '                  bramble lists the commands that it has besides its own'
	@echo 'make grade        what your work would score'
	@echo 'make update       fetch corrections of this lab and put your work on top'
	@echo 'make next-lab     go on with the next lab, on a branch of its own'
	@echo 'make handin       pack what you hand in'
	@echo 'make doctor       check the tools on this machine'
	@echo 'make clean        remove obj/'
	@$(LAB_HELP)
	@$(STAFF_HELP)
