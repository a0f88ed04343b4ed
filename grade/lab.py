"""What a lab consists of (lab.toml), and its judges, from the pristine tree."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

POINTS_IN_A_RUN = ("boot_start", "main", "begin", "judge")


class LabError(Exception):
    """labs/ of the pristine tree is unusable: trouble of the course, not of the submission."""


def module(path: Path, name: str) -> ModuleType:
    """The Python file at path as a module of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise LabError(f"cannot read {path}")
    made = importlib.util.module_from_spec(spec)
    sys.modules[name] = made
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(made)
    except (OSError, SyntaxError) as e:
        raise LabError(f"cannot read {path}: {e}") from None
    finally:
        sys.dont_write_bytecode = writes
    return made


def load(root: Path) -> dict[int, Any]:
    """number -> Lab (labs/labs.py has the classes), for the labs of a tree."""
    reader = module(root / "labs" / "labs.py", "bramble_labs")
    try:
        labs: dict[int, Any] = {lab.number: lab for lab in reader.read(root, drafts=True)}
    except (reader.LabError, OSError) as e:
        raise LabError(str(e)) from None
    if not labs:
        raise LabError(f"there are no labs in {root}")
    return labs


def judges(root: Path, number: int, check: str) -> dict[str, Any]:
    """The judge functions of a check, by the point of the run at which each is called.  They are in judge.py, or
    in files judge_*.py."""
    folder = root / "labs" / f"lab{number}"
    paths = sorted(folder.glob("judge*.py"))
    if not paths:
        raise LabError(f"labs/lab{number}/judge.py is missing")
    found = [module(path, f"bramble_{path.stem}_{number}") for path in paths]
    functions = {point: getattr(m, f"{point}_{check}") for m in found for point in POINTS_IN_A_RUN
                 if hasattr(m, f"{point}_{check}")}
    if not functions:
        raise LabError(f"labs/lab{number}/judge.py has no judge_{check}")
    return functions
