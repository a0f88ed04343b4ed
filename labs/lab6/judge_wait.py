"""Lab 6's wait_status, exit_children and wait_child from outside: threads that never run are made children of each
other, and end when the judge says so."""

from __future__ import annotations

import random
import struct

from grade import procs
from grade.buddy import Pmm, free_pages
from grade.guest import Guest
from grade.machine import Stop
from grade.procs import KILLED, NEW, RUNNABLE, SLEEPING, STATE, STATES, ZOMBIE, Proc
from grade.view import PGSIZE, Disagree, V2P

ECHILD, EINTR = -10, -4
WNOHANG = 1
OTHER_OPTIONS = (2, 8, 1 << 29, 1 << 30, 1 << 31)       # that wait4 takes, and that change nothing
SIGNALS = 64
STATUSES = 60           # calls of wait_status
LIMIT = 200             # million instructions of a call


def signed(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (value >> bits - 1 << bits)


def encoded(status: int, killed: int) -> int:
    return killed or status << 8


# --- wait_status ---------------------------------------------------------


def judge_wait_status(g: Guest, rng: random.Random) -> None:
    at = g.push(bytes(procs.PROC.size))
    cases = [(0, 0), (255, 0), (129, 0), (128 + SIGNALS, SIGNALS), (0, 9)]
    cases += [(rng.randrange(256), 0) for _ in range(STATUSES // 2)]
    cases += [(128 + signal, signal) for signal in rng.sample(range(1, SIGNALS + 1), STATUSES // 3)]
    cases += [(rng.randrange(256), rng.randint(1, SIGNALS)) for _ in range(STATUSES // 6)]
    for status, killed in cases:
        fields = bytearray(rng.randbytes(procs.PROC.size))
        struct.pack_into("<i", fields, STATE, ZOMBIE)
        struct.pack_into("<ii", fields, KILLED, killed, status)
        g.write(at, bytes(fields))
        found = signed(g.call("wait_status", at), 32)
        if found != encoded(status, killed):
            raise Disagree(f"wait_status of a process with status {status} and killed {killed}: expected "
                           f"{encoded(status, killed):#x}, found {found:#x}")
        if g.read(at, procs.PROC.size) != fields:
            raise Disagree("wait_status: expected *p to stay as it is, found it changed")


# --- families ------------------------------------------------------------


class Family:
    """Threads of the judge's own, none of which ever runs, and all that there are beside them."""

    def __init__(self, g: Guest, rng: random.Random):
        self.g, self.rng = g, rng
        trouble = g.call("proc_trouble")
        if trouble:
            raise Disagree(f"there are no threads: {g.text(trouble)}")
        self.name = g.push(b"made-up\0")
        self.places: dict[int, int] = {}        # of those that are left: pid, and the struct proc's address
        self.settle()

    def settle(self) -> None:
        """All others run until they sleep, thread 1 among them."""
        for _ in range(20):
            self.g.call("sched_yield")
            if procs.processes(self.g)[1].state == SLEEPING:
                return
        raise Disagree("thread 1 does not sleep, though no child of its has ended")

    def at(self, pid: int) -> int:
        return procs.processes(self.g)[pid].at

    def new(self, parent: int) -> int:
        """A child of the process `parent`; its pid."""
        pid = signed(self.g.call("kthread_create", self.g.symbol("proc_find"), 0, self.name), 32)
        if pid <= 0:
            raise Disagree(f"kthread_create returned {pid}, expected a pid")
        at = self.places[pid] = self.at(pid)
        self.g.call("sched_forget", at)
        self.put(pid, self.rng.choice((NEW, RUNNABLE, SLEEPING)))
        self.g.write(at + KILLED, struct.pack("<i", self.rng.choice((0, 9))))   # it has not ended for that
        self.g.call("proc_adopt", self.at(parent), at)
        return pid

    def put(self, pid: int, state: int) -> None:
        self.g.write(self.places[pid] + STATE, struct.pack("<i", state))

    def end(self, pid: int) -> None:
        """It ends, somehow."""
        killed = self.rng.choice((0, self.rng.randint(1, SIGNALS)))
        status = 128 + killed if killed else self.rng.randrange(256)
        self.put(pid, ZOMBIE)
        self.g.write(self.places[pid] + KILLED, struct.pack("<ii", killed, status))

    def free(self) -> None:
        for at in self.places.values():
            self.g.call("proc_free", at)
        self.places.clear()

    def memory(self) -> set[int]:
        self.g.call("slabs_trim")
        return free_pages(self.g)

    def expect_memory(self, before: set[int], after: str) -> None:
        lost = len(before) - len(self.memory())
        if lost:
            raise Disagree(f"after {after}, there are {abs(lost)} pages {'fewer' if lost > 0 else 'more'} free than before")


def compare(what: str, found: dict[int, Proc], wanted: dict[int, Proc], moved: frozenset[int] = frozenset()) -> None:
    """All are as they should be; of those who have moved, the parent's place on a queue may be another."""
    for pid in sorted({*found, *wanted}):
        if pid not in wanted:
            raise Disagree(f"{what}: there is a process {pid}, expected none")
        if pid not in found:
            raise Disagree(f"{what}: process {pid} is gone, expected it to stay")
        f, w = found[pid], wanted[pid]
        for field in ("at", "ppid", "state", "name", "kstack", "root", "killed", "status"):
            if getattr(f, field) != getattr(w, field):
                a, b = (STATES[v] if field == "state" and 0 <= v < 5 else v for v in (getattr(f, field), getattr(w, field)))
                raise Disagree(f"{what}: {field} of process {pid} is {a}, expected {b}")
        if f.waits != w.waits and pid not in moved:
            raise Disagree(f"{what}: process {pid} sleeps on another queue than before")


# --- exit_children -------------------------------------------------------


def judge_exit_children(g: Guest, rng: random.Random) -> None:
    f = Family(g, rng)
    f.new(1)
    f.free()
    before = f.memory()
    for n, ended in ((0, 0), (1, 0), (rng.randint(1, 3), 0), (1, 1), (rng.randint(3, 7), 1), (rng.randint(3, 7), 2)):
        other = f.new(0)
        p = f.new(other)
        mine = [f.new(p) for _ in range(n)]
        beside = [f.new(other), f.new(other)]
        below = [f.new(rng.choice(mine)) for _ in range(min(n, 2))]
        zombies = rng.sample(mine, min(ended, n))
        for pid in (*zombies, beside[0], *below[:1]):
            f.end(pid)
        what = f"exit_children(process {p}), which has {n} children, {len(zombies)} of which have ended"
        wanted = procs.family(g)
        for pid in mine:
            wanted[pid].ppid = 1
        if zombies:
            wanted[1].state = RUNNABLE
        g.call("exit_children", f.at(p))
        try:
            found = procs.family(g)
        except Disagree as e:
            raise Disagree(f"{what}: {e}") from None
        compare(what, found, wanted, frozenset({1}))
        if zombies:
            f.settle()
            found = procs.family(g)
            left = [pid for pid in zombies if pid in found]
            if left:
                raise Disagree(f"{what}: after process 1 has run, process {left[0]} is still there")
            for pid in zombies:
                del f.places[pid]
        f.free()
    f.expect_memory(before, "exit_children for several processes")


# --- wait_child ----------------------------------------------------------


class Waiting:
    """Thread 0 waits."""

    def __init__(self, f: Family):
        self.f, self.g, self.rng = f, f.g, f.rng
        self.status = self.g.push(bytes(32))

    def call(self, pid: int, options: int) -> int:
        """wait_child; what is left of the child is junk as soon as it is free."""
        g, machine = self.g, self.g.machine
        self.guard = self.rng.randbytes(32)
        g.write(self.status, self.guard)
        name, pc = g.enter("wait_child", pid, options & 0xFFFF_FFFF, self.status + 16)
        free = g.symbol("proc_free")
        machine.break_at(free)
        stop = machine.run(LIMIT, pc=pc)
        machine.unbreak(free)
        if stop is Stop.BREAKPOINT and machine.pc == free:
            at, back = g.reg("x0"), g.reg("x30")
            if back not in machine.breakpoints:
                machine.break_at(back)
                stop = machine.run(LIMIT, pc=free)
                machine.unbreak(back)
                if stop is Stop.BREAKPOINT and machine.pc == back:
                    if at in self.f.places.values():
                        self.junk(at)
                    stop = machine.run(LIMIT, pc=back)
            else:
                stop = machine.run(LIMIT, pc=free)
        return signed(g.leave(name, stop, LIMIT))

    def junk(self, at: int) -> None:
        pmm = Pmm(self.g)
        if V2P(at) // PGSIZE - pmm.start in pmm.slabs:
            self.g.write(at, self.rng.randbytes(procs.PROC.size))

    def expect(self, pid: int, options: int, error: int | None = None) -> int:
        """One call.  error: what it must return; None: a child that has ended.  Returns its pid."""
        g = self.g
        wanted = procs.family(g)
        what = f"wait_child({pid}, {options:#x}, &status)"
        ended = {p.pid: encoded(p.status, p.killed) for p in wanted.values()
                 if p.ppid == 0 and p.pid and p.state == ZOMBIE and pid in (p.pid, 0, -1)}
        # Of wait_status, either what it says or what it should say: it has a check of its own.
        says = {child: signed(g.call("wait_status", wanted[child].at), 32) for child in ended} if error is None else {}
        result = self.call(pid, options)
        found = g.read(self.status, 32)
        if error is not None:
            if result != error:
                raise Disagree(f"{what}: expected {error}, found {result}")
            if found != self.guard:
                raise Disagree(f"{what}: returned {result}; expected status to stay as it was, found it changed")
        else:
            if result not in ended:
                raise Disagree(f"{what}: expected {' or '.join(map(str, sorted(ended)))}, found {result}")
            status = signed(int.from_bytes(found[16:20], "little"), 32)
            if status not in (ended[result], says[result]):
                raise Disagree(f"{what}: returned {result}; expected its status to be {ended[result]:#x}, found {status:#x}")
            if found[:16] != self.guard[:16] or found[20:] != self.guard[20:]:
                raise Disagree(f"{what}: expected 4 bytes to be written at &status, found others changed")
            del wanted[result]
            self.f.places.pop(result)
        try:
            now = procs.family(g)
        except Disagree as e:
            raise Disagree(f"{what}: {e}") from None
        compare(what, now, wanted, frozenset({0}))
        return result

    def options(self) -> int:
        return sum(bit for bit in OTHER_OPTIONS if self.rng.randrange(4) == 0)

    def sleeps(self) -> None:
        """A thread that runs, and ends while thread 0 sleeps."""
        g, rng = self.g, self.rng
        for _ in range(2):
            made = signed(g.call("kthread_create", g.symbol("proc_find"), 0, self.f.name), 32)
            at = self.f.at(made)
            g.call("proc_adopt", self.f.at(0), at)
            pid = rng.choice((-1, 0, made))
            result = self.call(pid, self.options())
            if result != made:
                raise Disagree(f"wait_child({pid}, 0, &status), while process {made} ends: expected {made}, found {result}")
            if made in procs.family(g):
                raise Disagree(f"wait_child({pid}, 0, &status): process {made} is still there, expected it to be gone")


def judge_wait_child(g: Guest, rng: random.Random) -> None:
    f = Family(g, rng)
    f.new(1)
    f.free()
    w = Waiting(f)
    w.sleeps()
    before = f.memory()

    other = f.new(0)                                # a child as well, and never ends
    theirs = [f.new(other), f.new(other)]
    f.end(theirs[0])
    none = [*theirs, max(theirs) + 100, other + procs.nproc(g), -other, -2, -(1 << 31) + 1]
    for pid in rng.sample(none, 4):
        w.expect(pid, w.options() | rng.choice((0, WNOHANG)), ECHILD)
    for pid in (-1, 0, other):
        w.expect(pid, w.options() | WNOHANG, 0)
    for _ in range(3):
        mine = [f.new(0) for _ in range(rng.randint(2, 5))]
        while mine:
            one = rng.choice(mine)
            w.expect(rng.choice((one, 0, -1)), w.options() | WNOHANG, 0)
            f.end(one)
            for alive in [pid for pid in mine if pid != one][:1]:
                w.expect(alive, w.options() | WNOHANG, 0)
            w.expect(rng.choice((one, 0, -1)), w.options() | rng.choice((0, WNOHANG)))
            mine.remove(one)
    mine = [f.new(0) for _ in range(4)]
    for pid in mine:
        f.end(pid)
    first = rng.choice(mine)
    w.expect(first, w.options())
    for _ in mine[1:]:
        w.expect(rng.choice((0, -1)), w.options() | rng.choice((0, WNOHANG)))
    w.expect(rng.choice((0, -1)), w.options() | WNOHANG, 0)
    w.sleeps()

    thread_0 = f.at(0)
    g.write(thread_0 + KILLED, struct.pack("<i", rng.randint(1, SIGNALS)))
    w.expect(rng.choice((-1, 0, other)), w.options(), EINTR)
    g.write(thread_0 + KILLED, bytes(4))
    f.free()
    f.expect_memory(before, "wait_child for several children")
