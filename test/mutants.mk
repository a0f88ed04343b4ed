# `make mutants`: how good are the checks? MUTANTS= passes options and names to test/mutants.py.
.PHONY: mutants
mutants:
	@$(PYTHON) -B test/mutants.py $(MUTANTS)
