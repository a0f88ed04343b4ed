"""Commands for gdb that know what a kernel's memory is: page tables, page frames, processes, exceptions.

make gdb loads this file.  In another gdb: source grade/gdbcommands.py.  bramble lists the commands, and help tells
more of each.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

# gdb runs this among all other scripts; the commands are in a module, so that nobody's names meet.
sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
importlib.import_module("grade.debugger")
