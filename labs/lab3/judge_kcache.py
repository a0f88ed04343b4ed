"""Lab 3's kalloc and kfree over the pmm from outside: small pools of real pages, made up as for the pmm's judges."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable

from grade.blocks import Blocks, end_of_ram, pieces, signed, spare_ram
from grade.buddy import (CACHED, LARGEST, ORDERS, Pmm, heap_pages, listed_pages, lowest, memmap, pmm_tables, variable,
                         whole)
from grade.contended import Contended
from grade.guest import Guest
from grade.view import KERNBASE, PERIPHERALS, PGSIZE, P2V, Disagree

MAX, BATCH = 64, 32         # KCACHE_MAX, KCACHE_BATCH
RAM_ALL = 0x3C00_0000       # what QEMU's firmware leaves the ARM


class Pool(Blocks):
    """A pmm with pages that are there, and kalloc's list in front of it."""

    def __init__(self, g: Guest, rng: random.Random, n: int, align: int = 1):
        first, there = spare_ram(g)
        at = first + rng.randrange(there - n - align)
        super().__init__(g, rng, [(at + -at % align, n)])
        self.first = self.banks[0][0]

    def listed(self) -> set[int]:
        """The frames on kmem's list."""
        return {(page - KERNBASE) // PGSIZE for page in listed_pages(self.g)}

    def moved(self) -> set[int]:
        """The model learns which pages have come to the list: some that were free.  Returns them."""
        try:
            listed = self.listed()
        except Disagree as e:
            raise Disagree(f"after {self.last}: {e}") from None
        new = listed - self.cached
        for frame in new - self.free:
            raise Disagree(f"after {self.last}: the page {P2V(self.pa(frame)):#x} is on kmem.free_list, but was not "
                           "free")
        self.free -= new
        self.cached |= new
        return new

    def returned(self) -> set[int]:
        """And which have left it, for the pmm."""
        gone = self.cached - self.listed()
        self.cached -= gone
        self.free |= gone
        return gone

    def drained(self, wanted: int) -> None:
        gone = len(self.returned())
        if gone != wanted:
            raise Disagree(f"after {self.last}: expected {wanted} pages to have gone back to the pmm, found {gone}")

    def refill(self) -> int:
        wanted = min(BATCH, len(self.free))
        n = self.call("kcache_refill")
        came = len(self.moved())
        if n != wanted or came != wanted:
            raise Disagree(f"kcache_refill() returned {n} and put {came} pages on the list, expected {wanted}, with "
                           f"{len(self.free) + came} free in the pmm and a batch of {BATCH}")
        self.check()
        return n

    def kalloc(self) -> int | None:
        """The frame, or None."""
        before, free = set(self.cached), len(self.free)
        page = self.call("kalloc")
        if page == 0:
            if before or free:
                raise Disagree(f"kalloc() returned NULL with {len(before)} pages on the list, {free} free in the pmm")
            self.check()
            return None
        frame, rest = divmod(page - KERNBASE, PGSIZE)
        if rest or frame not in (before or self.free):
            raise Disagree(f"kalloc() returned {page:#x}, which " + ("is not on its list" if before else
                           "was not free in the pmm, and its list was empty"))
        self.cached.discard(frame)
        self.free.discard(frame)
        self.used[frame] = 0
        came = len(self.moved()) + 1
        if not before and came != min(BATCH, free):
            raise Disagree(f"kalloc() with an empty list took {came} pages from the pmm, which had {free}: expected a "
                           f"batch of {min(BATCH, free)}")
        if before and came != 1:
            raise Disagree("kalloc() took pages from the pmm although its list was not empty")
        self.check()
        return frame

    def kfree(self, frame: int) -> None:
        """A single page in use, which nobody shares."""
        pa = self.pa(frame)
        before = self.rng.randbytes(PGSIZE)
        self.g.phys_write(pa, before)
        del self.used[frame]
        self.cached.add(frame)
        self.call("kfree", P2V(pa))
        had = len(self.cached)
        after = self.g.phys(pa, PGSIZE)
        if sum(a == b for a, b in zip(after[8:], before[8:])) > PGSIZE // 16:
            raise Disagree(f"{self.last} did not fill the page with junk")
        gone = len(self.returned())
        wanted = BATCH if had >= MAX else 0
        if gone != wanted:
            raise Disagree(f"after {self.last}, with {had} pages on kalloc's list: expected {wanted} of them to be "
                           f"drained (a batch once there are {MAX}), found {gone}")
        self.check()

    def drain(self, n: int) -> None:
        wanted = min(n, len(self.cached))
        found = self.call("kcache_drain", n)
        if found != wanted:
            raise Disagree(f"{self.last}: expected {wanted}, found {found}")
        self.drained(wanted)
        self.check()

    def alloc_after_draining(self, order: int) -> int | None:
        """pmm_alloc when no free block is so large."""
        together = whole(self.free | self.cached)
        possible = any(have >= order for have in together.values())
        pa = self.call("pmm_alloc", order)
        self.returned()
        if pa == 0:
            if possible:
                raise Disagree(f"{self.last}: expected a block, found 0, although there is one once kalloc's list is "
                               "drained")
            if self.cached:
                raise Disagree(f"{self.last} returned 0, with {len(self.cached)} pages on kalloc's list, expected it "
                               "to be drained first")
            self.check()
            return None
        frame = self.taken(pa, order)
        self.free.difference_update(range(frame, frame + (1 << order)))
        self.used[frame] = order
        self.check()
        return frame

    def panics(self, address: int, why: str) -> None:
        """kfree of this panics, and nothing has changed."""
        page = address - KERNBASE & -PGSIZE
        there = 0 <= page < PERIPHERALS
        before = self.g.phys(page, PGSIZE) if there else b""
        self.last = f"kfree({address:#x})"
        message = self.g.panics("kfree", address)
        if message is None:
            raise Disagree(f"{self.last} returned, expected a panic: it is {why}")
        if message.startswith("fault"):
            raise Disagree(f"{self.last} faulted ({message}), expected a panic: it is {why}")
        if there and self.g.phys(page, PGSIZE) != before:
            raise Disagree(f"{self.last} panicked, but it had changed the page already")
        self.check()

    def contended(self) -> Contended:
        """For calls that find kmem_lock taken."""
        return Contended(self.g, self.rng, "kmem_lock", lambda: variable(self.g, "kmem", 16), 200)

    def singles(self, frames: Iterable[int]) -> None:
        """These are in use from now on, one by one."""
        self.used.update(dict.fromkeys(frames, 0))


def judge_kcache_refill(g: Guest, rng: random.Random) -> None:
    for n in (rng.randrange(3, BATCH), rng.randrange(2 * BATCH, 110)):
        p = Pool(g, rng, 3 * n)
        p.fill(free=0.3, most=4)
        p.write()
        while p.kalloc() is not None:
            pass
        p.kalloc()
    p = Pool(g, rng, 9 * BATCH)
    p.fill(free=0.5)
    taken = rng.sample(sorted(p.free), min(len(p.free), 9))
    p.free.difference_update(taken)
    p.cached.update(taken)
    p.write()
    while len(p.free) >= BATCH:
        p.refill()
    for _ in range(9):
        p.kalloc()
    p = Pool(g, rng, 99)
    p.fill(free=0.2)
    for frame in list(p.free)[BATCH - 3:]:
        p.free.discard(frame)
    p.write()
    p.refill()
    p = Pool(g, rng, 50)                                # nothing at all
    p.use(p.first, p.first + 50)
    p.write()
    p.refill()
    p.kalloc()


    p = Pool(g, rng, 4 * BATCH)
    p.free.update(range(p.first, p.first + 4 * BATCH))
    p.write()
    for caller in (p.contended().call, p.contended().taking):
        p.caller = caller
        p.refill()
        p.kalloc()


def judge_kcache_drain(g: Guest, rng: random.Random) -> None:
    p = Pool(g, rng, 130, 2)
    p.singles(range(p.first, p.first + 130))
    p.write()
    frames = sorted(p.used)
    rng.shuffle(frames)
    for frame in frames[:110]:
        p.kfree(frame)
        if rng.random() < 0.1:
            p.kalloc()
    for n in (0, 1, rng.randrange(2, 9), 1):
        p.drain(n)
    for frame in [f for f in p.used][:20]:
        p.kfree(frame)
    p.drain(rng.choice((MAX, 1000, 1 << 40)))
    p.drain(5)
    for frame in sorted(p.used):
        p.kfree(frame)
    p.drain(MAX)
    if len(p.free) != 130:
        raise Disagree(f"expected all 130 pages to be free in the end, found {len(p.free)}")
    p = Pool(g, rng, 20)
    p.singles(range(p.first, p.first + 20))
    p.write()
    for caller in (p.contended().call, p.contended().taking):
        p.caller = caller
        p.kfree(min(p.used))
        p.kfree(max(p.used))
        p.drain(1)
    for order in (0, rng.randrange(1, 4), 5):           # what is missing is on the list
        p = Pool(g, rng, LARGEST // 4, LARGEST // 4)
        size = 1 << order
        at = p.first + rng.randrange(0, LARGEST // 4, size)
        block = list(range(at, at + size))
        others = [f for f in range(p.first, p.first + LARGEST // 4) if f not in block]
        p.singles(others)
        for frame in rng.sample(others, 20):
            del p.used[frame]
            p.cached.add(frame)
        mine = rng.sample(block, max(1, size // 2))
        p.cached.update(mine)
        p.free.update(set(block) - set(mine))
        p.write()
        p.alloc_after_draining(order)
        p.alloc_after_draining(ORDERS - 1)
        p.alloc_after_draining(6)


def judge_kfree_twice(g: Guest, rng: random.Random) -> None:
    p = Pool(g, rng, 400)
    p.fill(free=0.3, hole=0.1, most=5)
    single = rng.sample([f for f, order in p.used.items() if order == 0], 4)
    for frame in single[:2]:
        del p.used[frame]
        p.cached.add(frame)
    large = rng.choice([f for f, order in p.used.items() if order > 0])
    p.users[large] = 2
    p.write()
    there = set(range(p.first, p.first + 400))
    blocks = p.free_blocks()
    inside = [f for head, order in p.used.items() for f in range(head + 1, head + (1 << order))]
    nobody = there - p.free - p.cached - set(p.used) - set(inside)
    cases = [(rng.choice(sorted(frames)), why) for frames, why in (
        (p.cached, "on the list already"), (p.cached, "on the list already"), (list(blocks), "free, with the pmm"),
        (p.free - set(blocks), "free, with the pmm"), (inside, "inside of a larger block"),
        (inside, "inside of a larger block"),
        ([f for f, order in p.used.items() if order > 0 and f != large], "the beginning of a larger block"),
        (nobody, "reserved"))
        if frames]
    cases.append((large + (1 << p.used[large]) - 1, "inside of a larger block, which is shared"))
    rng.shuffle(cases)
    for frame, why in cases:
        p.panics(P2V(p.pa(frame)), why)
    for address, why in ((0, "NULL"), (P2V(p.pa(single[2])) + rng.choice((1, 8, PGSIZE - 1)), "not aligned"),
                         (p.pa(single[2]), "a physical address"), (P2V(p.pa(p.n)), "no page"),
                         (P2V(rng.randrange(1 << 31, 1 << 40) & -PGSIZE), "no page")):
        p.panics(address, why)
    for frame in single[2:]:
        p.kfree(frame)
        p.panics(P2V(p.pa(frame)), "on the list already")
    p.drain(MAX)
    for frame in single:
        p.panics(P2V(p.pa(frame)), "free, with the pmm")


def judge_kfree_shared(g: Guest, rng: random.Random) -> None:
    p = Pool(g, rng, 300)
    p.fill(free=0.3, most=4)
    chosen = rng.sample([f for f, order in p.used.items() if order == 0], 5)
    for frame, users in zip(chosen, (2, 3, 300, 70000)):
        p.users[frame] = users
    large = rng.choice([f for f, order in p.used.items() if order > 0])
    p.users[large] = 2
    p.write()
    p.share(chosen[4])
    for frame in chosen:
        content = rng.randbytes(PGSIZE)
        g.phys_write(p.pa(frame), content)
        for _ in range(3):
            users = p.users.pop(frame, 1) - 1
            if users == 0:
                break
            if users > 1:
                p.users[frame] = users
            p.call("kfree", P2V(p.pa(frame)))
            if g.phys(p.pa(frame), PGSIZE) != content:
                raise Disagree(f"{p.last} changed a page that {users} others use")
            p.check()
            p.refs(p.pa(frame))
    for frame in chosen[:2]:
        p.kfree(frame)
        p.panics(P2V(p.pa(frame)), "on the list already")
    p.panics(P2V(p.pa(large + 1)), "inside of a larger block")


# --- all of the machine --------------------------------------------------


def everything(g: Guest) -> bytes:
    """1 for each frame that somebody has, or can have: all RAM behind the image but the pmm's own tables, and what
    the heap began with."""
    if end_of_ram(g) != RAM_ALL:
        raise Disagree(f"PHYSTOP is {end_of_ram(g):#x}, expected {RAM_ALL:#x}")
    first = -(-(g.symbol("end") - KERNBASE) // PGSIZE)
    mask = bytearray(first) + b"\1" * (RAM_ALL // PGSIZE - first)
    for page in pmm_tables(g):
        frame = (page - KERNBASE) // PGSIZE
        if not first <= frame < len(mask):
            raise Disagree(f"the pmm's tables are at {page:#x}, expected memory that is usable")
        mask[frame] = 0
    for page in heap_pages(g):
        if page < P2V(RAM_ALL):
            mask[(page - KERNBASE) // PGSIZE] = 0
    return bytes(mask)


def is_cache(g: Guest) -> bool:
    """False: kalloc and kfree are still those of lab 2, for which the pages on the list are in use."""
    listed = {(page - KERNBASE) // PGSIZE for page in listed_pages(g)}
    return not listed or Pmm(g).used != dict.fromkeys(listed, 0)


def whole_machine(g: Guest, when: str, cache: bool) -> Pmm:
    """Every page is free: with the pmm, or on kalloc's list."""
    pmm = Pmm(g)
    n = RAM_ALL // PGSIZE
    if len(pmm.zones) != 1 or pmm.zones[0].n != n or pmm.start or pmm.n != -(-n // LARGEST) * LARGEST:
        raise Disagree(f"{when}, expected one zone with all memory")
    usable, free = everything(g), bytearray(n)
    for block in pmm.free.items():
        frame, size = block[0], 1 << block[1]
        free[frame:frame + size] = b"\1" * size
    listed = {(page - KERNBASE) // PGSIZE for page in listed_pages(g)}
    for frame in listed:
        if frame >= n or free[frame]:
            raise Disagree(f"{when}, {pmm.frame(frame)} is on kmem.free_list, and not only there")
        free[frame] = 1
    if cache and listed != pmm.cached:
        frame = min(listed ^ pmm.cached)
        raise Disagree(f"{when}, the state of {pmm.frame(frame)} is {pmm.state[frame]:#x}, expected {CACHED:#x} for "
                       "the pages on kalloc's list, and for no others")
    if free != usable:
        frame = next(i for i, (a, b) in enumerate(zip(free, usable)) if a != b)
        raise Disagree(f"{when}, {pmm.frame(frame)} is free, expected it to be reserved" if free[frame] else
                       f"{when}, expected {usable.count(1)} free pages, found {free.count(1)}; {pmm.frame(frame)} is "
                       f"not free, the state there is {pmm.state[frame]:#x}")
    count = int.from_bytes(variable(g, "kmem", 16)[8:], "little")
    if cache and (count != len(listed) or count > MAX):
        raise Disagree(f"{when}, kmem.count is {count} and {len(listed)} pages are on the list, expected both the "
                       f"same, and no more than {MAX}")
    return pmm


def booted(g: Guest) -> None:
    """As the boot leaves it.  The bitmap, which checks may use for other things later, has nothing to give."""
    whole_machine(g, "after the boot", is_cache(g))
    if g.has("memmap"):
        now = memmap(g, g.symbol("memmap"))
        if (now.start, now.n) != (0, RAM_ALL // PGSIZE):
            raise Disagree(f"after the boot, the memmap describes frames {now.start:#x} to {now.start + now.n - 1:#x}, "
                           f"expected 0 to {RAM_ALL // PGSIZE - 1:#x}")
        left = ~now.reserved & (1 << now.n) - 1
        if left:
            raise Disagree(f"after the boot, frame {lowest(left):#x} of the memmap is not reserved, expected all to "
                           "be: they are the pmm's")


at_begin: list[str] = []    # what was amiss then
as_in_lab_2: list[bool] = []


def begin_frames_whole(g: Guest, rng: random.Random) -> None:
    """Look now, and tell later: the check's own words come first, as they name the exercise."""
    at_begin.clear()
    as_in_lab_2.clear()
    try:
        as_in_lab_2.append(not is_cache(g))
        booted(g)
    except Disagree as e:
        at_begin.append(str(e))


def judge_frames_whole(g: Guest, rng: random.Random) -> None:
    if at_begin:
        raise Disagree(at_begin[0])
    cache = not any(as_in_lab_2)
    whole_machine(g, "after the check", cache)
    mine: dict[int, int] = {}
    for _ in range(30):
        order = rng.randrange(ORDERS)
        pa = g.call("pmm_alloc", order)
        taken = range(pa, pa + (PGSIZE << order))
        if not pa or pa % len(taken) or taken.stop > RAM_ALL or any(
                pa < at + (PGSIZE << o) and at < taken.stop for at, o in mine.items()):
            raise Disagree(f"pmm_alloc({order}) returned {pa:#x}, expected a block that is free")
        mine[pa] = order
    pages = [g.call("kalloc") for _ in range(40)] if cache else []
    if 0 in pages:
        raise Disagree("kalloc() returned NULL, with all memory free")
    pmm = Pmm(g)
    for at, order in [*mine.items(), *((page - KERNBASE, 0) for page in pages)]:
        if at % PGSIZE or pmm.used.get(at // PGSIZE) != order:
            raise Disagree(f"a block of order {order} was handed out at {at:#x}, but the state there is not that of "
                           "one in use")
    for page in pages:
        g.call("kfree", page)
    for pa, order in rng.sample(sorted(mine.items()), len(mine)):
        half = 1 << order >> 1
        parts = rng.choice(([1 << order], [half, half])) if half else [1]
        for n in parts:
            if signed(g.call("pmm_free_range", pa, n) if len(parts) > 1 else g.call("pmm_free", pa, order)):
                raise Disagree(f"the block of order {order} at {pa:#x} cannot be given back")
            pa += n * PGSIZE
    g.call("kcache_drain", 1 << 20)
    pmm = whole_machine(g, "after all was given back", cache)
    blocks: dict[int, int] = {}
    for run in re.finditer(rb"\x01+", everything(g)):
        blocks.update(pieces(*run.span()))
    if pmm.cached or pmm.free != blocks:
        raise Disagree("after all was given back and kalloc's list drained, expected every block to be whole")
