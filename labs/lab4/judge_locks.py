"""Lab 4's locks from outside: who finds a lock taken waits, changes nothing meanwhile, and gives it back."""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Callable

from grade.blocks import QUICK, signed
from grade.buddy import locked, memory, variable
from grade.caches import MAX, SPAN, STRUCT, Cache, Caches
from grade.contended import FIQ, Contended
from grade.gdb import CPSR
from grade.guest import Guest
from grade.machine import Stop
from grade.view import ADDRESS, KERNBASE, M64, PGSIZE, P2V, Disagree

FAR = 400                               # instructions to follow after a lock was released
NEAR = 60                               # for calls of a kind that has been followed further
GROWING = 1500                          # the same where pages come from the pmm in between
AREAS = KERNBASE + (1 << 39)            # VMALLOC_START
AREA = struct.Struct("<3Q")             # start, npages, next


def masks(g: Guest) -> list[int]:
    """The home registers' PSTATE, without and with F."""
    return [g.home[CPSR] & ~FIQ, g.home[CPSR] | FIQ]


def free_again(g: Guest, what: str) -> None:
    name = locked(g)
    if name is not None:
        raise Disagree(f"after {what}, {name} is still locked, expected spin_unlock before each return")


def expect(found: int, wanted: int, what: str, g: Guest) -> None:
    if found != wanted:
        raise Disagree(f"{what}: expected {wanted:#x}, found {found:#x}")
    free_again(g, what)


def panics(g: Guest, function: str, *arguments: int, may_return: bool = False) -> None:
    """It does, and has no lock then."""
    what = f"{function}({', '.join(f'{a:#x}' for a in arguments)})"
    if g.panics(function, *arguments) is None and not may_return:
        raise Disagree(f"{what} returned, expected a panic")
    name = locked(g)
    if name is not None:
        raise Disagree(f"{what} panicked while {name} was locked, expected spin_unlock before")


# --- vmalloc -------------------------------------------------------------


def areas(g: Guest) -> bytes:
    """The list of areas."""
    found, at = [], struct.unpack("<Q", variable(g, "areas", 8))[0]
    while at and len(found) < 50:
        found.append((at, memory(g, at, AREA.size, "a struct area")))
        at = AREA.unpack(found[-1][1])[2]
    return b"".join(struct.pack("<Q", at) + data for at, data in found)


def on_vmalloc(g: Guest, rng: random.Random) -> None:
    area = g.call("vmalloc", 3 * PGSIZE)
    if area == 0:
        raise Disagree("vmalloc of 3 pages returned NULL, expected an area")
    table = g.walk(g.ttbr1, area)[-1][1] & ADDRESS      # the page tables stay
    g.call("vfree", area)
    contended = Contended(g, rng, "vmalloc_lock", lambda: areas(g) + g.phys(table, PGSIZE), 6 * FAR)
    for call in (contended.call, contended.taking):
        for mask in masks(g):
            g.home[CPSR] = mask
            contended.far = NEAR if mask & FIQ else 6 * FAR
            area = call("vmalloc", rng.randrange(1, 3 * PGSIZE))
            expect(area, area & -PGSIZE or 1, "vmalloc", g)
            call("vfree", area)
            free_again(g, "vfree")
    for arguments in ((0, PGSIZE), (1, 0), (1, 3 * PGSIZE), (M64, PGSIZE), (1 << 36, PGSIZE), (1 << 36, 1 << 36),
                      ((1 << 36) - PGSIZE, 1 << 35)):
        expect(g.call("vmalloc_aligned", *arguments), 0, "vmalloc_aligned", g)
    area = g.call("vmalloc", 2 * PGSIZE)
    for wrong in (area + PGSIZE, area + 8, AREAS - PGSIZE, 8):
        panics(g, "vfree", wrong)
    g.call("vfree", 0)
    g.call("vfree", area)
    panics(g, "vfree", area)
    # The tables are where the following makes up memory.
    g.phys_write(g.ttbr1 + 8 * (AREAS >> 39 & 511), bytes(8))


# --- the heap ------------------------------------------------------------


def at_the_pmm(g: Guest, function: str, *arguments: int) -> int:
    """A call of g's, which calls the pmm without heap_lock."""
    machine = g.machine
    places = [g.symbol(name) for name in ("pmm_alloc", "pmm_free", "pmm_free_range")]
    for place in places:
        machine.break_at(place)
    try:
        name, address = g.enter(function, *arguments)
        stop = machine.run(QUICK, pc=address)
        while stop is Stop.BREAKPOINT and machine.pc in places:
            serving, following = struct.unpack("<HH", variable(g, "heap_lock", 4))
            if serving != following:
                raise Disagree(f"{function} calls {g.name(machine.pc)} while heap_lock is held")
            stop = machine.run(QUICK, pc=machine.pc)
    finally:
        for place in places:
            machine.unbreak(place)
    return g.leave(name, stop, QUICK)


def on_the_heap(g: Guest, rng: random.Random) -> None:
    m = Caches(g, rng, rng.randrange(40, 60))
    m.start()
    pages = rng.randrange(2, 5)
    start = m.mine - KERNBASE
    contended = Contended(g, rng, "heap_lock", lambda: variable(g, "heap", 24) + g.phys(start, 600), FAR)
    first = P2V(start) + 32                             # behind both headers
    for call in (contended.call, contended.taking):
        for mask in masks(g):
            g.home[CPSR] = mask
            contended.far = NEAR if mask & FIQ else FAR
            call("mem_init", start, start + pages * PGSIZE)
            free_again(g, "mem_init")
            size = rng.randrange(20, 200)
            need = size + 31 & -16
            expect(call("heap_alloc", size), first, "heap_alloc", g)
            expect(call("heap_alloc", size), first + need, "heap_alloc", g)
            expect(call("heap_alloc", 17), first + 2 * need, "heap_alloc", g)
            call("heap_free", first)
            call("heap_free", first + need)
            free_again(g, "heap_free")
            expect(call("heap_alloc", 2 * need - 16), first, "heap_alloc of what two free blocks have", g)
    # It grows, and shrinks.
    contended.far = GROWING
    callers: tuple[Callable[..., int], ...] = (contended.call, functools.partial(at_the_pmm, g))
    for caller in callers:
        large = caller("heap_alloc", 6 * PGSIZE)
        expect(large, large or 1, "heap_alloc", g)
        caller("heap_free", large)
        free_again(g, "heap_free")
    for size in (0, 1 << 22, M64):
        expect(g.call("heap_alloc", size), 0, "heap_alloc", g)
    while m.pool.free and (pa := g.call("pmm_alloc", 0)):
        m.pool.free.discard(pa // PGSIZE)
    expect(g.call("heap_alloc", 6 * PGSIZE), 0, "heap_alloc without memory", g)
    g.call("heap_free", first)
    for wrong in (first, first + 16, first + 2 * (size + 31 & -16) + 16, g.symbol("heap"), 16, P2V(start)):
        panics(g, "heap_free", wrong)
    in_use = first + 2 * (size + 31 & -16)
    g.put64(in_use - 8, rng.getrandbits(64))
    panics(g, "heap_free", in_use)
    g.put64(first - 8, rng.getrandbits(64))
    panics(g, "heap_alloc", 20, may_return=True)        # it may look at the header, but need not


# --- caches --------------------------------------------------------------


def spans(m: Caches, c: Cache) -> bytes:
    """What slab_lock protects of a cache, as far as it is there."""
    records = [memory(m.g, chunk.first, c.spans * SPAN.size, "a chunk's spans") for chunk in c.chunks]
    return b"".join([memory(m.g, c.at, STRUCT, "a struct slab")[:-8], *records])


def on_caches(g: Guest, rng: random.Random) -> None:
    m = Caches(g, rng, rng.randrange(30, 60), rng.randrange(180, 240))
    m.start()
    small = m.class_of(rng.randrange(1, MAX // 2))
    for c in (m.setup(rng.randrange(20, 300)), m.setup(rng.randrange(1100, MAX)), small):
        m.make(c, 3, 0.6)
        contended = Contended(g, rng, "slab_lock", lambda: spans(m, c), FAR)
        for caller in (contended.call, contended.taking):
            for mask in masks(g):
                g.home[CPSR] = mask
                contended.far = NEAR if mask & FIQ else FAR
                m.pool.caller = caller
                for _ in range(2):
                    if c is small:
                        m.alloc(c, lambda: m.pool.call("kmalloc", c.size))
                    else:
                        m.alloc(c)
                m.release(c, rng.choice(c.objects_in_use()), "kmfree" if c is small else "slab_free")
                m.release(c, rng.choice(c.objects_in_use()), "kmfree")
        m.pool.caller = contended.taking
        while c.ring and len(c.objects_in_use()) < 60:
            m.alloc(c)
        m.pool.caller = g.call
        m.refuses("slab_free", c.chunks[0].base + 1, "is inside of an object", c.at)
        m.refuses("kmfree", c.chunks[0].base + 1, "is inside of an object")
        p = rng.choice(c.objects_in_use())
        m.release(c, p)
        m.refuses("slab_free", p, "is free already", c.at)
        m.refuses("slab_free", g.symbol("slabs"), "is no object", c.at)
        panics(g, "slab_destroy", c.at)
    c = m.setup(rng.randrange(600, MAX))                # chunks come and go
    contended = Contended(g, rng, "slab_lock", lambda: spans(m, c), GROWING)
    m.pool.caller = contended.call
    m.alloc(c)
    m.pool.caller = contended.taking
    while c.ring or len(c.chunks) < 2:
        m.alloc(c)
    last = c.objects_in_use()
    for p in last[1:]:
        m.release(c, p)
    contended.far = FAR
    m.pool.caller = contended.call
    m.release(c, last[0])
    m.pool.caller = g.call
    for size in (0, 1 << 40, M64):
        expect(g.call("kmalloc", size), 0, "kmalloc", g)
    pmm = Contended(g, rng, "pmm_lock", lambda: b"", 1)
    for mask in masks(g):
        g.home[CPSR] = mask
        p = pmm.taking("kmalloc", 5 * PGSIZE)
        expect(p, p or 1, "kmalloc", g)
        pmm.taking("kmfree", p)
        free_again(g, "kmfree")
        made = Contended(g, rng, "slab_lock", lambda: b"", 1).taking("slab_create", g.symbol("slabs"), 100, 0)
        expect(made, made or 1, "slab_create", g)
        g.call("slab_destroy", made)
        free_again(g, "slab_destroy")
    if signed(g.call("slab_create", g.symbol("slabs"), 0, 0)) != 0:
        raise Disagree("slab_create for objects of no bytes returned a cache")
    free_again(g, "slab_create")


def judge_heap_locks(g: Guest, rng: random.Random) -> None:
    on_vmalloc(g, rng)
    on_caches(g, rng)
    on_the_heap(g, rng)
