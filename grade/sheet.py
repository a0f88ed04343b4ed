"""results.csv: a class's scores for a spreadsheet."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from grade import report, store

Results = Iterable[tuple[str, Path]]        # a submission's name, and the file of its result
FIXED = ["submission", "status", "score", "max", "not passed", "problem", "seed", "commit", "commit date"]


def safe(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, and that stays in its line."""
    if isinstance(value, (int, float)):
        return value
    text = "".join(c if c.isprintable() else " " for c in str(value))
    first = unicodedata.normalize("NFKC", text).lstrip()[:1]
    return "'" + text if first in ("=", "+", "-", "@", "|", "%") and first else text


def checks_of(results: Results) -> list[tuple[int, str, int]]:
    """Lab, name and points of every check that occurs, in the order of the first result that has them all."""
    longest: list[tuple[int, str, int]] = []
    for _, path in results:
        data = store.read(path)
        found = [(c["lab"], c["name"], c["points"]) for c in data["checks"]] if data else []
        if len(found) > len(longest):
            longest = found
    return longest


def write(path: Path, results: Results) -> None:
    results = list(results)
    checks = checks_of(results)
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow([*FIXED, *(name if points else f"lab {lab} {name}" for lab, name, points in checks)])
    for name, file in results:
        data = store.read(file)
        if data is None:
            table.writerow([safe(name), "not graded yet"])
            continue
        graded = data["status"] == "graded"
        by_name = {(c["lab"], c["name"]): c for c in data["checks"]}
        failed = [c["name"] for c in data["checks"] if not c["passed"] and c["points"]]
        problem = data["problem"] or ("it does not compile" if graded and not data["build"]["ok"] else "")
        cells = []
        for lab, check, points in checks:
            result = by_name.get((lab, check))
            cells.append("" if result is None else result["score"] if points else "passed" if result["passed"] else "failed")
        table.writerow([safe(cell) for cell in (
            name, data["status"], data["score"] if graded else "", data["max"], " ".join(failed), problem,
            data["seed"] if graded else "", data["origin"].get("commit", ""), data["origin"].get("date", ""), *cells)])
    report.write_text(path, out.getvalue())
