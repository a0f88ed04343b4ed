"""Was every line and every branch of some source files taken?

    coverage.py FOLDER... -- FILE...

The FOLDERs hold what gcc --coverage left behind after the tests ran.  Names each line of the FILEs
that no test executed, and each branch that none took, an assertion's failure apart.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

def reports(folders: list[str]) -> list[dict]:
    """gcov's findings for every object file in the folders."""
    notes = sorted(str(p.resolve()) for folder in folders for p in Path(folder).rglob("*.gcda"))
    done = subprocess.run([os.environ.get("GCOV", "gcov"), "--json-format", "--stdout",
                           "--branch-probabilities", *notes],
                          capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def findings(found_by_gcov: list[dict], name: str) -> list[str]:
    lines: dict[int, list[int]] = {}
    branches: dict[int, list[int]] = {}
    for report in found_by_gcov:
        for file in report["files"]:
            if not os.path.normpath(file["file"]).endswith(name):
                continue
            for line in file["lines"]:
                number = line["line_number"]
                lines.setdefault(number, []).append(line["count"])
                counts = [b["count"] for b in line["branches"]]
                old = branches.get(number, [0] * len(counts))
                branches[number] = [a + b for a, b in zip(old, counts)]
    if not lines:
        return [f"{name}: not compiled with --coverage, or never run"]
    text = Path(name).read_text().splitlines()
    found = []
    for number in sorted(lines):
        source = text[number - 1].strip()
        missed = sum(count == 0 for count in branches[number])
        if source.startswith("assert("):
            missed -= 1     # the branch that says that the code is wrong
        if not any(lines[number]):
            found.append(f"{name}:{number}: never executed: {source}")
        elif missed > 0:
            found.append(f"{name}:{number}: {missed} of {len(branches[number])} branches "
                         f"never taken: {source}")
    print(f"{name}: {len(lines)} lines, {sum(map(len, branches.values()))} branches, "
          f"{len(found)} not covered")
    return found


def main() -> int:
    between = sys.argv.index("--")
    found_by_gcov = reports(sys.argv[1:between])
    found = [f for name in sys.argv[between + 1:] for f in findings(found_by_gcov, name)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
