"""One submission's result in other people's formats: JUnit XML, and Markdown for GitHub's step summary."""

from __future__ import annotations

import html
import re
import time
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from grade import report, run

CONSOLE = 2000      # characters of the console that go along
# XML 1.0, section 2.2: what a document may hold.
NOT_XML = re.compile("[^\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]")


def xml_text(text: Any) -> str:
    return escape(NOT_XML.sub("\N{REPLACEMENT CHARACTER}", run.printable(str(text))))


def xml_attribute(text: Any) -> str:
    return quoteattr(NOT_XML.sub("\N{REPLACEMENT CHARACTER}", run.printable(" ".join(str(text).split()))))


def again(check: dict[str, Any]) -> list[str]:
    """The commands that show a failure again."""
    found = [f"in gdb: {check['again']}"] if check.get("again") else []
    if check["kind"] not in ("judge", "tampered"):
        found.append(f'by itself: make qemu ARGS="{check["arguments"]}"')
    elif not found:
        found.append(f'by itself: make grade GRADE="--check {check["name"]} --seed {check["seed"]}"')
    return [run.printable(line, keep_lines=False) for line in found]


def quoted(text: str) -> str:
    """What the student's code or the compiler said, marked line by line: it cannot pose as ours."""
    return "\n".join("| " + line for line in run.printable(text).rstrip().splitlines())


def account(check: dict[str, Any]) -> str:
    """A failed check in words, several lines."""
    parts = [run.printable(check["clause"]), "", run.printable(check["message"]), ""]
    if check.get("drawing"):
        parts += [run.printable(check["drawing"]), ""]
    if check["console"].strip() and check["kind"] not in ("failed", "judge"):
        parts += ["the console's end:", quoted(check["console"].strip()[-CONSOLE:]), ""]
    return "\n".join([*parts, *again(check)])


def preamble(data: dict[str, Any]) -> str:
    """What concerns the whole submission, several lines; '' when there is nothing to say."""
    parts = []
    if data.get("problem"):
        parts.append(run.printable(data["problem"]))
    elif not data["build"]["ok"]:
        parts += ["It does not compile. The compiler said:", quoted(data["build"]["output"])]
    if data["ignored"]:
        parts.append("These files are staff's; your changes to them do not count: "
                     + run.printable(", ".join(data["ignored"]), keep_lines=False))
    parts += ["note: " + run.printable(note, keep_lines=False) for note in data["notes"]]
    return "\n".join(parts)


def junit(data: dict[str, Any]) -> str:
    """JUnit XML that both common schemas take (Ant's, Jenkins')."""
    checks = data["checks"]
    errors = [c for c in checks if c["kind"] in ("error", "build")]
    failures = [c for c in checks if not c["passed"] and c not in errors]
    refused = bool(data.get("problem")) and not checks
    seconds = f"{float(data['seconds']):.3f}"
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>",
             f'  <testsuite id="0" package="bramble" name={xml_attribute("lab " + str(data["lab"]))} '
             f'timestamp="{time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())}" hostname="localhost" tests="{len(checks) + refused}" '
             f'failures="{len(failures)}" errors="{len(errors) + refused}" skipped="0" time="{seconds}">',
             "    <properties>",
             *(f'      <property name="{name}" value={xml_attribute(data[name])}/>' for name in ("score", "max", "seed")),
             "    </properties>"]
    if refused:
        lines.append('    <testcase classname="bramble" name="submission" time="0">'
                     f'<error type="refused" message={xml_attribute(data["problem"])}/></testcase>')
    for check in checks:
        case = f'    <testcase classname={xml_attribute("lab" + str(check["lab"]))} name={xml_attribute(check["name"])} time="0"'
        if check["passed"]:
            lines.append(case + "/>")
            continue
        what = "error" if check in errors else "failure"
        first = check["message"].strip().splitlines()[:1]
        lines.append(f'{case}><{what} type={xml_attribute(check["kind"])} message={xml_attribute("".join(first))}>'
                     f"{xml_text(account(check))}</{what}></testcase>")
    lines += [f"    <system-out>{xml_text(preamble(data))}</system-out>", "    <system-err></system-err>",
              "  </testsuite>", "</testsuites>"]
    return "\n".join(lines) + "\n"


def cell(text: Any) -> str:
    """Text for a Markdown table: no markup of its own, no second cell, no mention of anybody."""
    plain = html.escape(run.printable(" ".join(str(text).split()), keep_lines=False), quote=False)
    return re.sub(r"([\\`*_{}\[\]()#+!|~@:-])", lambda m: f"&#{ord(m[1])};", plain)


def block(text: str) -> str:
    """Text as it is, in a fence that it cannot close."""
    ticks = max((len(m[0]) for m in re.finditer("`+", text)), default=0)
    fence = "`" * max(3, ticks + 1)
    return f"{fence}text\n{text}\n{fence}"


def summary(data: dict[str, Any]) -> str:
    """Markdown for $GITHUB_STEP_SUMMARY."""
    lines = [f"## Lab {data['lab']}: {data['score']} of {data['max']} points", ""]
    said = preamble(data)
    if said:
        lines += [block(said), ""]
    own = [c for c in data["checks"] if c["points"]]
    broken = [c for c in data["checks"] if not c["points"] and not c["passed"]]
    if own:
        lines += ["| check | points | result |", "|-|-:|-|"]
        for check in own:
            word = report.WORDS.get(check["kind"], check["kind"]).lower()
            lines.append(f"| {cell(check['name'])} | {check['score']}/{check['points']} | "
                         f"{'✅' if check['passed'] else '❌'} {cell(word)} |")
        lines.append("")
    if data["build"]["ok"]:
        for check in [*own, *broken]:
            if not check["passed"]:
                lines += [f"<details><summary>{cell(check['name'])}</summary>", "", block(account(check)), "",
                          "</details>", ""]
    return "\n".join(lines) + "\n"
