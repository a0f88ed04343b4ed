"""The debugger's commands (grade/gdbcommands.py), in gdb, on QEMU: in every lab's kernel, as it is handed out, half
done and finished; wherever the machine can stand.  What they say is held against gdb's own reading of the kernel by its
debugging information, against symbols and the console."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import grading
from grade.elf import Elf
from grade.machine import machine_name, qemu_binary
from grade.view import KERNBASE, PGSIZE

ROOT = grading.ROOT
GDB = shutil.which("gdb-multiarch")
pytestmark = pytest.mark.skipif(GDB is None, reason="gdb-multiarch is not installed")
LABS = sorted(grading.course()) if 6 in grading.course() else [*sorted(grading.course()), max(grading.course()) + 1]
COMMANDS = str(ROOT / "grade" / "gdbcommands.py")
KERNELS = sorted({(lab, sol) for lab in LABS for sol in (0, lab - 1, lab)})
ALL = ("pt main", "pt 0x400000", "vmmap", "mem", "buddy", "slabs", "page main", "page 0x500000", "ps", "tf", "btall",
       "whatis-fault")
DEVICES = 0x3F000000
NOT_BEFORE = {"buddy": 3, "slabs": 4, "ps": 5}

# What gdb knows by the debugging information, with structures as the compiler made them.
FACTS = r"""
import gdb, json

def value(text):
    try:
        return gdb.parse_and_eval(text)
    except gdb.error:
        return None

def number(text):
    found = value(text)
    return None if found is None else int(found)

def chain(at, following):
    found = []
    while at is not None and int(at) and len(found) < 300000:
        found.append(at.dereference())
        at = at.dereference()[following]
    return found

def facts():
    f = {"usable": [], "zones": [], "blocks": None, "slabs": [], "areas": [], "procs": {}}
    for i in range(20):
        if not number(f"usable_ranges[{i}].end"):
            break
        f["usable"].append([number(f"usable_ranges[{i}].start"), number(f"usable_ranges[{i}].end")])
    page = value("kmem.free_list")
    if page is not None:
        f["listed"] = len(chain(page, "next"))
        f["first"] = int(page)
    if number("nzones"):
        f["blocks"] = [0] * 11
        for i in range(number("nzones")):
            z = value(f"zones[{i}]")
            f["zones"].append([int(z[name]) for name in ("base", "n", "free", "pages")]
                              + [int(z["watermark"][k]) for k in range(3)])
            for order in range(11):
                head = int(z["n"]) + order
                at = int(z["link"][head]["next"])
                while at != head:
                    f["blocks"][order] += 1
                    at = int(z["link"][at]["next"])
    for slab in chain(value("slabs"), "next"):
        free, at = 0, slab["head"]["next"]
        while int(at) != int(slab.address):
            free += bin(int(at["free"])).count("1")
            at = at["next"]
        f["slabs"].append([int(slab["size"]), int(slab["chunks"]) * int(slab["objects"]) - free, int(slab["chunks"])])
    f["areas"] = [[int(a["start"]), int(a["npages"])] for a in chain(value("areas"), "next")]
    procs = value("'kern/proc.c'::procs")
    if procs is not None:
        for i in range(procs.type.range()[1] + 1):
            if int(procs[i]):
                p = procs[i].dereference()
                f["procs"][int(p["pid"])] = [int(p["ppid"]), int(p["state"]), p["name"].string(), int(p["as"]["pages"]),
                                             int(p["as"]["root"]), int(p["kstack"])]
    return f

print(json.dumps(facts()))
"""


class Session:
    """Commands for gdb, which are all run in one go, and what each has said."""

    def __init__(self, obj: Path, arguments: str, scratch: Path, cpus: int = 1):
        self.obj, self.arguments, self.scratch, self.cpus = obj, arguments, scratch, cpus
        self.elf = Elf(obj / "kernel8.elf")
        self.commands: list[str] = []
        (scratch / "facts.py").write_text(FACTS)

    def add(self, *commands: str) -> int:
        """The number of the last one."""
        self.commands += commands
        return len(self.commands) - 1

    def all(self, *more: str) -> dict[str, int]:
        return {command: self.add(command) for command in (*ALL, *more)}

    def facts(self) -> int:
        return self.add(f"source {self.scratch / 'facts.py'}")

    def physical(self, name: str) -> str:
        return f"*{self.elf.symbols[name].address - KERNBASE:#x}"

    @cached_property
    def said(self) -> list[str]:
        qemu = [qemu_binary(), "-M", machine_name(), "-display", "none", "-nodefaults", "-no-reboot", "-global",
                f"bcm2837.enabled-cpus={self.cpus}", "-icount", "shift=0", "-serial",
                f"file:{self.scratch / 'boot.log'}", "-serial", f"file:{self.scratch / 'console.log'}", "-gdb", "stdio",
                "-S", "-kernel", str(self.obj / "kernel8.img"), "-append", self.arguments]
        words = [str(GDB), "-q", "-nx", "-batch", "-ex", "set architecture aarch64", "-ex", "set confirm off", "-ex",
                 "set width 0", "-x", COMMANDS, "-ex", "target remote | exec " + shlex.join(qemu)]
        for i, command in enumerate([*self.commands, "kill"]):
            words += ["-ex", f"echo \\n@@{i}@@\\n", "-ex", command]
        done = subprocess.run([*words, str(self.obj / "kernel8.elf")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=120)
        parts = re.split(r"\n@@\d+@@\n", done.stdout)
        assert len(parts) == len(self.commands) + 2, done.stdout[-3000:]
        return [part.strip("\n") for part in parts[1:-1]]

    def answers(self, commands: dict[str, int]) -> dict[str, str]:
        return {command: self.said[i] for command, i in commands.items()}

    def fact(self, i: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.said[i].splitlines()[-1])
        return found

    def console(self) -> str:
        return (self.scratch / "console.log").read_text(errors="replace")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], Path]:
    """Kernels by lab and how much of it is solved, made when they are asked for."""
    folder = tmp_path_factory.mktemp("kernels")

    class Kernels(dict[tuple[int, int], Path]):
        def __missing__(self, stage: tuple[int, int]) -> Path:
            obj = self[stage] = folder / f"{stage[0]}{stage[1]}"
            subprocess.run(["make", "-s", "-j2", f"LAB={stage[0]}", f"SOL={stage[1]}", f"O={obj}",
                            f"{obj}/kernel8.img"], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
            return obj

    return Kernels()


def is_sound(said: str) -> None:
    """Text, and nothing of Python's."""
    bad = re.search(r"Traceback|Python Exception|Error occurred|makes no sense \(|Undefined command", said)
    assert said.strip() and not bad, said


# --- every kernel --------------------------------------------------------


@pytest.mark.parametrize("lab,sol", KERNELS)
def test_everywhere(lab: int, sol: int, built: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    runs = {5: "run=hello", 6: "run=forks,2" if sol == 6 else "run=hello"}.get(lab, "check=none")
    s = Session(built[lab, sol], f"{runs} mem=16M", tmp_path)
    stops: dict[str, dict[str, int]] = {"reset": s.all()}
    s.add(f"break {s.physical('boot_start')}", "continue", "delete")
    stops["boot_start"] = s.all()
    facts = {}
    if sol > 0:
        s.add("break main", "continue", "delete")
        stops["main"] = s.all()
        where = {(5, 5): "sys_write", (6, 6): "fault_cow"}.get((lab, sol), "power_off")
        s.add(f"break *{s.elf.symbols[where].address:#x}", *["continue"] * (4 if where == "fault_cow" else 1), "delete")
        facts["end"] = s.facts()
        backtrace = s.add("bt")
        entry = s.add("pt main")
        stops["end"] = s.all("vmmap 3", "tf 3", "page kmem.free_list", "bramble", "pt 0x8000000000000000")
        s.add("set $pc = 0x1230", "break panic_end", "continue")
        pc = s.add("print $pc")
        stops["panic"] = s.all()
        assert "panic_end" in s.said[pc]
    for stop, commands in stops.items():
        for command, i in commands.items():
            is_sound(s.said[i])
            if lab < NOT_BEFORE.get(command, 0):
                assert re.fullmatch(rf"{command}: this kernel has no .*: (it|they) comes? with lab "
                                    rf"{NOT_BEFORE[command]}", s.said[i])
    at_reset, at_start = (s.answers(stops[stop]) for stop in ("reset", "boot_start"))
    assert "running at EL2" in at_reset["btall"] and "ESR_EL2 is 0" in at_reset["whatis-fault"]
    assert "boot_start" in at_start["btall"].splitlines()[1]
    assert f"running at EL{1 if sol else 2}:" in at_start["btall"]
    for said in (at_reset, at_start):
        assert "The MMU is off" in said["pt main"] and "no page tables yet" in said["vmmap"]
        assert "has not been looked for yet" in said["mem"] and "no trap frame" in said["tf"]
        if lab >= 5:
            assert "no threads yet" in said["ps"]
    if sol == 0:
        return
    said = s.answers(stops["end"])
    f = s.fact(facts["end"])
    see_tables(s, said, s.said[entry])
    see_memory(lab, s, said, f)
    if lab >= 5:
        see_processes(said, f)
    see_calls(said["btall"], s.said[backtrace])
    panic = s.answers(stops["panic"])
    assert "executing address 0x1230: translation fault" in panic["whatis-fault"]
    assert panic["whatis-fault"].endswith("A NULL pointer: the byte at offset 0x1230 of nothing.")
    assert "elr 0000000000001230" in panic["tf"] and "spsr" in panic["tf"] and "panic_end" in panic["btall"]
    assert "trap+" in panic["btall"] and "0000000000001230 0x1230" in panic["btall"]


def see_tables(s: Session, said: dict[str, str], main: str) -> None:
    address = s.elf.symbols["main"].address
    lines = main.splitlines()
    assert lines[0].startswith(f"the walk of {address:#x}, from TTBR1_EL1") and lines[5].startswith("--> level 3")
    assert lines[6] == (f"{address:#x} is at {address - KERNBASE:#x}, in a page of 4 KiB: normal memory (MAIR has 0xff "
                        "for AttrIndx 0), inner shareable, AF set, global; EL1 r-x, EL0 ---.")
    assert "is in neither half" in said["pt 0x8000000000000000"]
    rows = [line.split() for line in said["vmmap"].splitlines()[1:]]
    found = {int(row[0], 16): (int(row[2], 16), row[5], row[6]) for row in rows}
    edges = {name: s.elf.symbols[name].address for name in ("image_start", "etext", "data")}
    assert found[edges["image_start"]] == (edges["etext"], "r-x", "---")
    assert found[edges["etext"]] == (edges["data"], "r--", "---")
    assert max(end for start, (end, *_) in found.items() if start < KERNBASE + DEVICES) == KERNBASE + (16 << 20)
    assert all(el0 == "---" and el1 in ("r-x", "r--", "rw-") for _, el1, el0 in found.values())
    assert [el1 for _, el1, _ in found.values()].count("r-x") == 1


def see_memory(lab: int, s: Session, said: dict[str, str], f: dict[str, Any]) -> None:
    lines = said["mem"].splitlines()
    image = [s.elf.symbols[name].address - KERNBASE for name in ("image_start", "end")]
    assert lines[0] == f"kernel image {image[0]:x}-{image[1]:x}" and lines[1] == "RAM          0-1000000 4096 pages"
    assert [line for line in lines if line.startswith("usable")] == [
        f"usable       {a:x}-{b:x} {(b - a) // PGSIZE} pages" for a, b in f["usable"]]
    # A page at the beginning of the image, one of the first page of main, which has a name.
    assert "the kernel's image (main" in said["page main"]
    if lab == 1:
        printed = re.search(r"(\d+) pages usable", s.console())
        assert printed and sum(b - a for a, b in f["usable"]) == int(printed[1]) * PGSIZE
        assert "no allocator in this kernel" in said["mem"] and "no allocator has it yet" in said["page 0x500000"]
        return
    with_pmm = sum(zone[2] for zone in f["zones"])
    if f["listed"] + with_pmm:
        both = f"{with_pmm} with the pmm, and " if f["zones"] else ""
        assert f"free         {f['listed'] + with_pmm} pages: {both}{f['listed']} on kalloc's list" in lines
        assert "Broken" not in said["mem"] and "leaked" not in said["mem"]
    else:
        assert "No page is free" in said["mem"]
    if f["first"]:
        page = f"Page {f['first'] - KERNBASE:#x}: free, on kalloc's list."
        assert said["page kmem.free_list"].splitlines()[0] == page
    if f["zones"]:
        rows = said["buddy"].splitlines()
        base, n, free, pages, *marks = f["zones"][0]
        assert rows[0] == (f"zone 0  {base:x}-{base + n * PGSIZE:x}  {free} of {pages} pages free, marks at "
                           + " ".join(map(str, marks)))
        assert [int(row.split()[3]) for row in rows[2:13]] == f["blocks"]
        assert sum(count << order for order, count in enumerate(f["blocks"])) == free
    elif lab >= 3:
        assert "there is no pmm (yet)" in said["buddy"]
    if lab >= 4:
        rows = said["slabs"].splitlines()
        found = [[int(word) for word in row.split()[1:]] for row in rows[1:] if re.fullmatch(r" *\w+( +\d+){5}", row)]
        assert [[size, in_use, chunks] for size, in_use, _, chunks, _ in found] == [row for row in f["slabs"] if row[2]]
        areas = [re.match(r"area at (\w+), (\d+) pages", row) for row in rows]
        assert [[int(a[1], 16), int(a[2])] for a in areas if a] == f["areas"]


def see_processes(said: dict[str, str], f: dict[str, Any]) -> None:
    rows = [re.match(r"([* ]) *(\d+) +(\d+) (\w+) +(\d+) (\S+)", line) for line in said["ps"].splitlines()[1:]]
    states = ("new", "ready", "running", "sleeping", "ended")
    assert {row[2]: [int(row[3]), row[4], row[6], int(row[5])] for row in rows if row} == {
        pid: [ppid, states[state], name, pages] for pid, (ppid, state, name, pages, *_) in f["procs"].items()}
    assert [row[4] for row in rows if row and row[1] == "*"] == ["running"]
    for pid, (_, _, name, _, root, _) in f["procs"].items():
        assert f"{name} (pid {pid})," in said["btall"]
    if "3" not in f["procs"]:
        assert said["vmmap 3"].startswith("vmmap: there is no process 3: there are 0")
        return
    name, pages, root = (f["procs"]["3"][i] for i in (2, 3, 4))
    first, _, *lines = said["vmmap 3"].splitlines()
    assert first.startswith(f"{name} (pid 3): root table at {root - KERNBASE:#x}, ")
    found = [re.fullmatch(r" *0x(\w+) - +0x(\w+) +(\d+)  (\S{3})  (file|heap|anon|stack) (\S{3})(.*)", line)
             for line in lines[:-1]]
    assert all(found)
    there = [row for row in found if row and "not touched" not in row[7]]
    assert sum(int(row[3]) for row in there) == pages and lines[-1].startswith(f"{pages} page")
    assert "00400000" in said["pt 0x400000"] or "0x400000 is at" in said["pt 0x400000"]
    assert re.search(r" sp 000000003[0-9a-f]{7}$", said["tf 3"], re.MULTILINE) and f", of {name}" in said["tf 3"]


def see_calls(btall: str, backtrace: str) -> None:
    """gdb shows functions that were made part of others as well."""
    ours = re.findall(r"^    ffff\w+ (\w+)", btall.split("\n\n")[0], re.MULTILINE)
    gdbs = re.findall(r"^#\d+ +(?:0x\w+ in )?(\w+)", backtrace, re.MULTILINE)
    assert ours and ours[0] == gdbs[0]
    at = 0
    for name in ours:
        assert name in gdbs[at:], (name, gdbs)
        at = gdbs.index(name, at) + 1


# --- a program -----------------------------------------------------------


def test_in_a_program(built: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    """At EL0; then in a copy on write, a system call of another process's, and where everybody sleeps."""
    obj = built[6, 6]
    s = Session(obj, "run=forks,1 mem=16M", tmp_path)
    main = Elf(obj / "user" / "forks.elf").symbols["main"].address
    s.add(f"break *{main:#x}", "continue", "delete")
    here = s.all("pt $pc", "vmmap 3", "tf 3", "pt main 3")
    s.add("break fault_cow", "continue", "delete")
    va = s.add("output va")
    s.add("set $p = (struct proc *)$TPIDR_EL1", "set $frame = (struct trap_frame *)($p->kstack + 0x4000) - 1")
    frame = [s.add(f"output $frame->{field}") for field in ("elr", "sp", "esr", "far", "x[8]", "x[30]")]
    pid = s.add("output $p->pid")
    there = s.all("pt va", "pt va $p->pid", "vmmap $p->pid", "page $p->as.root", "page $frame", "page zero_page")
    s.add("break sys_write", "continue", "delete")
    call = s.all("tf 3", "tf 1", "tf 0")
    for i in (*here.values(), *there.values(), *call.values()):
        is_sound(s.said[i])
    at = s.answers(here)
    assert at["tf"] == at["tf 3"]
    assert at["tf"].splitlines()[0] == "At EL0, in forks (pid 3): the registers are the program's own."
    assert f"  pc  {main:016x} main, of forks" in at["tf"] and re.search(r"pstate \w+: EL0, flags", at["tf"])
    running = at["btall"].split("\n\n")[0].splitlines()
    assert running[:2] == ["forks (pid 3), running at EL0:", f"    {main:016x} main, of forks"]
    assert re.search(r"^\* +3 +0 running", at["ps"], re.MULTILINE) and at["ps"].count("*") == 1
    assert "the root of forks (pid 3)" in at["pt $pc"] and at["pt $pc"].splitlines()[-2].endswith("EL0 r-x.")
    assert at["pt $pc"].splitlines()[-1].endswith("of forks (pid 3): file, r-x.")
    assert "not touched yet" in at["vmmap 3"] and "EL1 r-x, EL0 ---." in at["pt main 3"]

    at = s.answers(there)
    address, elr, sp, esr, far, x8, x30 = (int(s.said[i]) for i in (va, *frame))
    who = f"forks (pid {s.said[pid]})"
    for words in (f"{who} came into the kernel with; the frame", f" sp {sp:016x}", f"  elr {elr:016x} ",
                  f"  esr {esr:08x}: ", f" x8 {x8:016x}", f"x30 {x30:016x}",
                  f"writing address {far:#x}: permission fault, level 3"):
        assert words in at["tf"], words
    assert address == far & -PGSIZE and f"ELR_EL1 {elr:#x}: " in at["whatis-fault"]
    assert at["whatis-fault"].endswith("copy on write, which page_fault sees to.")
    assert at["pt va"].splitlines()[1:] == at["pt va $p->pid"].splitlines()[1:]
    assert at["pt va"].endswith("; copy on write.")
    assert re.search(r"stack rw-  copy on write$", at["vmmap $p->pid"], re.MULTILINE)
    assert f"a level 0 page table of {who}" in at["page $p->as.root"]
    assert f"a page of the kernel stack of {who}." in at["page $frame"]
    assert "the page of zeroes." in at["page zero_page"] and "the kernel keeps it." in at["page zero_page"]

    at = s.answers(call)
    assert re.search(r"esr 56000000: system call \(svc\), number 0x0: sys_write\(0x1, 0x\w+, 0x\w+, \.\.\.\)\Z",
                     at["tf"])
    assert at["whatis-fault"].endswith("That is no fault: a program has called the kernel.")
    assert at["tf 1"].startswith("tf: reaper (pid 1) is in no exception: it is a kernel thread")
    assert re.search(r"boot \(pid 0\), asleep, waits for one of its children \(child_ended\):\n.* sleep_on",
                     at["btall"])


def test_a_core_that_sleeps(built: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    """It translates nothing, and the kernel's addresses mean the same all the same."""
    s = Session(built[6, 6], "run=forks,1 mem=16M", tmp_path, cpus=4)
    s.add("break fault_cow", "continue", "delete")
    first = s.all("tf 4")
    s.add("thread 2")
    second = s.all("tf 4")
    for i in (*first.values(), *second.values()):
        is_sound(s.said[i])
    one, other = s.answers(first), s.answers(second)
    assert other["btall"].startswith("The core, running at EL2:\n")
    assert "secondary_start" in other["btall"].splitlines()[1]
    assert "forks (pid 3), running: not on this core" in other["btall"] and "none of them" in other["ps"]
    others = [said["btall"].split("boot (pid 0)")[1].split("forks")[0] for said in (one, other)]
    assert others[0] == others[1]
    for command in ("mem", "buddy", "slabs", "page main", "page 0x500000", "tf 4"):
        assert one[command] == other[command]


def test_tampering_shows(built: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    """A leak, a mapping of another's page, a wrong count: written into memory by gdb."""
    s = Session(built[6, 6], "run=forks,2 mem=16M", tmp_path)
    s.add("break fault_cow", *["continue"] * 4, "delete", "break sys_exit", "continue", "delete")
    before = s.add("mem")
    s.add("set $page = (char *)kmem.free_list", "set var kmem.count = kmem.count - 1",
          "set var kmem.free_list = kmem.free_list->next", "set var frames.state[($page - frames.first) >> 12] = 0",
          "set var *(long *)$page = 0")
    leaked = s.add("page $page")
    s.add("set $root = 'kern/proc.c'::procs[3]->as.root")
    s.add("set $l1 = (unsigned long *)(0xffff000000000000 + ($root[0] & 0xfffffffff000))",
          "set $l2 = (unsigned long *)(0xffff000000000000 + ($l1[0] & 0xfffffffff000))",
          "set $l3 = (unsigned long *)(0xffff000000000000 + ($l2[2] & 0xfffffffff000))")
    s.add("set $was = $l3[3] & 0xfffffffff000", "set $free = (unsigned long)kmem.free_list - 0xffff000000000000")
    entry = s.add("pt 0x403000 3")
    s.add("set var $l3[3] = ($l3[3] & ~0xfffffffff000) | $free")
    foreign, without, mapped = s.add("page $free"), s.add("page $was"), s.add("pt 0x403000 3")
    s.add("set var $l3[3] = ($l3[3] & ~0xfffffffff000) | $was", "set $shared = $l3[0] & 0xfffffffff000",
          "set var zones[0].link[$shared >> 12].users = 77")
    wrong, after = s.add("page $shared"), s.add("mem")
    assert "leaked" not in s.said[before] and "Wrong" not in s.said[before] and "Broken" not in s.said[before]
    assert s.said[leaked].splitlines()[0].endswith("in use, and nothing leads to it: leaked."), s.said[leaked]
    assert "0x403000 is at" in s.said[entry] and s.said[entry].splitlines()[5] != s.said[mapped].splitlines()[5]
    assert "free, on kalloc's list" in s.said[foreign]
    assert "Wrong: forks (pid 3) has it mapped at 0x403000." in s.said[foreign]
    assert "nothing leads to it: leaked" in s.said[without]
    assert re.search(r"Wrong: it counts 77 users, but has \d mappings?, and the kernel keeps it\.", s.said[wrong])
    assert "leaked" in s.said[after] and "it counts 77 users" in s.said[after]


def test_broken_structures_are_told(built: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    s = Session(built[6, 6], "run=forks,2 mem=16M", tmp_path)
    s.add("break fault_cow", *["continue"] * 4, "delete")
    s.add("set var *(long *)kmem.free_list = (long)kmem.free_list", "set var slabs->next = slabs",
          "set var areas->next = areas", "set var 'kern/proc.c'::procs[1] = (struct proc *)0x12345678",
          "set var 'kern/proc.c'::procs[3]->as.vmas->next = 'kern/proc.c'::procs[3]->as.vmas",
          "set var heap.regions->next = heap.regions", "set var zones[0].link[zones[0].n + 1].next = 0x7fffffff")
    broken = s.all("vmmap 3")
    for i in broken.values():
        is_sound(s.said[i])
    at = s.answers(broken)
    assert "Broken: the free list has page" in at["mem"] and "twice" in at["mem"]
    assert "Broken: the list of caches goes round in a circle" in at["slabs"]
    assert "round in a circle" in at["slabs"].split("heap")[1]
    assert "Broken: the list of order 1 in zone 0" in at["buddy"]
    assert "Broken: a struct proc is at 0x12345678, where there is no memory" in at["ps"]
    assert "the ranges of forks (pid 3) make no sense" in at["vmmap 3"]


# --- gdb itself ----------------------------------------------------------


def test_help(built: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    s = Session(built[1, 1], "", tmp_path)
    table, listed = s.add("bramble"), s.add("help bramble")
    helps = {name: s.add(f"help {name}") for name in {command.split()[0] for command in ALL}}
    odd = {command: s.add(command) for command in (
        "pt", "pt 1 2 3", "page", "page no_such_name", "pt *(long *)0x123456789", "ps 1", "tf no", "page 80000000000",
        "pt ffff000000080000")}
    assert s.said[table] in s.said[listed]
    for name, i in helps.items():
        usage = next(line for line in s.said[table].splitlines() if line.split(" ")[0] == name)
        assert s.said[i].startswith(name) and re.split("  +", usage)[-1] in s.said[i]
    for command, i in odd.items():
        is_sound(s.said[i])
        assert len(s.said[i].splitlines()) <= 2, s.said[i]
    assert s.said[odd["pt"]] == "That is: pt VA [PID]" and "no_such_name" in s.said[odd["page no_such_name"]]


def test_no_machine(built: dict[tuple[int, int], Path]) -> None:
    done = subprocess.run([str(GDB), "-q", "-nx", "-batch", "-x", COMMANDS, "-ex", "ps", "-ex", "mem",
                           str(built[1, 1] / "kernel8.elf")], capture_output=True, text=True)
    assert done.stdout.count("there is no machine: make qemu-gdb in another terminal, then make gdb") == 2
    assert not done.stderr


def test_make_gdb_has_them(built: dict[tuple[int, int], Path]) -> None:
    """Up to where a check fails: kalloc is not written."""
    done = subprocess.run([sys.executable, "-m", "grade.boot", "--obj", str(built[2, 1]), "--args",
                           "check=pgdir_walk mem=16M", "--connect"], cwd=ROOT, input="bramble\nmem\nbtall\n",
                          capture_output=True, text=True, timeout=60)
    assert "pt VA [PID]" in done.stdout and "kernel image 80000-" in done.stdout, done.stdout + done.stderr
    assert "check_pgdir_walk" in done.stdout.split("kernel image")[1]


def test_without_files_of_qemus(built: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    """Memory comes by gdb's packets if QEMU cannot write files where gdb reads them."""
    s = Session(built[3, 3], "check=none mem=16M", tmp_path)
    s.add("break power_off", "continue")
    usual = s.all()
    s.add("python import grade.debugger", "python grade.debugger.Stub.save = lambda self, pa, size: None")
    packets = s.all()
    assert [s.said[i] for i in usual.values()] == [s.said[i] for i in packets.values()]


def test_another_kernel_is_told(built: dict[tuple[int, int], Path], tmp_path: Path) -> None:
    s = Session(built[1, 1], "check=none mem=16M", tmp_path)
    same = s.add("mem")
    s.add(f"file {built[2, 2] / 'kernel8.elf'}")
    other = s.add("mem")
    assert "not that of gdb's kernel8.elf" in s.said[other] and "not that" not in s.said[same]
