# What only staff's tree has: the stage to build, and the tests. Not part of any lab branch.
#
#   LAB=N    build the kernel as it stands in lab N (default: the last)
#   SOL=K    with the exercises of labs 1 to K solved (default: all; 0 is what a student starts with)

LAST := $(shell python3 labs/labs.py last)
LAB ?= $(LAST)
SOL ?= $(LAB)
STAGE_FLAGS := -DLAB=$(LAB) -DSOL=$(SOL)
LATER_FILES := $(shell python3 labs/labs.py later $(LAB))
