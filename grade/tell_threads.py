"""What the debugger's commands print, in words: the stopped machine's threads, the calls and exceptions under way in
them, and what a fault means.  As in tell.py, what makes no sense is a line, or raises Disagree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from grade import explain, heaps, procs, stacks
from grade.buddy import variable
from grade.elf import Elf
from grade.procs import EXEC, READ, WRITE, Proc
from grade.stacks import STRANGE
from grade.tell import (SHOWN, find_range, mmu_is_on, process, range_of, reason, running, running_or_all, steps_of,
                        table, walk)
from grade.view import KERNBASE, PERIPHERALS, PGSIZE, Disagree, View, is_leaf

NULL = 0x10000              # below, an address is a field of a NULL pointer
JUNK = 0x0101010101010101   # what kfree fills a page with (kern/kalloc.c)
SPIN_BRK = 0x10C            # inc/spinlock.h
SYSCALLS = 512              # more than syscall_table has


@dataclass
class Programs:
    """The names in the programs that the kernel runs.  find: the ELF file of the program of this name, if any."""
    find: Callable[[str], Elf | None]

    def name(self, p: Proc | None, pc: int) -> str:
        """'main+0x8, of hello', or the bare address."""
        elf = self.find(p.name) if p else None
        symbol = elf.find(pc) if elf else None
        if p is None or symbol is None:
            return f"{pc:#x}" + (f", of {p.name}" if p else "")
        return symbol.name + (f"+{pc - symbol.address:#x}" if pc > symbol.address else "") + f", of {p.name}"


def at(address: int) -> str:
    return f"{address:016x}"


# --- ps ------------------------------------------------------------------


def ps(g: View) -> Iterator[str]:
    wrong: list[str] = []
    found = table(g, wrong.append)
    now = stacks.current(g)
    yield "  pid  ppid state    pages name            waits for"
    for pid in sorted(found):
        p = found[pid]
        state = ("new", "ready", "running", "sleeping", "ended")[p.state] if 0 <= p.state < 5 else f"{p.state}?"
        name = p.name + ("" if p.root or p.state == procs.ZOMBIE else " (kernel)")
        mark = "*" if p.at == now else " "
        yield f"{mark}{pid:4} {p.ppid:5} {state:8} {p.pages:5} {name:15} {waits(g, p, found)}".rstrip()
    if not any(p.at == now for p in found.values()):
        yield f"TPIDR_EL1 is {now:#x}: none of them."
    yield from (f"Broken: {line}" for line in wrong[:SHOWN])


def waits(g: View, p: Proc, found: dict[int, Proc]) -> str:
    """What a sleeper waits on; and how one has ended."""
    if p.state == procs.ZOMBIE:
        return f"its parent; status {p.status}" + (f", signal {p.killed}" if p.killed else "")
    if p.state != procs.SLEEPING:
        return f"killed by signal {p.killed}, ends on its way to EL0" if p.killed else ""
    owner = next((q for q in found.values() if q.at <= p.waits < q.at + 0x400), None)
    if owner:
        return "one of its children (child_ended)" if owner is p else f"a child of {owner} (child_ended)"
    what = g.name(p.waits) if p.waits else "nothing: it is on no queue"
    return what + (f", until the counter is {p.wake_at}" if what == "sleepers" else "")


# --- tf ------------------------------------------------------------------


def tf(g: View, programs: Programs, pid: int | None = None) -> Iterator[str]:
    if pid is not None:
        p: Proc | None = process(g, pid)
        assert p is not None
        if p is running(g) or p.at == stacks.current(g):
            yield from tf(g, programs)
            return
        frames = stacks.kernel_frames(g, stacks.waiting(g, p)) if p.kstack else []
        if frames:
            yield from frame_lines(g, programs, p, frames[0], f"{p} was interrupted in the kernel")
        elif p.root:
            yield from frame_lines(g, programs, p, stacks.user_frame(g, p),
                                   f"{p} came into the kernel, or begins, with")
        else:
            raise Disagree(f"{p} is in no exception: it is a kernel thread that has called context_switch itself"
                           if p.state != procs.ZOMBIE else f"{p} has ended")
        return
    p = running(g)
    if g.level == 0:
        yield f"At EL0{f', in {p}' if p else ''}: the registers are the program's own."
        x = tuple(g.reg(f"x{i}") for i in range(31))
        yield from register_lines(x, g.reg("sp"))
        yield f"  pc  {at(g.reg('pc'))} {programs.name(p, g.reg('pc'))}"
        yield f"  pstate {g.reg('cpsr'):x}: {explain.describe_spsr(g.reg('cpsr'))}"
        return
    t = stacks.running(g, p)
    frames = stacks.kernel_frames(g, t)
    if frames:
        yield from frame_lines(g, programs, p, frames[0], "The innermost exception is one of the kernel itself")
    elif p and p.root and p.kstack:
        yield from frame_lines(g, programs, p, stacks.user_frame(g, p), f"{p} came into the kernel with")
    else:
        yield "No exception is being handled: there is no trap frame on this stack."


def register_lines(x: tuple[int, ...], sp: int) -> Iterator[str]:
    for i in range(0, 31, 4):
        cells = [f"{f'x{k}':>3} {at(x[k])}" for k in range(i, min(i + 4, 31))]
        yield "  " + "  ".join([*cells, *([f" sp {at(sp)}"] if i == 28 else [])])


def frame_lines(g: View, programs: Programs, p: Proc | None, f: stacks.TrapFrame, title: str) -> Iterator[str]:
    yield f"{title}; the frame is at {f.at:#x}:"
    yield from register_lines(f.x, f.sp)
    user = f.level == 0 and f.elr >> 48 == 0
    yield f"  elr {at(f.elr)} {programs.name(p, f.elr) if user else g.name(f.elr)}"
    yield f"  spsr {f.spsr:x}: {explain.describe_spsr(f.spsr)}"
    yield f"  esr {f.esr:08x}: {syndrome(g, p, f)}"


def syndrome(g: View, p: Proc | None, f: stacks.TrapFrame) -> str:
    """What ESR says; of an interrupt it says nothing, but still has what came before."""
    if f.esr == 0:
        return "no exception but interrupts so far"
    if explain.exception_class(f.esr) == explain.SVC:
        try:
            word = stacks.user_read(g, p.root, f.elr - 4, 4) if p and p.root else g.read(f.elr - 4, 4)
            if int.from_bytes(word, "little") & 0xFFE0_001F != 0xD400_0001:
                return "an interrupt: there is no svc before elr"
        except STRANGE:
            pass
        return f"{explain.describe_syndrome(f.esr, f.far)}: {system_call(g, f.x)}"
    return explain.describe_syndrome(f.esr, f.far) + ("" if explain.is_abort(f.esr) else f"; far {f.far:#x}")


def system_call(g: View, x: tuple[int, ...]) -> str:
    """Which one, with its first arguments."""
    try:
        function = int.from_bytes(variable(g, "syscall_table", 8 * (x[8] + 1))[-8:], "little") if x[8] < SYSCALLS else 0
        name = g.name(function) if function and x[8] * 8 < g.elf.symbols["syscall_table"].size else ""
    except STRANGE:
        name = ""
    return f"{name or f'number {x[8]}, which there is not'}({', '.join(f'{value:#x}' for value in x[:3])}, ...)"


# --- btall ---------------------------------------------------------------


def btall(g: View, programs: Programs) -> Iterator[str]:
    wrong: list[str] = []
    try:
        found = table(g, wrong.append)
    except STRANGE:
        found = {}
    now = stacks.current(g) if found else 0
    current = next((p for p in found.values() if p.at == now), None)
    yield f"{current or 'The core'}, running at EL{g.level}:"
    yield from call_lines(g, programs, stacks.running(g, current))
    for pid in sorted(found):
        p = found[pid]
        if p is current:
            continue
        yield ""
        begins = stacks.beginning(g, p)
        state = procs.STATES[p.state] if 0 <= p.state < len(procs.STATES) else f"in state {p.state}"
        if p.state in (procs.ZOMBIE, procs.RUNNING):
            yield f"{p}, {state}: " + ("it never runs again" if p.state == procs.ZOMBIE else "not on this core")
            continue
        yield f"{p}, {state}" + (f", waits for {waits(g, p, found)}" if p.state == procs.SLEEPING else "") \
              + (", has not run yet:" if begins else ":")
        try:
            if begins == "kthread_entry":
                yield f"    {at(p.lr)} kthread_entry, which calls {g.name(saved(g, p, procs.X19))}"
                continue
            yield from call_lines(g, programs, stacks.waiting(g, p))
        except STRANGE as e:
            yield f"    Broken: {reason(e)}"
    yield from (f"Broken: {line}" for line in wrong[:SHOWN])


def saved(g: View, p: Proc, offset: int) -> int:
    return int.from_bytes(g.phys(p.at - KERNBASE + offset, 8), "little")


def call_lines(g: View, programs: Programs, t: stacks.Thread) -> Iterator[str]:
    for call in stacks.calls(g, t):
        yield f"    {at(call.pc)} {programs.name(t.proc or running(g), call.pc) if call.user else g.name(call.pc)}"


# --- whatis-fault --------------------------------------------------------


def whatis_fault(g: View, programs: Programs) -> Iterator[str]:
    level = max(g.level, 1)
    esr, far, elr = (g.reg(f"{name}_el{level}") for name in ("esr", "far", "elr"))
    if esr == 0:
        yield f"ESR_EL{level} is 0: there has been no exception to EL{level} yet, or interrupts only."
        return
    spsr = g.reg(f"spsr_el{level}")
    user = spsr & 0xF == 0
    p = running(g)
    p = p if p and p.root or not user else None
    yield f"ESR_EL{level} {esr:#010x}: {explain.describe_syndrome(esr, far)}"
    yield f"ELR_EL{level} {elr:#x}: {programs.name(p, elr) if user and elr >> 48 == 0 else g.name(elr)}, at " \
          f"{explain.describe_spsr(spsr).split(',')[0]}"
    if user and p is None and g.has("procs"):
        yield "No process is running now: whoever that was has ended, or sleeps."
    kind = explain.exception_class(esr)
    if kind == explain.SVC:
        yield "That is no fault: a program has called the kernel."
    elif not explain.is_abort(esr):
        yield from other_meaning(g, p, esr, elr)
    elif not esr >> 10 & 1:
        if level == 1 and mmu_is_on(g):
            yield from fault_walk(g, p, far)
        yield from abort_meaning(g, p, esr, far, level)


def fault_walk(g: View, p: Proc | None, far: int) -> Iterator[str]:
    upper = far >> 48 == 0xFFFF
    if not upper and far >> 48:
        yield f"{far:#x} is in neither half: bits 63:48 are not all alike."
        return
    root = g.ttbr1 if upper else g.ttbr0
    if root:
        yield from walk(g, root, far, f"from TTBR{int(upper)}_EL1")
    if p and p.root == root:
        yield from range_of(g, p, far)


def other_meaning(g: View, p: Proc | None, esr: int, elr: int) -> Iterator[str]:
    kind = explain.exception_class(esr)
    if kind == explain.BRK and esr & 0xFFFF == SPIN_BRK:
        yield "spin_lock has waited for too long: the lock at x16 is never released."
    elif kind == explain.UNKNOWN:
        try:
            word = int.from_bytes(g.read(elr, 4) if elr >> 48 or not p or not p.root else
                                  stacks.user_read(g, p.root, elr, 4), "little")
        except STRANGE:
            return
        yield f"The instruction there is {word:08x}" + (": zeroes, so no code was ever there." if word == 0 else
                                                       ". Is it code, and may this exception level use it?")
    elif kind == 0x26:
        yield "SP has to be a multiple of 16 whenever memory is accessed through it."
    elif kind == 0x22:
        yield "A jump or a return went to an odd address: a function pointer, or x30 on the stack, was overwritten."


def abort_meaning(g: View, p: Proc | None, esr: int, far: int, level: int) -> Iterator[str]:
    """What is usually the matter."""
    kind, user = explain.abort_kind(esr), explain.exception_class(esr) in explain.FROM_EL0
    writing, executing = explain.access(esr) == "writing", explain.access(esr) == "executing"
    if kind == explain.ALIGNMENT:
        yield ("The address is not a multiple of what is accessed there; or it is device memory (with the MMU off, "
               "all is).")
        return
    if far < NULL:
        yield ("A NULL pointer was called: x30 says from where." if executing and far == 0 else
               f"A NULL pointer: the {'byte' if far else 'object'} at offset {far:#x} of nothing.")
        return
    if far == JUNK or far >> 16 == JUNK >> 16:
        yield "That is the junk that kfree fills pages with: a pointer out of memory that is free already."
        return
    stack = guarded(g, far)
    if stack:
        yield f"That is the page below {stack}, which is never mapped: the stack has overflowed."
        return
    if level == 1 and mmu_is_on(g) and allowed_now(g, far, writing, executing, user):
        yield ("By the tables as they are now, the access is allowed: it has been seen to since, or a TLB still has "
               "what was there before (a flush is missing).")
        return
    if user and p is None:
        return
    upper = far >> 48 == 0xFFFF
    if user and upper:
        yield "A program has used an address of the kernel's."
        return
    if not user and not upper and far >> 48 == 0:
        yield "The kernel has used an address of the lower half itself: " \
            + ("a user's pointer, which has to go through uaccess.c; or " if g.has("procs") else "") \
            + "a physical address, which needs P2V."
    if not user and upper and far >= KERNBASE and kind == explain.TRANSLATION:
        where = far - KERNBASE
        if where < PERIPHERALS:
            yield "That is in the linear map, where there is no RAM, or a page that is left out on purpose."
        elif heaps.VMALLOC_START <= far < heaps.VMALLOC_STOP:
            yield "That is vmalloc's: beyond the end of an area, or in one that vfree has given back."
    if kind == explain.PERMISSION:
        yield from permission(g, p, far, writing, executing, user)
    elif kind == explain.ACCESS_FLAG:
        yield "PTE_AF is missing in the entry: whoever has made it."
    elif kind == explain.TRANSLATION and not upper and p and p.root:
        yield from absent(g, p, far)


def guarded(g: View, far: int) -> str | None:
    """Whose stack's guard page it is in."""
    stack = [(g.symbol(name), what) for name, what in (("boot_stack", "the boot stack"),
                                                       ("emergency_stack", "the emergency stack")) if g.has(name)]
    stack += [(q.kstack, f"the kernel stack of {q}") for q in running_or_all(g) if q.kstack]
    return next((what for bottom, what in stack if bottom - PGSIZE <= far < bottom), None)


def allowed_now(g: View, far: int, writing: bool, executing: bool, user: bool) -> bool:
    root = g.ttbr1 if far >> 48 == 0xFFFF else g.ttbr0
    steps, trouble = steps_of(g, root, far)
    if trouble or not steps or far >> 48 not in (0, 0xFFFF):
        return False
    entry = steps[-1][2]
    wanted = "x" if executing else "w" if writing else "r"
    return is_leaf(entry, steps[-1][0]) and bool(entry >> 10 & 1) and wanted in explain.rights_of(entry, user)


def permission(g: View, p: Proc | None, far: int, writing: bool, executing: bool, user: bool) -> Iterator[str]:
    if far >> 48 == 0xFFFF:
        code = g.has("etext") and far < g.symbol("etext")
        if writing:
            yield "The kernel's code and constants cannot be written: is it a string that is to be changed?"
        elif executing and not code:
            yield "That can be read, and not executed: a function pointer was overwritten."
        else:
            yield "The entry does not allow it."
        return
    try:
        r = find_range(g, p, far) if p else None
    except STRANGE:
        r = None
    wanted = EXEC if executing else WRITE if writing else READ
    if r and r.rights & wanted and writing and procs.is_lazy(g):
        yield "The range may be written, and its page is read-only: copy on write, which page_fault sees to."
    elif r and not r.rights & wanted:
        yield "The range's rights do not allow it: the program ends with a signal, unless it asks for that (mprotect)."
    else:
        yield "The entry does not allow what its range does." if r else "The page is mapped, though in no range."


def absent(g: View, p: Proc, far: int) -> Iterator[str]:
    try:
        r = find_range(g, p, far)
        near = any(q.kind == procs.STACK and far < q.start <= far + 16 * PGSIZE for q in procs.ranges(g, p))
    except STRANGE:
        return
    if r and procs.is_lazy(g):
        yield "A page that was not touched before: page_fault brings it."
    elif r:
        yield "The range is there, and its page is not: what has made the range has not mapped it."
    elif near:
        yield "That is below the program's stack: it has overflowed."
    else:
        yield "The process has nothing there: the program ends with a signal."
