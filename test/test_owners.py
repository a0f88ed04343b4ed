"""grade/owners.py on a copy of a machine's memory: whose each page is, what is wrong with pages that were tampered
with, and how long it takes.  And what the debugger's commands make of memory in which anything may be overwritten."""

from __future__ import annotations

import random
import re
import struct
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import grading
from grade import explain, heaps, owners, procs, stacks, tell, tell_threads
from grade.elf import Elf
from grade.gdb import GdbError
from grade.machine import Machine, Stop
from grade.owners import Kind, Owners
from grade.view import ADDRESS, KERNBASE, PGSIZE, Disagree, View

ROOT = grading.ROOT
RAM = 16 << 20
REGISTERS = (*(f"x{i}" for i in range(31)), "sp", "pc", "cpsr", "ttbr0_el1", "ttbr1_el1", "sctlr", "mair_el1",
             "tpidr_el1", *(f"{name}_el{level}" for name in ("esr", "far", "elr", "spsr") for level in (1, 2, 3)))


# --- layouts -------------------------------------------------------------

LAYOUT = r"""
#include <stddef.h>
#include "exec.h"
#include "heap.h"
#include "proc.h"
#include "ram.h"
#include "slab.h"
#include "spinlock.h"
#include "trap.h"
#include "vma.h"
#include "vmalloc.h"
#define AT(type, field, offset) _Static_assert(offsetof(struct type, field) == (offset), #field)
#define SIZE(type, size) _Static_assert(sizeof(struct type) == (size), #type)
AT(proc, context.x19, X19); AT(proc, context.x20, X20); AT(proc, context.fp, 80); AT(proc, context.lr, 88);
AT(proc, context.sp, 96); AT(proc, state, STATE); AT(proc, pid, PID); AT(proc, ppid, PPID); AT(proc, name, 124);
AT(proc, next, NEXT); AT(proc, waits, WAITS); AT(proc, wake_at, 160); AT(proc, kstack, 168); AT(proc, as.root, 176);
AT(proc, as.asid, 184); AT(proc, as.vmas, 192); AT(proc, as.pages, 216); AT(proc, killed, KILLED_AT);
AT(proc, status, KILLED_AT + 4); AT(proc, children, KILLED_AT + 8); AT(proc, sibling, KILLED_AT + 16); SIZE(proc, PROC);
AT(vma, start, 0); AT(vma, end, 8); AT(vma, prot, 16); AT(vma, kind, 20); AT(vma, next, 24); SIZE(vma, VMA);
_Static_assert(VMA_FILE == FILE && VMA_HEAP == HEAP && VMA_ANON == ANON && VMA_STACK == STACK, "kinds");
_Static_assert(PROT_READ == READ && PROT_WRITE == WRITE && PROT_EXEC == EXEC, "rights");
AT(program, name, 0); AT(program, start, 8); SIZE(program, PROGRAM);
AT(heap, regions, 0); AT(heap, first, 8); AT(heap, free_list, 16); SIZE(heap, HEAP_SIZE);
AT(region, next, 0); AT(region, size, 8); SIZE(region, REGION);
AT(block, size, 0); AT(block, tag, 8); AT(block, next, 16); SIZE(block, BLOCK);
AT(area, start, 0); AT(area, npages, 8); AT(area, next, 16); SIZE(area, AREA);
_Static_assert(VMALLOC_START == AREAS_FROM && VMALLOC_STOP == AREAS_TO, "areas");
AT(range, start, 0); AT(range, end, 8); SIZE(range, RANGE);
AT(trap_frame, x, 0); AT(trap_frame, sp, 8 * SP_AT); AT(trap_frame, elr, 256); AT(trap_frame, spsr, 264);
AT(trap_frame, esr, 272); AT(trap_frame, far, 280); SIZE(trap_frame, FRAME);
_Static_assert(STACK_SIZE == KSTACK && SPIN_BRK == BRK_OF_LOCKS, "numbers");
"""


@pytest.mark.parametrize("lab", (5, 6))
def test_layout(lab: int, tmp_path: Path) -> None:
    proc = procs.PROC if lab == 6 else procs.PROC_OF_LAB_5
    known = {name: getattr(procs, name) for name in ("X19", "X20", "STATE", "PID", "PPID", "NEXT", "WAITS", "FILE",
                                                     "HEAP", "ANON", "STACK", "READ", "WRITE", "EXEC")}
    known |= {"PROC": proc.size, "KILLED_AT": proc.size - 40, "VMA": procs.VMA.size, "PROGRAM": procs.PROGRAM.size,
              "HEAP_SIZE": heaps.HEAP.size, "REGION": heaps.REGION.size, "BLOCK": heaps.BLOCK.size,
              "AREA": heaps.AREA.size, "RANGE": owners.RANGE.size, "SP_AT": stacks.SP, "FRAME": stacks.FRAME.size,
              "KSTACK": stacks.STACK_SIZE, "BRK_OF_LOCKS": tell_threads.SPIN_BRK,
              "AREAS_FROM": f"{heaps.VMALLOC_START:#x}", "AREAS_TO": f"{heaps.VMALLOC_STOP:#x}"}
    source = tmp_path / "layout.c"
    names = ("FILE", "HEAP", "ANON", "STACK", "READ", "WRITE", "EXEC")
    source.write_text("".join(f"#define {name} {value}\n" for name, value in known.items() if name not in names)
                      + "enum {" + ", ".join(f"{name} = {known[name]}" for name in names) + "};\n" + LAYOUT)
    more = tmp_path / "records.c"       # struct records is slabs.c's own
    more.write_text('#include <stddef.h>\n#include "../kern/slabs.c"\n'
                    '_Static_assert(offsetof(struct records, next) == 0, "next");\n'
                    '_Static_assert(offsetof(struct records, unused) == 16, "unused");\n')
    for file in (source, more):
        done = subprocess.run([grading.CROSS + "gcc", "-std=gnu17", "-ffreestanding", "-fsyntax-only", f"-DLAB={lab}",
                               f"-DSOL={lab}", "-I", str(ROOT / "inc"), str(file)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert heaps.RECORDS.size == 24


def test_limits_are_those_of_the_kernel() -> None:
    ram = (ROOT / "kern" / "ram.c").read_text()
    most = {name: int(value) for name, value in re.findall(r"#define (BANKS_MAX|RESERVED_MAX)\s+(\d+)", ram)}
    assert owners.BANKS_MAX == most["BANKS_MAX"] and owners.USABLE_MAX == sum(most.values()) + 1
    junk = re.search(r"#define JUNK (0x\w+)", (ROOT / "kern" / "kalloc.c").read_text())
    assert junk and tell_threads.JUNK == int(junk[1], 16) * 0x0101010101010101
    sizes = dict(re.findall(r"(\w+) = \.;\s+\. \+= (0x\w+);", (ROOT / "linker.ld").read_text()))
    assert int(sizes["boot_stack"], 16) == stacks.STACK_SIZE
    assert int(sizes["emergency_stack"], 16) == stacks.EMERGENCY_SIZE


def test_exceptions_have_the_kernels_words() -> None:
    """kern/trap.c."""
    text = (ROOT / "kern" / "trap.c").read_text()
    numbers = {name: int(value, 16) for name, value in re.findall(r"#define (EC_\w+)\s+(0x\w+)",
                                                                  (ROOT / "inc" / "trap.h").read_text())}
    for array, words in (("class_names", explain.CLASSES), ("abort_names", explain.ABORTS)):
        body = text[text.index(f"{array}["):]
        rows = re.findall(r"\[(\w+)\] = \"([^\"]+)\"", body[:body.index("};")])
        assert {numbers.get(key) or int(key, 16): value for key, value in rows} == words


def test_functions_at_work_exist() -> None:
    text = "\n".join(path.read_text() for path in (ROOT / "kern").glob("*.c"))
    missing = [name for name in owners.AT_WORK if not re.search(rf"^{name}\(", text, re.MULTILINE)]
    assert not missing


# --- a copy of a machine -------------------------------------------------


@dataclass(frozen=True)
class Copy:
    """A machine's memory and registers at one moment; grade.machine's, as far as looking goes."""
    elf: Elf
    ram: bytes
    registers: dict[str, int]

    @property
    def gdb(self) -> Copy:
        return self

    def read(self, address: int, size: int, physical: bool = False) -> bytes:
        raise GdbError(f"there is nothing at {address:#x}")

    def register(self, name: str) -> int:
        return self.registers[name]

    @property
    def level(self) -> int:
        return self.registers["cpsr"] >> 2 & 3

    def view(self) -> View:
        machine: Any = self
        return View(machine, self.elf)

    def with_words(self, words: dict[int, int]) -> Copy:
        """The same, but for these words of memory."""
        ram = bytearray(self.ram)
        for pa, value in words.items():
            ram[pa:pa + 8] = value.to_bytes(8, "little")
        return replace(self, ram=bytes(ram))


def build(folder: Path, lab: int) -> Path:
    subprocess.run(["make", "-s", "-j2", f"LAB={lab}", f"SOL={lab}", f"O={folder}", f"{folder}/kernel8.img"],
                   check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    return folder


@pytest.fixture(scope="module")
def lab6(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("lab6"), 6)


def copied(obj: Path, scratch: Path, arguments: str, stop: str, times: int, size: int = RAM) -> Copy:
    """The machine when `stop` is called for the times-th time."""
    with Machine(obj / "kernel8.img", arguments, scratch) as m:
        elf = Elf(obj / "kernel8.elf")
        m.break_at(elf.symbols[stop].address)
        for _ in range(times):
            assert m.run(2000) is Stop.BREAKPOINT
        return Copy(elf, bytes(m.ram[:size]), {name: m.register(name) for name in REGISTERS})


@pytest.fixture(scope="module")
def copy(lab6: Path, tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Processes 3, 4 and 5 have forked, and one of them writes."""
    return copied(lab6, tmp_path_factory.mktemp("copy"), "run=forks,2 mem=16M", "fault_cow", 4)


def test_each_page_has_an_owner(copy: Copy) -> None:
    o = owners.owners(copy.view())
    assert not o.broken and not o.errors and o.busy == "page_fault" and o.settled
    assert o.n == RAM // PGSIZE == len(o.kind) == len(o.who) == len(o.users) == len(o.mapped)
    assert not {Kind.LEAKED, Kind.UNKNOWN, Kind.UNCLAIMED, Kind.NO_RAM} & {Kind(kind) for kind in o.kind}
    family = procs.family(copy.view())
    for pid in (3, 4, 5):
        leaves, tables = copy.view().scan(family[pid].root, False)
        assert {table // PGSIZE for table in tables} == {f for f in range(o.n)
                                                         if o.kind[f] == Kind.TABLE and o.who[f] == pid}
        assert {(leaf.pa // PGSIZE, leaf.va) for leaf in leaves} == {(f, m.va) for f, found in o.mappings.items()
                                                                    for m in found if m.pid == pid}
    for f in range(o.n):
        free = o.kind[f] in (Kind.FREE, Kind.LISTED)
        in_use = o.kind[f] not in (Kind.RESERVED, Kind.IMAGE, Kind.PMM, Kind.FREE, Kind.LISTED, Kind.HEAP)
        assert not free or o.users[f] == 0
        assert bool(o.users[f]) == in_use, o.tell(f)
        if o.kind[f] in (Kind.PROCESS, Kind.FILE, Kind.ZERO):
            assert o.users[f] == o.mapped[f] + o.keeps(f)
    assert max(o.users) >= 4 and o.kind.count(Kind.STACK) == 4 * 5     # five threads; the boot is on the image's stack


def test_it_is_fast(copy: Copy, lab6: Path, tmp_path: Path) -> None:
    began = time.process_time()
    owners.owners(copy.view())
    assert time.process_time() - began < 0.3
    large = copied(lab6, tmp_path, "run=forks,2", "fault_cow", 4, 960 << 20)
    began = time.process_time()
    o = owners.owners(large.view())
    assert time.process_time() - began < 3 and o.n == 960 << 8 and not o.errors and not o.broken


# --- pages that were tampered with ---------------------------------------


def state_at(copy: Copy, frame: int) -> int:
    """Where the frame's state is."""
    view = copy.view()
    _, first, _, state = struct.unpack("<4Q", view.phys(view.symbol("frames") - KERNBASE, 32))
    return state - KERNBASE + frame - (first - KERNBASE) // PGSIZE


def link_at(copy: Copy, frame: int) -> int:
    view = copy.view()
    _, base, _, link = struct.unpack("<4Q", view.phys(view.symbol("zones") - KERNBASE, 32))
    return link - KERNBASE + 8 * (frame - base // PGSIZE)


def first_of(o: Owners, kind: Kind, also: Callable[[int], bool] = lambda _: True) -> int:
    return next(f for f in range(o.n) if o.kind[f] == kind and also(f))


def leaf_at(copy: Copy, pid: int, va: int) -> tuple[int, int]:
    """Where the entry is, and the entry."""
    view = copy.view()
    return view.walk(procs.processes(view)[pid].root, va)[3][1:]


def kinds(copy: Copy, frame: int) -> tuple[list[str], str]:
    """What is wrong with this page, and with no other; and what the command says."""
    o = owners.owners(copy.view())
    assert set(o.errors) <= {frame}
    return [e.kind for e in o.errors.get(frame, [])], "\n".join(tell.page(copy.view(), frame * PGSIZE))


def test_a_leak(copy: Copy) -> None:
    """The page of kalloc's list that would be next is in use, and nobody has it."""
    view = copy.view()
    kmem = view.symbol("kmem") - KERNBASE
    page = view.p64(kmem) - KERNBASE
    at = state_at(copy, page // PGSIZE)
    states = bytearray(view.phys(at & -8, 8))
    states[at & 7] = 0
    tampered = copy.with_words({kmem: view.p64(page), kmem + 8: view.p64(kmem + 8) - 1,
                                at & -8: int.from_bytes(states, "little"), page: 0})
    tampered = replace(tampered, registers={**copy.registers, **{f"x{i}": 0 for i in range(29)}})
    found, said = kinds(tampered, page // PGSIZE)
    assert found == ["leaked"] and "nothing leads to it" in said
    # Somebody may have it: a register, a variable.
    held = replace(tampered, registers={**tampered.registers, "x20": page + KERNBASE})
    found, said = kinds(held, page // PGSIZE)
    assert found == [] and "register x20 leads to it" in said
    held = tampered.with_words({view.static("proc.c", "there") - KERNBASE + 16: page + KERNBASE})
    assert "the kernel's there+0x10 leads to it" in kinds(held, page // PGSIZE)[1]


def test_foreign_mappings(copy: Copy) -> None:
    o = owners.owners(copy.view())
    for kind in (Kind.FREE, Kind.LISTED, Kind.RESERVED, Kind.IMAGE, Kind.PMM, Kind.TABLE, Kind.SLAB, Kind.RECORDS,
                 Kind.STACK, Kind.HEAP):
        frame = first_of(o, kind)
        at, entry = leaf_at(copy, 4, 0x403000)
        tampered = copy.with_words({at: entry & ~ADDRESS | frame * PGSIZE})
        was = (entry & ADDRESS) // PGSIZE
        now = owners.owners(tampered.view())
        assert {f: [e.kind for e in found] for f, found in now.errors.items()} == {frame: ["foreign"], was: ["count"]}
        said = "\n".join(tell.page(tampered.view(), frame * PGSIZE))
        assert o.tell(frame) in said and "Wrong: forks (pid 4) has it mapped at 0x403000." in said


def test_wrong_counts(copy: Copy) -> None:
    view = copy.view()
    o = owners.owners(view)
    shared = first_of(o, Kind.PROCESS, lambda f: o.users[f] == 3)
    at = link_at(copy, shared)
    for users, mapped in ((4, 3), (2, 3)):
        found, said = kinds(copy.with_words({at: view.p64(at) + users - 3}), shared)
        assert found == ["count"] and f"Wrong: it counts {users} users, but has {mapped} mappings." in said
    program = first_of(o, Kind.FILE)
    at = link_at(copy, program)
    assert "and the kernel keeps it" in kinds(copy.with_words({at: view.p64(at) + 1}), program)[1]
    single = first_of(o, Kind.PROCESS, lambda f: o.users[f] == 1)
    m = o.mappings[single][0]
    at, _ = leaf_at(copy, m.pid, m.va)
    assert kinds(copy.with_words({at: 0}), single)[0] == ["leaked"]       # its only mapping has gone


def test_two_owners(copy: Copy) -> None:
    view = copy.view()
    root3, root4 = (procs.processes(view)[pid].root for pid in (3, 4))
    tampered = copy.with_words({root4 + 8: view.p64(root3)})
    o = owners.owners(tampered.view())
    table = (view.p64(root3) & ADDRESS) // PGSIZE
    assert "foreign" in [e.kind for e in o.errors[table]]
    assert "it is a page table of forks (pid 4), too" in "\n".join(tell.page(tampered.view(), table * PGSIZE))


# --- exceptions in words -------------------------------------------------

NAMES = tell_threads.Programs(lambda name: None)
DATA, DATA_EL0, CODE, CODE_EL0, IL = 0x25, 0x24, 0x21, 0x20, 1 << 25     # classes
WRITE, TRANSLATION, FLAG, PERMISSION, ALIGNMENT = 1 << 6, 0x7, 0xB, 0xF, 0x21
EL0, EL1 = 0, 0x3C5


def meaning(copy: Copy, kind: int, status: int, far: int, spsr: int = EL1, elr: int = 0x400000) -> str:
    registers = {**copy.registers, "esr_el1": kind << 26 | IL | status, "far_el1": far, "spsr_el1": spsr,
                 "elr_el1": elr}
    return "\n".join(tell_threads.whatis_fault(replace(copy, registers=registers).view(), NAMES))


def test_what_a_fault_means(copy: Copy) -> None:
    """The running process is 4; it has file, stack, and a page that it may not write to yet."""
    view = copy.view()
    p = procs.processes(view)[4]
    boot, main = view.symbol("boot_stack"), view.symbol("main")
    untouched = 0x401000
    at, entry = leaf_at(copy, 4, 0x400000)
    for said, wanted in (
            (meaning(copy, DATA, TRANSLATION, 0x10), "A NULL pointer: the byte at offset 0x10 of nothing."),
            (meaning(copy, CODE, TRANSLATION, 0), "A NULL pointer was called: x30 says from where."),
            (meaning(copy, DATA, TRANSLATION, tell_threads.JUNK), "a pointer out of memory that is free already"),
            (meaning(copy, DATA, WRITE | TRANSLATION, boot - 8), "the page below the boot stack, which is never"),
            (meaning(copy, DATA, WRITE | TRANSLATION, p.kstack - 16), "below the kernel stack of forks (pid 4)"),
            (meaning(copy, DATA, WRITE | PERMISSION, main), "The kernel's code and constants cannot be written"),
            (meaning(copy, CODE, PERMISSION, view.symbol("kmem")), "not executed: a function pointer was overwritten"),
            (meaning(copy, DATA, TRANSLATION, untouched), "a user's pointer, which has to go through uaccess.c"),
            (meaning(copy, DATA, TRANSLATION, KERNBASE + (32 << 20)), "in the linear map, where there is no RAM"),
            (meaning(copy, DATA, TRANSLATION, heaps.VMALLOC_START + (1 << 30)), "beyond the end of an area"),
            (meaning(copy, DATA, ALIGNMENT, 0x400001), "not a multiple of what is accessed there"),
            (meaning(copy, DATA_EL0, TRANSLATION, main, EL0), "A program has used an address of the kernel's."),
            (meaning(copy, DATA_EL0, TRANSLATION, untouched, EL0), "A page that was not touched before: page_fault"),
            (meaning(copy, DATA_EL0, TRANSLATION, 0x7000_0000, EL0), "The process has nothing there"),
            (meaning(copy, DATA_EL0, WRITE | PERMISSION, 0x403000, EL0), "copy on write, which page_fault sees to"),
            (meaning(copy, DATA_EL0, WRITE | PERMISSION, 0x400000, EL0), "The range's rights do not allow it"),
            (meaning(copy, CODE_EL0, PERMISSION, 0x403000, EL0), "The range's rights do not allow it"),
            (meaning(copy, DATA_EL0, PERMISSION, 0x400000, EL0), "By the tables as they are now, the access is"),
            (meaning(copy.with_words({at: entry & ~(1 << 10)}), DATA_EL0, FLAG, 0x400000, EL0), "PTE_AF is missing"),
            (meaning(copy, 0x3C, tell_threads.SPIN_BRK, 0), "the lock at x16 is never released"),
            (meaning(copy, 0x00, 0, 0, EL1, view.symbol("bss_start")), "zeroes, so no code was ever there"),
            (meaning(copy, 0x26, 0, 0), "SP has to be a multiple of 16"),
            (meaning(copy, 0x15, 0, 0, EL0), "That is no fault: a program has called the kernel.")):
        assert wanted in said, said
    said = meaning(copy, DATA_EL0, TRANSLATION, 0x8000_0000_0000_0000, EL0).splitlines()
    assert "bits 63:48 are not all alike" in said[2]
    never = replace(copy, registers={**copy.registers, "esr_el1": 0})
    assert "no exception to EL1 yet" in "\n".join(tell_threads.whatis_fault(never.view(), NAMES))


def test_an_interrupt_is_no_system_call(copy: Copy) -> None:
    """ESR keeps what came before."""
    frame = tell.process(copy.view(), 3).kstack + stacks.STACK_SIZE - stacks.FRAME.size
    view = copy.view()
    assert "sys_wait4(" in "\n".join(tell_threads.tf(view, NAMES, 3))
    elr = view.translate(frame + 256)
    assert elr
    said = "\n".join(tell_threads.tf(copy.with_words({elr: 0x400100}).view(), NAMES, 3))
    assert "an interrupt: there is no svc before elr" in said


def test_a_stack_that_has_overflowed(copy: Copy) -> None:
    """The frame is on the emergency stack, and the calls go on where the stack was left."""
    view = copy.view()
    p = procs.processes(view)[4]
    t = stacks.running(view, p)
    top = view.symbol("emergency_stack_top")
    words = dict(zip(range(top - 288 - KERNBASE, top - KERNBASE, 8),
                     (*[0] * 29, t.fp, view.symbol("main") + 4, p.kstack - 64, view.symbol("kalloc") + 8, EL1,
                      0x9600_0047, p.kstack - 64)))
    save = next(address for address in range(view.symbol("vectors"), view.symbol("vectors") + 0x1000, 4)
                if stacks.function(view, address) == "save_bad") + 16
    record = top - 288 - 32 - KERNBASE
    words |= {record: t.fp, record + 8: save}
    registers = {**copy.registers, "sp": record + KERNBASE, "x29": record + KERNBASE, "x30": save,
                 "pc": view.symbol("trap_bad_stack")}
    tampered = replace(copy.with_words(words), registers=registers)
    said = "\n".join(tell_threads.btall(tampered.view(), NAMES)).split("\n\n")[0]
    names = [line.split()[-1].split("+")[0] for line in said.splitlines()[1:]]
    assert names[:4] == ["trap_bad_stack", "save_bad", "kalloc", "main"], said
    assert "fault_resolve" in names and "trap_entry" in names, said


# --- anything may be overwritten -----------------------------------------


def commands(view: View, pid: int, va: int, pa: int) -> Iterable[tuple[str, Iterable[str]]]:
    yield "pt", tell.pt(view, va)
    yield "pt of a process", tell.pt(view, va % (1 << 48), pid)
    yield "vmmap", tell.vmmap(view)
    yield "vmmap of a process", tell.vmmap(view, pid)
    yield "ps", tell_threads.ps(view)
    for name in ("mem", "buddy", "slabs"):
        yield name, getattr(tell, name)(view)
    yield "page", tell.page(view, pa)
    yield "tf", tell_threads.tf(view, NAMES)
    yield "tf of a process", tell_threads.tf(view, NAMES, pid)
    yield "btall", tell_threads.btall(view, NAMES)
    yield "whatis-fault", tell_threads.whatis_fault(view, NAMES)


def test_nothing_is_relied_on(copy: Copy) -> None:
    """Words that are wrong, a few or many, in variables, tables, objects; pages of rubbish; registers.  What comes of
    it is text, or Disagree, and soon."""
    rng = random.Random(6)
    o = owners.owners(copy.view())
    used = [f for f in range(o.n) if o.kind[f] in (Kind.TABLE, Kind.SLAB, Kind.RECORDS, Kind.STACK, Kind.HEAP,
                                                   Kind.PMM)]
    data, end = (copy.elf.symbols[name].address - KERNBASE for name in ("data", "bss_end"))
    named = [s for s in copy.elf.symbols.values() if data <= s.address - KERNBASE < end and s.size >= 8]

    def place() -> int:
        symbol = rng.choice(named)
        return rng.choice((rng.choice(used) * PGSIZE + 8 * rng.randrange(512),
                           symbol.address - KERNBASE + rng.randrange(min(symbol.size, 256)) & -8,
                           rng.randrange(data, end) & -8))

    def value() -> int:
        return rng.choice((0, (1 << 64) - 1, rng.getrandbits(64), rng.getrandbits(rng.randrange(1, 48)),
                           KERNBASE + rng.randrange(RAM), int.from_bytes(copy.ram[(at := place()):at + 8], "little")))

    for turn in range(120):
        tampered = copy.with_words({place(): value() for _ in range(rng.choice((1, 1, 3, 60)))})
        if turn % 6 == 4:
            changed = {name: value() for name in rng.sample(REGISTERS, 4)}
            tampered = replace(tampered, registers={**copy.registers, **changed})
        if turn % 6 == 5:
            at, n = rng.randrange(data, end - PGSIZE) & -PGSIZE, rng.choice((1, 8, 64)) * PGSIZE
            n = min(n, end - at)
            rubbish = rng.randbytes(n) if rng.random() < 0.5 else bytes(n)
            tampered = replace(tampered, ram=copy.ram[:at] + rubbish + copy.ram[at + n:])
        pid, va, pa = rng.choice((0, 1, 3, 4, 5)), KERNBASE + place(), rng.randrange(RAM)
        for name, lines in commands(tampered.view(), pid, va, pa):
            began = time.process_time()
            try:
                for line in lines:
                    assert len(line) < 400 and "\n" not in line, (turn, name, line)
            except (Disagree, GdbError) as e:
                assert str(e), (turn, name)
            assert time.process_time() - began < 4, (turn, name)
