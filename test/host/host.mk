# Tests that run on the host: `make test-host`. Included by staff.mk.
#
# A program is a word in HOST_TESTS (cmocka, or anything else whose exit status tells), built by gcc from
# test/host/NAME.c, or in HOST_FUZZ (libFuzzer), built by clang; and for each, as far as needed:
#     NAME_SRCS     the code under test, and its helpers: compiled as the kernel is, freestanding, with
#                   lib's memset and so on (rename.h)
#     NAME_FLAGS    further flags for all of the program, such as -DLAB=2
#     NAME_ARGS     arguments, when it runs
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

test_string_SRCS := lib/string.c lib/page.c
test_printf_SRCS := lib/printf.c lib/string.c
test_fdt_SRCS := lib/fdt.c lib/string.c test/host/fdt_walk.c
test_fdt_ARGS := test/host/fdt

fuzz_fdt_SRCS := $(test_fdt_SRCS)
fuzz_fdt_SEEDS := $(HOST_O)/seeds/pi3.dtb $(HOST_O)/seeds/banks.dtb
fuzz_fdt_RUNS := 100000

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
$(1)_OBJS := $$(patsubst %.c,$(HOST_O)/$(1)/%.o,$$($(1)_SRCS))

$$($(1)_OBJS): $(HOST_O)/$(1)/%.o: %.c $(HOST_O)/$(1)/flags
	$$(call host_say,$(2) $$< for $(1))
	@mkdir -p $$(@D)
	$$(host_q)$(2) $$(HOST_FLAGS) $$(HOST_KERNEL_FLAGS) $(3) $$($(1)_FLAGS) -MMD -MP -c $$< -o $$@

$(HOST_O)/$(1)/test/host/$(1).o: test/host/$(1).c $(HOST_O)/$(1)/flags
	$$(call host_say,$(2) $$<)
	@mkdir -p $$(@D)
	$$(host_q)$(2) $$(HOST_FLAGS) $(3) $$($(1)_FLAGS) -MMD -MP -c $$< -o $$@

$(HOST_O)/$(1)/$(1): $(HOST_O)/$(1)/test/host/$(1).o $$($(1)_OBJS)
	$$(host_q)$(2) $(3) $$^ $(4) -o $$@

-include $$($(1)_OBJS:.o=.d) $(HOST_O)/$(1)/test/host/$(1).d
endef

HOST_FUZZ_SANITIZE := $(HOST_SANITIZE) -fsanitize=fuzzer
$(foreach t,$(HOST_TESTS),$(eval $(call host_program,$(t),$(HOSTCC),$(HOST_SANITIZE),-lcmocka)))
$(foreach t,$(HOST_FUZZ),$(eval $(call host_program,$(t),$(CLANG),$(HOST_FUZZ_SANITIZE),)))

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
	$$(host_q)$$< -seed=1 -runs=$$($(1)_RUNS) -timeout=10 -max_len=4096 -verbosity=0 -print_final_stats=1 \
		-artifact_prefix=$(HOST_O)/$(1)/ $(HOST_O)/$(1)/corpus >$(HOST_O)/$(1)/log 2>&1 \
		|| { tail -n 60 $(HOST_O)/$(1)/log; exit 1; }
	@echo "$(1): `sed -n 's/^stat::number_of_executed_units: *//p' $(HOST_O)/$(1)/log` inputs, no finding"
endef
$(foreach t,$(HOST_FUZZ),$(eval $(call fuzz_run,$(t))))

$(HOST_O)/seeds/%.dtb: test/host/fdt/%.dts
	$(call host_say,dtc $<)
	@mkdir -p $(@D)
	$(host_q)$(DTC) -q -I dts -O dtb -o $@ $<
