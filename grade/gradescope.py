"""Gradescope: results.json for one submission, and the autograder zip that makes it.

    python3 -m grade.gradescope --zip FILE --lab N

The formats are those of https://gradescope-autograders.readthedocs.io/en/latest/specs/.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from grade import build, export, lab as labs, report, run
from grade.submission import BadSubmission

ROOT = Path(__file__).resolve().parent.parent
VISIBILITY = ("visible", "hidden", "after_due_date", "after_published")
FIXED_DATE = (2020, 1, 1, 0, 0, 0)      # the same tree gives the same zip
TREE = "bramble"

SETUP = """#!/bin/sh
# Runs once, when Gradescope makes the image.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install -y --no-install-recommends make git bubblewrap qemu-system-arm gcc-aarch64-linux-gnu
python3 -c 'import tomllib' 2>/dev/null || apt-get install -y --no-install-recommends python3.11
"""

RUN = """#!/bin/sh
# Runs once a submission.
set -eu
for python in python3 python3.13 python3.12 python3.11; do
    if "$python" -c 'import tomllib' 2>/dev/null; then break; fi
done
cd /autograder/source/bramble
exec "$python" -B -m grade.gradescope --lab {lab} --visibility {visibility} \\
    /autograder/submission /autograder/results/results.json
"""


def results(data: dict[str, Any], visibility: str = "visible") -> dict[str, Any]:
    """results.json.  All text is declared plain, so that none of it is taken for HTML."""
    tests = []
    for number, check in enumerate(data["checks"], 1):
        if not check["points"] and check["passed"]:
            continue
        name = check["name"] if check["points"] else f"lab {check['lab']}: {check['name']} (worth no points here)"
        tests.append({
            "name": run.printable(name, keep_lines=False), "name_format": "text", "number": str(number),
            "score": check["score"], "max_score": check["points"], "status": "passed" if check["passed"] else "failed",
            "output": run.printable(check["clause"]) if check["passed"] else export.account(check),
            "output_format": "text", "visibility": visibility})
    said = export.preamble(data)
    return {"score": data["score"], "execution_time": round(data["seconds"]),
            "output": said or f"{data['score']} of {data['max']} points", "output_format": "text",
            "test_output_format": "text", "test_name_format": "text", "visibility": visibility,
            "stdout_visibility": "hidden", "extra_data": {"seed": data["seed"], "lab": data["lab"]}, "tests": tests}


def write(path: Path, data: dict[str, Any], visibility: str = "visible") -> None:
    report.write_text(path, json.dumps(results(data, visibility), indent=1) + "\n")


# ---- The zip ----------------------------------------------------------------------------------------


def released_tree(number: int, scratch: Path) -> dict[str, tuple[bytes, bool]]:
    """name -> contents, executable: the course as students of this lab have it, without solutions.

    Staff's tree is cut as for a release, from the last commit.
    """
    if not (ROOT / "staff.mk").exists():
        tree = build.pristine(ROOT, number, scratch / "tree").path
        return {p.relative_to(tree).as_posix(): (p.read_bytes(), bool(p.stat().st_mode & 0o100))
                for p in sorted(tree.rglob("*")) if p.is_file() and not p.is_symlink()}
    if str(ROOT / "labs") not in sys.path:
        sys.path.insert(0, str(ROOT / "labs"))
    cut, gitrepo = (importlib.import_module(name) for name in ("cut", "gitrepo"))
    git = gitrepo.Git(ROOT)
    lab = cut.Cut(cut.Source(git, git.text("rev-parse", "HEAD")), number, 0)
    return {path: (lab.text(path), file.mode == "100755") for path, file in lab.origin.items()}


def make_zip(path: Path, number: int, visibility: str) -> None:
    with tempfile.TemporaryDirectory(prefix="bramble-gradescope-") as scratch:
        files = released_tree(number, Path(scratch))
    files = {f"{TREE}/{name}": data for name, data in files.items()}
    files[f"{TREE}/{build.PRISTINE}"] = b"Nobody has edited these files: they are as the course has them.\n", False
    files["setup.sh"] = SETUP.encode(), True
    files["run_autograder"] = RUN.format(lab=number, visibility=visibility).encode(), True
    partial = path.with_name(path.name + ".part")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (data, executable) in sorted(files.items()):
            info = zipfile.ZipInfo(name, FIXED_DATE)
            info.external_attr = (0o100755 if executable else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    partial.replace(path)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m grade.gradescope", description="Gradescope's autograder.")
    parser.add_argument("--lab", type=int, required=True, metavar="N")
    parser.add_argument("--zip", type=Path, metavar="FILE", help="make the autograder to upload")
    parser.add_argument("--visibility", choices=VISIBILITY, default="visible", help="of the checks, for students")
    parser.add_argument("paths", type=Path, nargs="*", metavar="SUBMISSION RESULTS",
                        help="in Gradescope's container: grade a submission, write results.json")
    options = parser.parse_args()
    try:
        if options.zip:
            make_zip(options.zip, options.lab, options.visibility)
            return 0
        if len(options.paths) != 2:
            parser.error("give --zip FILE, or a submission and the file for its results")
        from grade import __main__ as command
        arguments = [str(options.paths[0]), "--lab", str(options.lab), "--gradescope", str(options.paths[1]),
                     "--visibility", options.visibility]
        status = command.main(arguments)
        return 0 if options.paths[1].exists() else status
    except (BadSubmission, build.Trouble, labs.LabError, OSError) as e:
        print(f"grade.gradescope: {e}", file=sys.stderr)
        return 3


if __name__ == "__main__":
    sys.exit(main())
