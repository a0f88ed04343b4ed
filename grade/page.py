"""index.html: a class's results as one static page, which needs no server and no network.

Names and whatever a student's code printed are hostile: all text goes through esc, and the page's
own policy allows no script and no style but the two that stand in it.
"""

from __future__ import annotations

import base64
import hashlib
import html
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from grade import export, report, run, sheet, store

HERE = Path(__file__).resolve().parent
MESSAGE, CONSOLE, BUILD = 3000, 1500, 8000      # characters of each that a log shows
BINS = 10

Results = Iterable[tuple[str, Path]]


def esc(text: Any, lines: bool = False) -> str:
    return html.escape(run.printable(str(text), keep_lines=lines), quote=True)


def cut(text: str, limit: int, end: bool = False) -> str:
    """The beginning of a text, or its end."""
    if len(text) <= limit:
        return text
    return "[...]\n" + text[-limit:] if end else text[:limit] + "\n[...]"


@dataclass
class Row:
    """What the matrix shows of a submission; its log is read again when it is written."""
    name: str
    path: Path
    status: str                     # graded refused error missing
    score: int = 0
    max: int = 0
    built: bool = True
    problem: str = ""
    kinds: dict[tuple[int, str], str] | None = None

    def words(self) -> list[str]:
        """What the filter knows it by."""
        if self.status != "graded":
            return [self.status]
        return ["graded", "full" if self.score == self.max else "part", *([] if self.built else ["unbuilt"])]


def row_of(name: str, path: Path) -> Row:
    data = store.read(path)
    if data is None:
        return Row(name, path, "missing", problem="not graded yet")
    return Row(name, path, data["status"], data["score"], data["max"], data["build"]["ok"], data["problem"],
               {(c["lab"], c["name"]): c["kind"] for c in data["checks"]})


def pass_rate(rows: list[Row], check: tuple[int, str]) -> str:
    kinds = [r.kinds[check] for r in rows if r.status == "graded" and r.kinds and check in r.kinds]
    return f"{100 * kinds.count('passed') / len(kinds):.0f} %" if kinds else "-"


def facts(rows: list[Row]) -> Iterator[str]:
    graded = [r for r in rows if r.status == "graded"]
    yield f"<b>{len(rows)}</b> submissions"
    for status, text in (("refused", "cannot be graded"), ("error", "with trouble of ours"), ("missing", "not graded yet")):
        count = sum(r.status == status for r in rows)
        if count:
            yield f"<b>{count}</b> {text}"
    if graded:
        scores = [r.score for r in graded]
        yield f"mean <b>{statistics.fmean(scores):.1f}</b>"
        yield f"median <b>{statistics.median(scores):g}</b>"
        yield f"full marks <b>{sum(r.score == r.max for r in graded)}</b>"
        unbuilt = sum(not r.built for r in graded)
        if unbuilt:
            yield f"<b>{unbuilt}</b> do not compile"


def spread(rows: list[Row]) -> str:
    """How the scores are spread, as a picture."""
    graded = [r for r in rows if r.status == "graded" and r.max]
    if not graded:
        return ""
    bins = [0] * (BINS + 1)
    for r in graded:
        bins[min(BINS, r.score * BINS // r.max)] += 1
    top = max(bins)
    label = ", ".join(f"{n} from {100 * i // BINS} %" if i < BINS else f"{n} with all" for i, n in enumerate(bins) if n)
    parts = [f'<svg class="spread" viewBox="0 0 {44 * len(bins)} 96" role="img" aria-label="Scores: {esc(label)}">']
    for i, n in enumerate(bins):
        height = 60 * n / top
        name = "all" if i == BINS else f"{100 * i // BINS}"
        parts.append(f'<rect x="{44 * i + 4}" y="{78 - height:.1f}" width="36" height="{height:.1f}" rx="2"/>'
                     f'<text x="{44 * i + 22}" y="92">{name}</text>'
                     + (f'<text x="{44 * i + 22}" y="{74 - height:.1f}">{n}</text>' if n else ""))
    return "".join([*parts, "</svg>"])


def head(title: str, style: str, script: str) -> str:
    policy = "; ".join(["default-src 'none'", "base-uri 'none'", "form-action 'none'",
                        *(f"{what} 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
                          for what, text in (("style-src", style), ("script-src", script)))])
    return (f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
            f"<style>{style}</style>\n</head>\n")


def controls(checks: list[tuple[int, str, int]], rows: list[Row]) -> str:
    options = [("", "all"), ("is:full", "full marks"), ("is:part", "not full marks"), ("is:unbuilt", "does not compile"),
               ("is:refused", "cannot be graded"), ("is:error", "trouble of ours"), ("is:missing", "not graded yet")]
    there = {word for r in rows for word in r.words()}
    options = [(v, t) for v, t in options if not v or v.removeprefix("is:") in there]
    options += [(f"fails:{lab}.{name}", f"fails {name}") for lab, name, _ in checks]
    return ('<div class="controls"><label>Find a name <input id="search" type="search" autocomplete="off"></label>'
            '<label>Show <select id="filter">'
            + "".join(f'<option value="{esc(v)}">{esc(t)}</option>' for v, t in options)
            + '</select></label><output id="shown" aria-live="polite"></output></div>\n')


def table_head(checks: list[tuple[int, str, int]], rows: list[Row]) -> str:
    cells = ['<th class="who" scope="col" aria-sort="ascending"><button type="button">submission</button></th>',
             '<th scope="col" aria-sort="none" data-first="descending"><button type="button">score</button></th>']
    for lab, name, points in checks:
        cells.append(f'<th class="check{"" if points else " earlier"}" scope="col" aria-sort="none">'
                     f'<button type="button">{esc(name)}</button>'
                     f"<small>{f'{points}' if points else f'lab {lab}'}</small>"
                     f"<small>{pass_rate(rows, (lab, name))}</small></th>")
    return "<thead><tr>" + "".join(cells) + "</tr></thead>\n"


def table_row(number: int, r: Row, checks: list[tuple[int, str, int]]) -> str:
    fails = " ".join(f"{lab}.{name}" for lab, name, _ in checks
                     if r.kinds and r.kinds.get((lab, name), "passed") != "passed")
    cells = [f'<th class="who" scope="row" data-v="{number}"><a href="#s{number}"><bdi>{esc(r.name)}</bdi></a></th>']
    if r.status != "graded":
        cells.append(f'<td class="score" data-v="-1"></td><td class="why" colspan="{max(len(checks), 1)}">'
                     f"<span>{esc(cut(r.problem, 300))}</span></td>")
        checks = []
    else:
        cells.append(f'<td class="score" data-v="{r.score}">{r.score}<small>/{r.max}</small></td>')
    for lab, name, _ in checks:
        kind = (r.kinds or {}).get((lab, name), "")
        style, sign = {"passed": ("ok", "\u2713"), "": ("odd", "\u2013"), "build": ("odd", "\u2013"),
                       "error": ("odd", "!")}.get(kind, ("no", "\u2717"))
        word = report.WORDS.get(kind, kind).lower() or "not run"
        cells.append(f'<td class="{style}" data-v="{int(kind == "passed")}" data-check="{esc(f"{lab}.{name}")}" '
                     f'title="{esc(name)}: {esc(word)}"><span aria-hidden="true">{sign}</span>'
                     f'<span class="sr">{esc(word)}</span></td>')
    return (f'<tr data-name="{esc(r.name)}" data-log="s{number}" data-is="{esc(" ".join(r.words()))}" '
            f'data-fails="{esc(fails)}">' + "".join(cells) + "</tr>\n")


def theirs(text: str) -> str:
    """What a student's code or compiler run printed: marked as such line by line."""
    marked = "\n".join("| " + line for line in run.printable(text).rstrip().splitlines())
    return f'<pre class="theirs">{esc(marked, lines=True)}</pre>' if marked else ""


def check_log(check: dict[str, Any], previous: dict[str, Any] | None) -> Iterator[str]:
    word = report.WORDS.get(check["kind"], check["kind"]).lower()
    yield (f'<h3 data-check="{esc(str(check["lab"]) + "." + check["name"])}">{esc(check["name"])} <small>{esc(word)}'
           f'{"" if check["points"] else ", lab " + esc(check["lab"])}</small></h3>'
           f'<p class="dim">{esc(check["clause"])}</p>')
    if previous and (previous["kind"], previous["message"]) == (check["kind"], check["message"]):
        yield "<p>The same as above.</p>"
        return
    yield f'<pre>{esc(cut(check["message"], MESSAGE), lines=True)}</pre>'
    if check.get("drawing"):
        yield f'<pre class="drawing">{esc(cut(check["drawing"], MESSAGE), lines=True)}</pre>'
    for line in export.again(check):
        what, _, command = line.partition(": ")
        yield f'<p class="dim">{esc(what)}: <code>{esc(command)}</code></p>'
    if check["console"].strip():
        yield ("<details><summary>the console's end</summary>"
               + theirs(cut(check["console"].strip(), CONSOLE, end=True)) + "</details>")


def log(number: int, name: str, path: Path) -> Iterator[str]:
    data = store.read(path)
    yield f'<section class="log" id="s{number}"><h2><bdi>{esc(name)}</bdi></h2>'
    if data is None:
        yield "<p>Not graded yet.</p></section>\n"
        return
    if data["status"] == "graded":
        yield f'<p><b>{data["score"]} of {data["max"]}</b>, seed {esc(data["seed"])}</p>'
    if data["problem"]:
        yield f'<pre>{esc(cut(data["problem"], MESSAGE), lines=True)}</pre>'
    origin = {k: v for k, v in data["origin"].items() if v}
    if origin:
        yield '<p class="dim">' + ", ".join(f"{esc(k)}: {esc(v)}" for k, v in origin.items()) + "</p>"
    notes = list(data["notes"])
    if data["ignored"]:
        notes.append("staff's files that were edited and do not count: " + ", ".join(data["ignored"]))
    if notes:
        yield "<ul>" + "".join(f"<li>{esc(note)}</li>" for note in notes) + "</ul>"
    if data["status"] == "graded" and not data["build"]["ok"]:
        yield "<h3>It does not compile</h3><p class=\"dim\">The compiler said:</p>"
        yield theirs(cut(data["build"]["output"], BUILD))
    else:
        previous = None
        for check in data["checks"]:
            if not check["passed"]:
                yield from check_log(check, previous)
                previous = check
        passed = [c["name"] for c in data["checks"] if c["passed"]]
        if passed:
            yield f'<h3>Passed</h3><p>{esc(", ".join(passed))}</p>'
    yield "</section>\n"


def put(out: TextIO, results: list[tuple[str, Path]], number: int, title: str) -> None:
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    rows = [row_of(name, path) for name, path in results]
    checks = sheet.checks_of(results)
    heading = f"Lab {number}: {esc(title)}"
    out.write(head(heading, style, script))
    out.write(f"<body>\n<h1>{heading}</h1>\n<ul class=\"facts\">"
              + "".join(f"<li>{fact}</li>" for fact in facts(rows)) + f"</ul>\n{spread(rows)}\n")
    out.write(controls(checks, rows))
    out.write('<div class="frame" role="region" aria-label="Results" tabindex="0"><table>\n' + table_head(checks, rows)
              + "<tbody>\n")
    for i, row in enumerate(rows):
        out.write(table_row(i, row, checks))
    out.write('</tbody></table></div>\n<dialog id="reader"><div class="bar">'
              '<button type="button" class="previous">Previous</button><button type="button" class="next">Next</button>'
              '<button type="button" class="close">Close</button></div><div class="text" id="text"></div></dialog>\n')
    for i, (name, path) in enumerate(results):
        for piece in log(i, name, path):
            out.write(piece)
    out.write(f"<script>{script}</script>\n</body>\n</html>\n")


def write(path: Path, results: Results, number: int, title: str) -> None:
    """Written piece by piece, as the logs of a large class are long; there as a whole or not at all."""
    partial = path.with_name(f".{path.name}.part")
    with open(partial, "w", encoding="utf-8", errors="replace", newline="\n") as out:
        put(out, list(results), number, title)
    partial.replace(path)
