"""Lab 3's pmm from outside: blocks are taken and given back on machines made up here (grade/blocks.py)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

from grade.blocks import EBUSY, EINVAL, USERS_MAX, Blocks, spare_ram
from grade.buddy import LARGEST, ORDERS
from grade.guest import Guest
from grade.view import M64, PGSIZE, Disagree

FAR = (0, 0, 1 << 30, 1 << 32, 5 << 40)                 # where made-up memory may begin
NO_ORDERS = (ORDERS, ORDERS + 1, 15, 16, 31, 32, 63, 64, 0x40, 0x80, 0xC0, 0xFF, 0x100, 1 << 31, (1 << 32) - 1)
PER_PAGE = 40               # instructions that a range's length may cost


T = TypeVar("T")


def some(rng: random.Random, things: Sequence[T], most: int) -> list[T]:
    """As many of these, chosen at random, if there are so many."""
    return rng.sample(things, min(most, len(things)))


def banks(rng: random.Random, *sizes: int) -> list[tuple[int, int]]:
    """Banks of these sizes, with odd starts and holes of at least a page between them."""
    made = []
    at = rng.choice((0, rng.randrange(1, LARGEST), rng.randrange(3 * LARGEST)))
    for n in sizes:
        made.append((at, n))
        at += n + rng.choice((1, 2, rng.randrange(1, 70), rng.randrange(1, 2 * LARGEST)))
    return made


def machine(g: Guest, rng: random.Random, *sizes: int) -> Blocks:
    """base is such that frame 0, whose address means none, is in no bank."""
    made = banks(rng, *sizes)
    far = rng.choice(FAR) + rng.randrange(9) * LARGEST * PGSIZE
    if far == 0 and any(first == 0 for first, _ in made):
        far = LARGEST * PGSIZE
    return Blocks(g, rng, made, far)


def in_ram(g: Guest, rng: random.Random, n: int) -> Blocks:
    """One bank where there is RAM, so that pages may be on kalloc's list; some are."""
    first, there = spare_ram(g)
    b = Blocks(g, rng, [(first + rng.randrange(there - n), n)])
    b.fill(most=5)
    for frame in some(rng, [f for f, order in b.used.items() if order == 0], 3):
        del b.used[frame]
        b.cached.add(frame)
    return b


def take_all(b: Blocks, order: int) -> None:
    while b.alloc(order) is not None:
        pass


# --- taking --------------------------------------------------------------


def judge_pmm_alloc(g: Guest, rng: random.Random) -> None:
    for order in range(ORDERS):                         # each from one block of the largest
        b = machine(g, rng, 2 * LARGEST + rng.randrange(LARGEST))
        first, n = b.banks[0]
        whole = -(-first // LARGEST) * LARGEST
        b.free.update(range(whole, whole + LARGEST))
        b.write()
        b.alloc(rng.choice(NO_ORDERS))
        b.alloc(order)
        b.alloc(rng.randrange(ORDERS))
    for sizes in ((3 * LARGEST + rng.randrange(LARGEST),), (1, rng.randrange(20, 80), rng.randrange(300, 1500))):
        b = machine(g, rng, *sizes)
        b.fill(free=0.6)
        b.write()
        for _ in range(30):
            b.alloc(rng.choice((0, 0, 1, 2, 3, rng.randrange(ORDERS))))
        for order in range(ORDERS - 1, 3, -1):
            take_all(b, order)
    b = machine(g, rng, rng.randrange(3, 12), rng.randrange(20, 60))
    b.fill(free=0.8)
    b.write()
    take_all(b, 1)
    take_all(b, 0)
    for order in (0, 1, ORDERS - 1, *some(rng, NO_ORDERS, 3)):
        b.alloc(order)


# --- giving back ---------------------------------------------------------


def give_all(b: Blocks) -> None:
    for frame in b.rng.sample(sorted(b.used), len(b.used)):
        b.put(frame)


def judge_pmm_free(g: Guest, rng: random.Random) -> None:
    for sizes in ((rng.randrange(2 * LARGEST, 4 * LARGEST),), (1, 9, rng.randrange(40, 700))):
        b = machine(g, rng, *sizes)
        b.fill(most=10)
        b.write()
        for _ in range(40):
            if not b.used or rng.random() < 0.4:
                b.alloc(rng.choice((0, 0, 1, 2, rng.randrange(ORDERS))))
            else:
                b.put(rng.choice(sorted(b.used)))
        while len(b.used) > 60:
            b.release(b.frames_of(b.used.popitem()))
        b.write()
        give_all(b)
    for order in range(ORDERS):                         # a pair of each order, and its neighbours
        b = machine(g, rng, 4 * LARGEST)
        first = -(-b.banks[0][0] // LARGEST) * LARGEST + rng.choice((0, LARGEST))
        b.use(first, first + LARGEST)
        size = 1 << order
        pair = [first, first + size] if order < ORDERS - 1 else [first]
        for frame in pair:
            b.used[frame] = order
        at = pair[-1] + size
        while at < first + LARGEST:                     # the rest of this block: free, or in use as large as can be
            b.used[at] = (at & -at).bit_length() - 1
            if rng.random() < 0.5:
                b.release(b.frames_of((at, b.used[at])))
            at += at & -at
        b.write()
        rng.shuffle(pair)
        for frame in pair:
            b.put(frame)


def odd_frames(b: Blocks, rng: random.Random) -> list[tuple[int, str]]:
    """Addresses at which no block in use begins, and why."""
    free, used = b.free_blocks(), b.used
    there = {f for first, n in b.banks for f in range(first, first + n)}
    inside = [f for head, order in used.items() for f in range(head + 1, head + (1 << order))]
    nobody = there - b.free - b.cached - {f for block in used.items() for f in b.frames_of(block)}
    groups = [(sorted(free), "the beginning of a free block"), (sorted(b.free - set(free)), "in a free block"),
              (inside, "inside of a block"), (sorted(nobody), "reserved"), (sorted(b.cached), "on kalloc's list"),
              ([first + n for first, n in b.banks] + [first - 1 for first, _ in b.banks], "in no zone")]
    found = [(b.pa(frame), why) for frames, why in groups for frame in some(rng, frames, 3)
             if b.zone_number(frame) is not None or why == "in no zone"]
    head = rng.choice(sorted(used))
    found += [(b.pa(head) + off, "not aligned") for off in (1, 8, PGSIZE - 1, rng.randrange(1, PGSIZE))]
    found += [(b.pa(b.n), "behind all memory"), (b.pa(b.n + head), "behind all memory"),
              (b.base - PGSIZE & M64, "no memory"), (b.pa(head) + (1 << 52) & M64, "no memory"),
              (b.pa(head) + (1 << 63), "no memory"), (M64 - PGSIZE + 1, "no memory"), (M64, "not aligned"),
              (rng.randrange(1 << 51, 1 << 52) * PGSIZE, "no memory")]
    if b.base:
        found.append((0, "no memory"))
    return found


def judge_pmm_refuse(g: Guest, rng: random.Random) -> None:
    for b in (machine(g, rng, 1, rng.randrange(30, 90), rng.randrange(500, 2000)), in_ram(g, rng, 900)):
        if not b.used:
            b.fill()
        for frame in some(rng, sorted(b.used), 6):
            b.users[frame] = rng.choice((2, 3, 300))
        b.write()
        blocks = b.free_blocks()
        for pa, why in odd_frames(b, rng):
            frame = (pa - b.base) // PGSIZE
            order = next((o for block in (*b.used.items(), *blocks.items()) for o in block[1:]
                          if frame in b.frames_of(block)), 0)
            b.expect(EINVAL, "pmm_free", pa, order, why=why)
            if rng.random() < 0.3:
                b.expect(EINVAL, "pmm_free", pa, rng.randrange(ORDERS), why=why)
        for frame in b.users:
            order = b.used[frame]
            b.expect(EBUSY, "pmm_free", b.pa(frame), order, why="shared")
            for wrong in {order ^ 1, (order + 1) % ORDERS, 0x40 + order}:
                b.expect({EBUSY, EINVAL} if wrong < ORDERS else EINVAL, "pmm_free", b.pa(frame), wrong)
        alone = sorted(b.used.keys() - b.users.keys())
        for frame in some(rng, alone, 6):
            for wrong in {b.used[frame] + 1, b.used[frame] - 1, rng.choice(NO_ORDERS), rng.randrange(ORDERS)}:
                if wrong >= 0 and wrong != b.used[frame]:
                    b.expect(EINVAL, "pmm_free", b.pa(frame), wrong, why=f"a block of order {b.used[frame]}")
        for frame, order in some(rng, sorted(blocks.items()), 2):
            b.expect(EINVAL, "pmm_free", b.pa(frame), 0x80 + order)
        for frame in b.cached:
            b.expect(EINVAL, "pmm_free", b.pa(frame), 0xC0)
        for frame in some(rng, alone, 4):              # once, and not again
            order = b.used[frame]
            b.put(frame)
            b.expect(EINVAL, "pmm_free", b.pa(frame), order, why="free already")


# --- by range ------------------------------------------------------------


def run_from(b: Blocks, frame: int) -> int:
    """How many frames in a row, from this one on, are in use and not shared."""
    n, head = 0, b.block_of(frame)
    while head is not None and head not in b.users:
        end = head + (1 << b.used[head])
        n, frame = n + end - frame, end
        head = frame if frame in b.used else None
    return n


def judge_free_range(g: Guest, rng: random.Random) -> None:
    for sizes in ((rng.randrange(2 * LARGEST, 4 * LARGEST),), (rng.randrange(3, 70), rng.randrange(300, 1200))):
        b = machine(g, rng, *sizes)
        b.fill(free=0.15, hole=0.02, most=10)
        b.write()
        for _ in range(25):
            head = rng.choice(sorted(b.used))
            n = run_from(b, head)
            front = rng.choice((0, 0, rng.randrange(1 << b.used[head])))
            b.cut(head + front, rng.choice((1, n - front, rng.randrange(1, n - front + 1),
                                            min(n - front, rng.randrange(1, 99)))))
            if rng.random() < 0.4 and b.used:
                b.put(rng.choice(sorted(b.used)))
            if rng.random() < 0.3:
                b.alloc(rng.randrange(5))
            if not b.used:
                break
    # One block of each order: its front, its end, its middle; what is left by order, or by range.
    for order in range(ORDERS):
        b = machine(g, rng, 3 * LARGEST)
        head = -(-b.banks[0][0] // LARGEST) * LARGEST + (1 << order) * rng.randrange(LARGEST >> order)
        size = 1 << order
        b.used[head] = order
        b.write()
        first = rng.choice((0, rng.randrange(size), rng.randrange(size)))
        n = rng.choice((1, rng.randrange(1, size - first + 1), max(1, size - first - rng.choice((0, 1)))))
        b.cut(head + first, n)
        while b.used:
            frame = rng.choice(sorted(b.used))
            if rng.random() < 0.5:
                b.put(frame)
            else:
                b.cut(frame, rng.randrange(1, run_from(b, frame) + 1))
    b = machine(g, rng, 5 * LARGEST)                    # several of the largest at once
    b.use(b.banks[0][0], b.banks[0][0] + 5 * LARGEST)
    b.write()
    n = 3 * LARGEST + rng.randrange(LARGEST)
    b.cut(b.banks[0][0] + rng.randrange(200), n)
    if b.cost() > n * PER_PAGE // 1000:
        raise Disagree(f"{b.last} took {b.cost()},000 instructions, expected the time to go by blocks, of which there are "
                       f"a few, and no more than {PER_PAGE} instructions for each page")
    for frame in sorted(b.used):
        if frame in b.used:
            b.cut(frame, run_from(b, frame))


def range_errors(b: Blocks, pa: int, n: int) -> set[int]:
    """What pmm_free_range(pa, n) may return; empty: it is right."""
    first, rest = divmod(pa - b.base, PGSIZE)
    if rest or n == 0 or not 0 <= first < b.n:
        return {EINVAL}
    errors = set()
    for frame in range(first, min(first + n, b.n + 1)):
        head = b.block_of(frame)
        if head is None:
            errors.add(EINVAL)
        elif head in b.users:
            errors.add(EBUSY)
    return errors


def judge_range_refuse(g: Guest, rng: random.Random) -> None:
    made = [machine(g, rng, 40, rng.randrange(400, 1500), 3), in_ram(g, rng, 700)]
    made[0].fill(free=0.2)
    for b in made:
        for frame in some(rng, sorted(b.used), 5):
            b.users[frame] = 2
        b.write()
        for pa, why in odd_frames(b, rng):
            for n in some(rng, (0, 1, 2, 5, 200, 1 << 52, M64), 2):
                if (wrong := range_errors(b, pa, n)):
                    b.expect(wrong, "pmm_free_range", pa, n, why=why)
        for frame in some(rng, sorted(b.used), 15):
            n = run_from(b, frame)
            for npages in some(rng, (0, n + 1, n + rng.randrange(1, 300), b.n - frame, b.n - frame + 1, 1 << 32,
                                     1 << 51, (1 << 52) - frame, (1 << 52) + 1, M64, M64 - frame, M64 >> 1, 1 << 63), 3):
                if (wrong := range_errors(b, b.pa(frame), npages)):
                    b.expect(wrong, "pmm_free_range", b.pa(frame), npages)
        for frame in b.users:
            size = 1 << b.used[frame]
            b.expect(EBUSY, "pmm_free_range", b.pa(frame), size, why="shared")
            b.expect(EBUSY, "pmm_free_range", b.pa(frame + rng.randrange(size)), 1, why="part of a shared block")
    b = machine(g, rng, 200)                            # a hole of reserved frames, or of one, in what is in use
    first, hole = b.banks[0][0], rng.choice((1, 2, rng.randrange(3, 9)))
    b.use(first, first + 100)
    b.use(first + 100 + hole, first + 200)
    b.write()
    for at, npages in ((first + 99, 1 + hole), (first + 99, 2 + hole), (first + 90, 30 + hole), (first, 200)):
        b.expect(EINVAL, "pmm_free_range", b.pa(at), npages, why="in use but for reserved pages")
    # Frames behind a zone's end, and in the hole before the next.
    first, n = made[0].banks[0]
    b = Blocks(g, rng, [(first, n), (first + n + 3, 50)], made[0].base)
    b.use(first, first + n)
    b.use(first + n + 3, first + n + 53)
    b.write()
    for at, npages in ((first, n + 1), (first, n + 4), (first + n - 1, 2), (first + n, 1), (first + n + 2, 1),
                       (first + n + 2, 2), (first + n + 52, 2)):
        b.expect(EINVAL, "pmm_free_range", b.pa(at), npages, why="not in a zone as a whole")
    b.cut(first, n)


# --- sharing -------------------------------------------------------------


def judge_page_share(g: Guest, rng: random.Random) -> None:
    for b in (machine(g, rng, rng.randrange(20, 90), rng.randrange(300, 900)), in_ram(g, rng, 600)):
        if not b.used:
            b.fill(most=5)
        chosen = some(rng, sorted(b.used), 9)
        at_once = dict(zip(chosen, (2, 255, 256, 299, 65535, 65536, 69999, USERS_MAX - 1)))
        b.users.update(at_once)
        b.write()
        for frame in chosen:
            b.refs(b.pa(frame))
            b.share(frame)
            b.refs(b.pa(frame + rng.randrange(1 << b.used[frame])) + rng.choice((0, 1, PGSIZE - 1)))
        full = chosen[7]
        b.expect(EBUSY, "page_share", b.pa(full), why="used by 2^31 - 1")
        for frame in chosen:
            b.unshare(frame)
            b.refs(b.pa(frame))
        for pa, why in odd_frames(b, rng):
            if rng.random() < 0.7:
                b.expect(EINVAL, "page_share", pa, why=why)
            if rng.random() < 0.7:
                b.expect(EINVAL, "page_unshare", pa, why=why)
            b.refs(pa)
        for frame in chosen:                            # down to the last, and it is free and merged
            for _ in range(rng.randrange(1, 4) if frame not in at_once else 0):
                b.share(frame)
            while frame in b.used and b.users.get(frame, 1) < 9:
                b.unshare(frame)
        for frame in some(rng, sorted(b.used.keys() - b.users.keys()), 4):
            b.unshare(frame)
            b.refs(b.pa(frame))
