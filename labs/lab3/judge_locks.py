"""Lab 3's locks from outside: who finds a lock taken waits, changes nothing meanwhile, and gives it back."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from grade.blocks import EBUSY, EINVAL, USERS_MAX, Blocks, number, signed
from grade.buddy import LARGEST, LINK, MAP_FRAMES, MEMMAP, ORDERS, ZONE, locked, memory, variable
from grade.contended import FIQ, Contended
from grade.gdb import CPSR
from grade.guest import Guest
from grade.view import M64, PGSIZE, Disagree


def tables(g: Guest, b: Blocks) -> bytes:
    """All that pmm_lock protects."""
    zones = variable(g, "zones", len(b.zones))
    links = [memory(g, link, (n + ORDERS) * LINK.size, "the links of a zone")
             for _, n, link, *_ in ZONE.iter_unpack(zones) if 0 < n <= b.n]
    return b"".join([memory(g, struct.unpack_from("<Q", b.frames, 24)[0], b.n, "frames.state"), zones, *links])


def bits(g: Guest, at: int) -> bytes:
    """All that memmap_lock protects."""
    fields = MEMMAP.unpack(memory(g, at, MEMMAP.size, "the struct memmap"))
    return b"".join([struct.pack("<6Q", *fields[:6]),
                     *(memory(g, va, MAP_FRAMES // 8, "a bitmap") for va in fields[4:6])])


def on_the_memmap(g: Guest, rng: random.Random) -> None:
    at = g.call("memmap_get")
    lock = Contended(g, rng, "memmap_lock", lambda: bits(g, at))
    start = rng.randrange(1, 1 << 20) * PGSIZE

    def expect(call: Callable[..., int], wanted: int, function: str, *arguments: int) -> None:
        x0 = call(function, *arguments)
        found = signed(x0) if wanted < 0 else x0 & (0xFFFF_FFFF if wanted == 0 else ~0)
        if function != "memmap_reserve" and found != wanted:
            raise Disagree(f"{function}: expected {number(wanted)}, found {number(found)}")
        name = locked(g)
        if name is not None:
            raise Disagree(f"after {function}, {name} is still locked, expected spin_unlock before each return")

    expect(g.call, 0, "memmap_init", start, start + 99 * PGSIZE)
    expect(lock.call, 0, "memmap_init", start, start + 9 * PGSIZE)
    expect(lock.call, 0, "memmap_reserve", start, start + PGSIZE)
    expect(lock.call, start + PGSIZE, "alloc_frame")
    expect(lock.call, start + 2 * PGSIZE, "alloc_frames", 7)
    expect(lock.call, 0, "free_frame", start + PGSIZE)
    for mask in (0, FIQ):
        g.home[CPSR] = g.home[CPSR] & ~FIQ | mask
        expect(g.call, EINVAL, "memmap_init", start, start + 5)
        expect(lock.taking, 0, "memmap_init", start, start + 9 * PGSIZE)
        expect(g.call, 0, "memmap_reserve", start + PGSIZE, start)
        expect(g.call, 0, "memmap_reserve", start + 99 * PGSIZE, start + 100 * PGSIZE)
        expect(lock.taking, 0, "memmap_reserve", start, start + PGSIZE)
        expect(lock.taking, start + PGSIZE, "alloc_frame")
        expect(g.call, 0, "alloc_frames", 8)
        expect(g.call, 0, "alloc_frames", 0)
        expect(g.call, 0, "alloc_frames", M64)
        expect(lock.taking, start + 2 * PGSIZE, "alloc_frames", 7)
        expect(g.call, 0, "alloc_frame")
        expect(g.call, 0, "alloc_frames", 2)
        expect(lock.taking, 0, "free_frame", start + PGSIZE)
        for wrong in (start, start + PGSIZE, start + 2 * PGSIZE + 1, start - PGSIZE, start + 9 * PGSIZE):
            expect(g.call, EINVAL, "free_frame", wrong)


def on_the_pmm(g: Guest, rng: random.Random) -> None:
    b = Blocks(g, rng, [(rng.randrange(9), 200), (300 + rng.randrange(9), 2 * LARGEST)], LARGEST * PGSIZE)
    b.fill(most=6)
    full = rng.choice(sorted(b.used))
    b.users[full] = USERS_MAX
    b.write()
    contended = Contended(g, rng, "pmm_lock", lambda: tables(g, b))
    b.caller = contended.call
    exercise(b, rng)
    for mask in (0, FIQ):
        g.home[CPSR] = g.home[CPSR] & ~FIQ | mask
        b.caller = contended.taking
        exercise(b, rng)
        b.caller = g.call
        b.alloc(ORDERS)
        b.alloc(ORDERS - 1)
        used, free = rng.choice(sorted(b.used.keys() - b.users.keys())), rng.choice(sorted(b.free))
        for wrong in (b.pa(free), b.pa(used) + 1, b.pa(b.n), b.base - PGSIZE, b.pa(299)):
            b.expect(EINVAL, "pmm_free", wrong, 0)
            b.expect(EINVAL, "pmm_free_range", wrong, 1)
            b.expect(EINVAL, "page_share", wrong)
            b.expect(EINVAL, "page_unshare", wrong)
            b.refs(wrong & -PGSIZE)
        b.expect(EINVAL, "pmm_free", b.pa(used), b.used[used] ^ 1)
        b.expect(EINVAL, "pmm_free", b.pa(used), ORDERS)
        b.expect(EINVAL, "pmm_free_range", b.pa(used), 0)
        b.expect({EINVAL, EBUSY}, "pmm_free_range", b.pa(used), 2 * LARGEST)
        b.expect(EBUSY, "pmm_free", b.pa(full), b.used[full])
        b.expect({EINVAL, EBUSY}, "pmm_free", b.pa(full), b.used[full] ^ 1)
        b.expect(EBUSY, "pmm_free_range", b.pa(full), 1)
        b.expect(EBUSY, "page_share", b.pa(full))
        b.refs(b.pa(full) + (PGSIZE << b.used[full]) - 1)


def exercise(b: Blocks, rng: random.Random) -> None:
    """Each function, and it succeeds."""
    b.alloc(rng.randrange(3))
    b.put(rng.choice(sorted(b.used.keys() - b.users.keys())))
    frame = rng.choice(sorted(b.used.keys() - b.users.keys()))
    b.share(frame)
    b.share(frame)
    b.refs(b.pa(frame))
    b.unshare(frame)
    b.unshare(frame)
    b.unshare(frame)
    frame = rng.choice(sorted(b.used.keys() - b.users.keys()))
    b.cut(frame, 1 << b.used[frame])


def judge_pmm_locks(g: Guest, rng: random.Random) -> None:
    on_the_memmap(g, rng)
    on_the_pmm(g, rng)
