# What only staff's tree has: the stage to build, and the tests. Not part of any lab branch.
#
#   LAB=N     build the kernel as it stands in lab N (default: the last)
#   SOL=K     with the exercises of labs 1 to K solved (default: all; 0 is what a student starts with)
#   STRICT=1  every warning that our own files must not have is an error

ifeq ($(origin LAB),undefined)
LAB := $(shell python3 labs/labs.py last)
endif
SOL ?= $(LAB)
STAGE_FLAGS := -DLAB=$(LAB) -DSOL=$(SOL)
GRADE ?= --lab $(LAB) --sol $(SOL)
LATER_FILES := $(shell python3 labs/labs.py later $(LAB))

ifeq ($(STRICT),1)
STAGE_FLAGS += -Werror -Wshadow -Wundef -Wvla -Wpointer-arith -Wcast-qual -Wstrict-prototypes \
    -Wmissing-prototypes -Wold-style-definition -Wredundant-decls -Wwrite-strings -Wformat=2 \
    -Wimplicit-fallthrough -Wswitch-enum -Wconversion -Wsign-conversion -Wduplicated-cond \
    -Wlogical-op -Wstack-usage=1024 -Wdate-time
endif

# The Python that Debian's pytest belongs to need not be the first on PATH.
PYTEST = $(firstword $(foreach p,python3 /usr/bin/python3,\
    $(if $(shell $(p) -c 'import pytest' 2>/dev/null && echo yes),$(p)))) -B -m pytest

include $(sort $(wildcard test/*.mk test/*/*.mk))

# Python's tests run makes of their own, which are to know nothing of this one.
ALONE := env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL

# test-host and lint are in test/: their parts run side by side, what takes long first, and each one's output comes
# in one piece. The rest of the tests is Python's. Each builds what it needs.
JOBS ?= $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
.PHONY: test compiled
test:
	@$(MAKE) --no-print-directory -j$(JOBS) --output-sync=target run-coverage compiled lint test-host
	@echo '+ pytest test'
	@$(ALONE) $(PYTEST) -q -n 2 --dist loadfile test

# What they compile again and again is compiled once.
compiled:
	@echo '+ compile what the tests build'
	@$(ALONE) $(PYTHON) -B test/compiler.py

STAFF_HELP = \
    echo; \
    echo 'For staff. LAB=N SOL=K choose the stage (now: $(LAB), $(SOL)):'; \
    echo 'make test         all tests; make test-host lint: parts of them'; \
    echo 'make bench        what operations cost, in guest instructions, against their targets'; \
    echo 'make mutants      do the checks find every mistake in labs/*/mutants?'; \
    echo 'make seeds        do right solutions pass, whatever the judges draw?'; \
    echo 'make fuzz         a long run of the fuzzers'; \
    echo 'labs/release      cut and publish the lab branches; see --help'
