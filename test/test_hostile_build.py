"""Tricks that a submission can try while it is compiled and linked.

The honest twin is the reference's files as a submission, which builds and scores everything.  A trick
that does not build scores nothing; no trick lets the build read or change a file of this machine.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import compiler
import grading
from grade import build, sandbox, submission
from grade.run import printable

LAB = 2
BOXES = ("bubblewrap", "landlock")
SECRET = "canary-" + "7c1e9a55"     # in no file of the project as one word


@pytest.fixture(scope="module", autouse=True)
def plain_compiler() -> Iterator[None]:
    """Nothing of the tests' own between make and the compiler (compiler.py)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", compiler.PLAIN)
        yield


@pytest.fixture(scope="module")
def tree(plain_compiler: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[build.Tree, dict[str, bytes]]:
    """The course's tree with the honest twin built in it."""
    folder = tmp_path_factory.mktemp("hostile")
    wanted = [f for n in (1, LAB) for f in (*grading.course()[n].student, *grading.course()[n].optional)]
    files = submission.take(grading.submission(folder / "honest", LAB, LAB), wanted).files
    made = build.pristine(grading.ROOT, LAB, folder / "tree")
    build.overlay(made, files)
    built = build.build(made, LAB, 0, 2)
    assert built.ok, built.output
    return made, files


@pytest.fixture(params=BOXES)
def box(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """With bubblewrap, and without."""
    sandbox.missing.cache_clear()
    sandbox.landlock_abi.cache_clear()
    if request.param == "bubblewrap" and sandbox.missing() is not None:
        pytest.skip("no bubblewrap here")
    if request.param == "landlock":
        monkeypatch.setenv("GRADE_SANDBOX", "none")
        sandbox.missing.cache_clear()
        if sandbox.landlock_abi() == 0:
            pytest.skip("no Landlock here")
    yield request.param
    monkeypatch.undo()
    sandbox.missing.cache_clear()


def attempt(tree: tuple[build.Tree, dict[str, bytes]], source: str, file: str = "kern/vm.c",
            before: str = "") -> build.Built:
    """Build the honest files with the trick added to one of them."""
    made, files = tree
    build.overlay(made, {file: before.encode() + files[file] + b"\n" + source.encode() + b"\n"})
    for product in (made.path / "obj").glob("kernel8.*"):
        product.unlink()
    try:
        return build.build(made, LAB, 0, 2)
    finally:
        build.overlay(made, {file: files[file]})


def test_the_honest_twin_builds(tree: tuple[build.Tree, dict[str, bytes]], box: str) -> None:
    built = attempt(tree, "")
    assert built.ok and not built.output, built.output


# --- symbols and sections: each is refused, in words ----------------------

REFUSED = {
    "check_end of one's own": ("void check_end(void) {}", "multiple definition of `check_end'"),
    "ram_holds of one's own": ("asm(\".global ram_holds\\nram_holds: ret\");",
                                "multiple definition of `ram_holds'"),
    "memset of one's own": ("asm(\".global memset\\nmemset: ret\");", "multiple definition of `memset'"),
    "another main": ("int main(void) { return 0; }", "multiple definition of `main'"),
    "an alias with staff's name": (
        "int mine(void) { return 1; }\nextern int check_fail(void) __attribute__((alias(\"mine\")));",
        "multiple definition of `check_fail'"),
    "an absolute symbol": ("asm(\".global panicked\\n.set panicked, 0x1234\");",
                           "multiple definition of `panicked'"),
    "a weak symbol": ("__attribute__((weak)) int check_begin(void) { return 1; }",
                      "vm.c: check_begin is defined as a weak symbol"),
    "a weak object": ("int phystop_ __attribute__((weak)) = 1;", "defined as a weak symbol"),
    "a version of a symbol": ("int mine(void) { return 1; }\nasm(\".symver mine, check_end@@V1\");",
                              "the odd name 'check_end@@V1'"),
    "a name that is assembler": ("asm(\".global \\\"x;.global y;y\\\"\\n\\\"x;.global y;y\\\": ret\");",
                                 "odd name"),
    "an indirect function": ("asm(\".type choose, %gnu_indirect_function\\n.global choose\\nchoose: ret\");",
                             "choose is an indirect function"),
    "a symbol of linker.ld": ("char bss_end[8] = {1};", "bss_end is defined, which is linker.ld's"),
    "a constructor": ("int early;\n__attribute__((constructor)) void first(void) { early = 1; }",
                      r"the section \.init_array"),
    "code before staff's": ("__attribute__((section(\".text.boot\"))) int first(void) { return 1; }",
                            r"the section \.text\.boot"),
    "code before staff's, sorted": ("asm(\".section .text.boot.a, \\\"ax\\\"\\nb .\\n.text\");",
                                    r"the section \.text\.boot\.a"),
    "a check of one's own": (
        "static const void *const mine[3] __attribute__((section(\".checks\"), used)) = {0};",
        r"the section \.checks"),
    "entries in the table of symbols": ("asm(\".section .symbols, \\\"a\\\"\\n.word 1, 2\\n.text\");",
                                        r"the section \.symbols"),
    "something on the stack": ("char mine[64] __attribute__((section(\".stack\")));", r"the section \.stack"),
    "an orphan": ("int my __attribute__((section(\"mine\"))) = 1;", "the section mine"),
    "writable code": ("asm(\".section .text.mine, \\\"awx\\\"\\nret\\n.text\");", "has other rights"),
    "executable data": ("asm(\".section .data.mine, \\\"awx\\\"\\nret\\n.text\");", "has other rights"),
    "writable constants": ("asm(\".section .rodata.mine, \\\"aw\\\"\\n.word 1\\n.text\");", "has other rights"),
    "a section group": ("asm(\".section .text.check_end, \\\"axG\\\", %progbits, check_end, comdat\\nret\\n.text\");",
                        "section groups"),
    "a note": ("asm(\".section .note.mine, \\\"a\\\", %note\\n.word 1\\n.text\");", r"the section \.note\.mine"),
}


@pytest.mark.parametrize("trick", REFUSED)
def test_symbols_and_sections(trick: str, tree: tuple[build.Tree, dict[str, bytes]], box: str) -> None:
    source, why = REFUSED[trick]
    built = attempt(tree, source)
    assert not built.ok
    assert re.search(why, built.output), built.output


def test_entry_keeps_its_boot_section_and_gets_no_other(tree: tuple[build.Tree, dict[str, bytes]]) -> None:
    assert attempt(tree, "    nop", "kern/entry.S").ok
    built = attempt(tree, ".section .checks, \"a\"\n.quad 0", "kern/entry.S")
    assert not built.ok and "kern/entry.S: something is put into the section .checks" in built.output


HARMLESS = {
    "staff's words redefined": ("#define NULL ((void *)1)\n#define page_owned(x) 1\n#define kfree(x) kfree(x)\n", ""),
    "the next header of that name": ("", "#include_next <stddef.h>"),
    "static words": ("", "static int check_end_, end_; int *mine(void) { end_ = 1; return &check_end_; }"),
    "helpers, tables and constants": (
        "", "int table[64] = {1}; static int zero[64]; const char *words[] = {\"a\", \"b\"};\n"
            "int help(int i); int help(int i) { switch (i) { case 1: return 5; case 2: return 9; case 3: return 11; "
            "case 4: return 3; case 5: return 2; } return table[i & 63] + zero[i & 63] + words[i & 1][0]; }"),
}


@pytest.mark.parametrize("trick", HARMLESS)
def test_what_an_honest_student_may_write_builds(trick: str, tree: tuple[build.Tree, dict[str, bytes]]) -> None:
    before, after = HARMLESS[trick]
    built = attempt(tree, after, before=before)
    assert built.ok or trick == "staff's words redefined", built.output
    assert "refused" not in built.output


# --- files of the host ------------------------------------------------------

READS = {
    "#include": '#include "{file}"',
    "#include <>": "#include <{file}>",
    "#include, by a macro": '#define F "{file}"\n#include F',
    "#include, relative": '#include "../../../../../../../../../..{file}"',
    "#embed or #include_next": '#include_next "{file}"',
    ".incbin": 'asm(".section .rodata\\n.incbin \\"{file}\\"\\n.text");',
    ".incbin, in pieces": 'asm(".section .rodata\\n.inc" "bin \\"{file}\\"\\n.text");',
    ".include": 'asm(".include \\"{file}\\"");',
    "__has_include": '#if __has_include("{file}")\n#error ' + SECRET + "\n#endif",
    "#pragma GCC dependency": '#pragma GCC dependency "{file}" ' + SECRET,
}


@pytest.mark.parametrize("how", READS)
def test_no_file_of_the_host_is_read(how: str, tree: tuple[build.Tree, dict[str, bytes]], box: str,
                                     tmp_path: Path) -> None:
    canary = tmp_path / "canary.h"
    canary.write_text(SECRET + " = 1;\n")
    before = canary.stat()
    built = attempt(tree, READS[how].format(file=canary))
    if how == "#pragma GCC dependency" and built.ok:
        pass                            # it only looks at the file's time
    elif how == "__has_include":        # it is not there, or not to be read
        assert built.ok or "Permission denied" in built.output, built.output
    else:
        assert not built.ok
    assert SECRET not in built.output
    for product in (tree[0].path / "obj").glob("kernel8.*"):
        assert SECRET.encode() not in product.read_bytes()
    assert canary.stat().st_mtime_ns == before.st_mtime_ns and canary.read_text().startswith(SECRET)


@pytest.mark.parametrize("file", ["/etc/passwd", "/etc/shadow", "/proc/1/environ", "/dev/stdin", "/dev/zero",
                                  "/dev/mem", str(grading.ROOT / "kern" / "vm.c")])
def test_nothing_of_the_system_either(file: str, tree: tuple[build.Tree, dict[str, bytes]], box: str,
                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", SECRET)
    for how in ("#include", ".incbin", ".include"):
        built = attempt(tree, READS[how].format(file=file))
        assert not built.ok or file in ("/dev/stdin", "/proc/1/environ")    # the sandbox's own, and empty
        assert "root:" not in built.output and SECRET not in built.output
        for product in (tree[0].path / "obj").glob("kernel8.img"):
            assert SECRET.encode() not in product.read_bytes()


def test_the_box_from_within(box: str, tmp_path: Path) -> None:
    """Canary files and a canary process."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "canary").write_text(SECRET)
    with subprocess.Popen(["sleep", "60"]) as canary:
        script = (f"cat {outside}/canary; echo no > {outside}/canary; echo no > {outside}/new; rm -f {outside}/canary; "
                  f"mv {outside}/canary {outside}/other; ln {outside}/canary here; ls {outside}; "
                  f"kill -9 {canary.pid}; kill -9 -- -1; cat /proc/{canary.pid}/environ; cat /etc/passwd; "
                  "echo no > /tmp/bramble-canary; echo no > /usr/bramble-canary; echo yes > made")
        log = tmp_path / "log"
        with open(log, "wb") as out:
            status = sandbox.run([*sandbox.prefix(inside, "sh"), "/bin/sh", "-c", script], 30, cwd=inside,
                                 stdout=out, stderr=out, env={"PATH": "/usr/bin:/bin"},
                                 preexec_fn=sandbox.limits(5, 1 << 20, 1 << 30, inside))
        assert canary.poll() is None
        canary.kill()
    assert status is not None
    said = log.read_text("utf-8", "replace")
    assert SECRET not in said and "root:" not in said and "PATH=" not in said, said
    assert [p.name for p in outside.iterdir()] == ["canary"] and (outside / "canary").read_text() == SECRET
    assert not Path("/tmp/bramble-canary").exists() and not Path("/usr/bramble-canary").exists()
    if box == "bubblewrap" or sandbox.landlock_abi() >= 6:
        assert (inside / "made").read_text() == "yes\n", said


def test_no_network(box: str, tmp_path: Path) -> None:
    if box == "landlock" and sandbox.landlock_abi() < 4:
        pytest.skip("this Landlock knows no network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        script = f"import socket; socket.create_connection(('127.0.0.1', {port}), 3); print('through')"
        done = subprocess.run([*sandbox.prefix(tmp_path, "/usr/bin/python3"), "/usr/bin/python3", "-I", "-S", "-c",
                               script], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              preexec_fn=sandbox.limits(5, 1 << 20, 1 << 30, tmp_path, ("/usr/bin/python3",)))
    assert "through" not in done.stdout and done.returncode != 0


def test_the_report_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for landlock, missing in (("", "Landlock kept"), ("none", "could read and write what you can")):
        monkeypatch.setenv("GRADE_SANDBOX", "none")
        monkeypatch.setenv("GRADE_LANDLOCK", landlock)
        sandbox.missing.cache_clear()
        sandbox.landlock_abi.cache_clear()
        if landlock or sandbox.landlock_abi() > 0:
            said = sandbox.note()
            assert said and "no sandbox: switched off" in said and missing in said
    monkeypatch.undo()
    sandbox.missing.cache_clear()
    sandbox.landlock_abi.cache_clear()


@pytest.mark.skipif(sandbox.missing() is not None, reason="no bubblewrap here")
def test_processes_are_counted() -> None:
    """Root's are not, by the kernel: there, somebody else is tried."""
    somebody: dict[str, Any] = {} if os.getuid() else {"user": "nobody", "group": "nogroup", "extra_groups": []}
    with tempfile.TemporaryDirectory() as scratch:      # not below root's own temporary files
        os.chmod(scratch, 0o777)
        done = subprocess.run([*sandbox.prefix(Path(scratch), "sh"), "/bin/sh", "-c",
                               "echo begun; for i in $(seq 300); do sleep 5 & done; echo all"],
                              capture_output=True, text=True, cwd="/", **somebody)
    assert "begun" in done.stdout and "all" not in done.stdout, done.stderr


# --- bombs --------------------------------------------------------------------

DOUBLING = "#define B0 x, x\n" + "".join(f"#define B{i + 1} B{i}, B{i}\n" for i in range(60))
BOMBS = {
    "includes itself": '#include "vm.c"\n#include "vm.c"',
    "a macro that doubles": DOUBLING + "int bomb[] = {B59};",
    ".rept": 'asm(".data\\n.rept 1 << 30\\n.byte 1\\n.endr\\n.text");',
    ".rept in .rept": 'asm(".data\\n.rept 1000000\\n.rept 1000000\\n.byte 1\\n.endr\\n.endr\\n.text");',
    "an endless assembler macro": 'asm(".macro m a\\n m \\"\\\\a\\\\a\\"\\n.endm\\n m xx");',
    ".fill": 'asm(".data\\n.fill 1 << 33, 8, 1\\n.text");',
    ".space": 'asm(".data\\n.space 1 << 40\\n.text");',
    ".org": 'asm(".data\\n.org 1 << 40\\n.byte 1\\n.text");',
    ".balign": 'asm(".balign 1 << 30");',
    "an array": "static char huge[1ul << 40]; char *bomb(void) { return huge; }",
    "an array with contents": "char huge[1ul << 32] = {1};",
    "a range of initialisers": "int huge[] = {[0 ... 1 << 28] = 1};",
    "an endless file": '#include "/dev/zero"',
    "an endless file, included as bytes": 'asm(".incbin \\"/dev/urandom\\"");',
    "errors without end": "\n".join(f"int f{i} = @;" for i in range(20000)),
    "a line without end": "int x = " + "(" * 900_000,
}


@pytest.mark.parametrize("trick", BOMBS)
def test_bombs(trick: str, tree: tuple[build.Tree, dict[str, bytes]], box: str,
               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "CPU_SECONDS", 1)
    began = time.monotonic()
    built = attempt(tree, BOMBS[trick])
    assert not built.ok and built.output
    assert time.monotonic() - began < 60
    assert len(built.output) <= build.OUTPUT_CAP + 1000
    for path in tree[0].path.rglob("*"):
        assert path.stat().st_size <= build.FILE_SIZE


def test_a_build_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    mark = f"4{os.getpid()}.25"
    assert sandbox.run(["/bin/sh", "-c", f"sleep {mark} & sleep {mark}"], 0.3) is None
    time.sleep(0.2)
    assert not subprocess.run(["pgrep", "-f", f"sleep {mark}"], capture_output=True).stdout


# --- words ----------------------------------------------------------------------

def test_messages_cannot_speak_for_staffs_files(tree: tuple[build.Tree, dict[str, bytes]]) -> None:
    for fake in ('#line 1 "labs/lab2/check.c"\nint x = ;', '# 1 "labs/lab2/check.c"\nint x = ;'):
        built = attempt(tree, fake)
        assert not built.ok and "labs/lab2/check.c:1" in built.output
        assert "(labs/lab2/check.c: staff's, and compiles" in built.output.splitlines()[0]
    honest = attempt(tree, "int x = ;")
    assert not honest.ok and "staff's" not in honest.output and "kern/vm.c:" in honest.output


def test_no_terminal_escapes(tree: tuple[build.Tree, dict[str, bytes]]) -> None:
    built = attempt(tree, "#error \x1b]0;title\x07\x1b[2J \u202e\u2066 \x9b1m \x7f")
    shown = printable(built.output)
    assert not built.ok and "title" in shown
    assert all(c == "\n" or c == "\t" or c.isprintable() for c in shown)


def test_the_ends_of_processes(tmp_path: Path) -> None:
    """A grader that is killed takes its build along, where bubblewrap or the kernel sees to it."""
    program = ("import sys; from pathlib import Path; from grade import sandbox; sandbox.run([*sandbox.prefix("
               "Path(sys.argv[1]), 'sh'), '/bin/sh', '-c', 'echo up > up; exec sleep ' + sys.argv[2]], 60, "
               "cwd=sys.argv[1], preexec_fn=sandbox.limits(5, 1 << 20))")
    mark = f"5{os.getpid()}.75"
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path), mark], cwd=grading.ROOT) as grader:
        for _ in range(200):
            if (tmp_path / "up").exists():
                break
            time.sleep(0.05)
        os.kill(grader.pid, signal.SIGKILL)
    for _ in range(50):
        if not subprocess.run(["pgrep", "-f", f"^sleep {mark}"], capture_output=True).stdout:
            return
        time.sleep(0.05)
    pytest.fail("the build outlived the grader")
