# `make lint`: the layout of the code, and what clang-tidy and cppcheck think of it. Included by staff.mk.
# What is looked for stands in .clang-format and .clang-tidy. Nothing is built and nothing is changed;
# `make format` puts the layout right.

# The newest lab, be it a draft.
LINT_LAB := $(lastword $(sort $(patsubst labs/lab%/lab.toml,%,$(wildcard labs/lab*/lab.toml))))

CLANG_FORMAT ?= clang-format
CLANG_TIDY ?= clang-tidy
CPPCHECK ?= cppcheck

# Mutants are wrong on purpose.
LINT_USER := $(sort $(wildcard user/*.c user/libc/*.c)) test/bench/user.c
LINT_KERNEL := $(filter-out $(LINT_USER),$(sort $(wildcard kern/*.c lib/*.c labs/lab*/*.c test/bench/*.c test/boot/*.c)))
LINT_ATTACKS := $(sort $(wildcard user/attack/*.c)) # what they do is wrong on purpose: their layout only
LINT_HOST := $(sort $(wildcard test/host/*.c))
LINT_HEADERS := $(sort $(wildcard inc/*.h inc/*/*.h kern/*.h lib/*.h labs/lab*/*.h user/*/*.h test/host/*.h test/bench/*.h))

# The Makefile's flags as far as clang knows them, for the target that the kernel has.
LINT_KERNEL_FLAGS := --target=aarch64-linux-gnu -std=gnu17 -ffreestanding -nostdlibinc -mgeneral-regs-only \
	-fno-strict-aliasing -Iinc -DLAB=$(LINT_LAB) -DSOL=$(LINT_LAB)
LINT_USER_FLAGS := $(filter-out -mgeneral-regs-only,$(LINT_KERNEL_FLAGS)) -Iuser/libc
LINT_HOST_FLAGS = $(filter-out -W%,$(HOST_FLAGS)) -DLAB=$(LINT_LAB) -DSOL=$(LINT_LAB)

# Left out: comparing pointers to different objects, as linker.ld's symbols are to it (etext, end). It does not
# know C11's _Noreturn.
LINT_CPPCHECK_FLAGS := --enable=warning,performance,portability --std=c11 --platform=unix64 --inline-suppr \
	--quiet --error-exitcode=1 --suppress=comparePointers -Iinc -D__aarch64__ -D__GNUC__=12 \
	'-D_Noreturn=__attribute__((noreturn))' -DLAB=$(LINT_LAB) -DSOL=$(LINT_LAB)

.PHONY: lint lint-format lint-tidy-kernel lint-tidy-user lint-tidy-host lint-cppcheck format
lint: lint-tidy-kernel lint-tidy-user lint-tidy-host lint-format lint-cppcheck
	@echo 'lint: no findings'

lint-format:
	@echo '+ clang-format'
	@$(CLANG_FORMAT) --dry-run -Werror $(LINT_KERNEL) $(LINT_USER) $(LINT_ATTACKS) $(LINT_HOST) $(LINT_HEADERS)

format:
	@$(CLANG_FORMAT) -i $(LINT_KERNEL) $(LINT_USER) $(LINT_ATTACKS) $(LINT_HOST) $(LINT_HEADERS)

lint-cppcheck:
	@echo '+ cppcheck'
	@$(CPPCHECK) $(LINT_CPPCHECK_FLAGS) -Iuser/libc $(LINT_KERNEL) $(LINT_USER)

# A file in which clang-tidy found nothing is not looked at again until something of it changes: the text with all
# that it includes, the flags, what is looked for, or the tool. Its sign is an empty file in O, named by a digest of
# these. clang-tidy counts on standard error what it found in the system's headers and did not show.
# tidy: files, compiler flags, further options
tidy_sign = $(O)/tidy/`{ echo '$(2) $(3)' $$tool; cat .clang-tidy; $(CLANG) -E -C -dD $(2) $$f || date; } 2>/dev/null \
	| git hash-object --stdin`
define tidy
@mkdir -p $(O)/tidy; tool=`$(CLANG_TIDY) --version`; status=0; for f in $(1); do \
	sign=$(tidy_sign); \
	[ -e $$sign ] || { $(CLANG_TIDY) --quiet $(3) $$f -- $(2) 2>/dev/null && touch $$sign; } || status=1; done; exit $$status
endef

# By folder, as each is one process' work. The largest come first.
LINT_FOLDERS := $(sort $(patsubst %/,%,$(dir $(LINT_KERNEL))))
.PHONY: $(LINT_FOLDERS:%=lint-%)
lint-tidy-kernel: $(LINT_FOLDERS:%=lint-%)
$(LINT_FOLDERS:%=lint-%): lint-%:
	@echo '+ clang-tidy $*'
	$(call tidy,$(filter $*/%,$(LINT_KERNEL)),$(LINT_KERNEL_FLAGS))

# A program is one thread.
lint-tidy-user:
	@echo '+ clang-tidy user'
	$(call tidy,$(LINT_USER),$(LINT_USER_FLAGS),--checks=-concurrency-mt-unsafe)

# The programs of test/host/host.mk, each with its own flags and the helpers that it is linked with; but what several
# are linked with is looked at once, as the last of them has it, which has most.
LINTED :=
define lint_program
$(1)_LINT := $$(filter-out $$(LINTED),test/host/$(1).c $$($(1)_HELPERS))
$(1)_LINT_KERNEL := $$(filter-out $$(LINTED),$$(filter test/host/%,$$($(1)_SRCS)))
LINTED += $$($(1)_LINT) $$($(1)_LINT_KERNEL)
.PHONY: lint-$(1)
lint-$(1):
	@echo '+ clang-tidy $(1)'
	$$(call tidy,$$($(1)_LINT),$$(LINT_HOST_FLAGS) $$($(1)_FLAGS))
	$$(if $$($(1)_LINT_KERNEL),$$(call tidy,$$($(1)_LINT_KERNEL),$$(LINT_HOST_FLAGS) \
		$$(filter-out -W%,$$(HOST_KERNEL_FLAGS)) $$($(1)_FLAGS)))
endef
reversed = $(if $(1),$(call reversed,$(wordlist 2,$(words $(1)),$(1))) $(firstword $(1)))
LINT_PROGRAMS := $(call reversed,$(HOST_TESTS) $(HOST_FUZZ))
$(foreach p,$(LINT_PROGRAMS),$(eval $(call lint_program,$(p))))
lint-tidy-host: $(LINT_PROGRAMS:%=lint-%)
