# `make mutants`: how good are the checks? MUTANTS= passes options and names to test/mutants.py.
.PHONY: mutants
mutants:
	@$(PYTHON) -B test/mutants.py $(MUTANTS)

# `make seeds`: is right work ever failed? SEEDS= passes options and names to test/seeds.py.
.PHONY: seeds
seeds:
	@$(PYTHON) -B test/seeds.py $(SEEDS)
