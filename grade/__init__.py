"""Bramble's autograder: takes a submission's files, builds them with staff's, boots every check
in QEMU and looks at the machine from outside.  Python's standard library only.

    python3 -m grade DIR --lab N        see --help
"""

from grade.view import Disagree

__all__ = ["Disagree"]
