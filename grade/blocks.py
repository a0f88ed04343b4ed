"""Made-up memory for the pmm of a stopped kernel, and a model of it: sets of frames; for judges of any lab.

The pmm works on tables alone, so it can be given any machine: banks that begin anywhere, holes, several zones.
frames, zones and nzones are written as inc/zone.h says, with tables in RAM that nobody needs once the check
is over.  Each call of the student's functions is followed by a comparison of all of it with the model.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable

from grade.buddy import (CACHED, FRAMES, FREE, LARGEST, LINK, NONE, ORDERS, SHARED, USED, ZONE, Pmm, listed_pages,
                         locked, variable, whole)
from grade.guest import Guest, Stuck
from grade.view import KERNBASE, M64, PERIPHERALS, PGSIZE, P2V, Disagree

EINVAL, EBUSY, ENOMEM = -22, -16, -12
USERS_MAX = (1 << 31) - 1
TABLES = 2 << 20            # bytes at the end of RAM for made-up tables
QUICK = 60                  # million instructions for a call: far more than the slowest way takes


def signed(x0: int) -> int:
    """An int that a function returned."""
    return (x0 & 0xFFFF_FFFF) - (1 << 32 if x0 & 1 << 31 else 0)


def number(value: int) -> str:
    """For messages."""
    names = {EINVAL: "-EINVAL", EBUSY: "-EBUSY", ENOMEM: "-ENOMEM"}
    return names.get(value, str(value) if abs(value) < 1 << 31 else hex(value))


def end_of_ram(g: Guest) -> int:
    end = int.from_bytes(variable(g, "phystop", 8), "little")
    if end % PGSIZE or not 8 << 20 <= end <= PERIPHERALS:
        raise Disagree(f"PHYSTOP is {end:#x}")
    return end


def spare_ram(g: Guest) -> tuple[int, int]:
    """(first frame, frames) of RAM that only the allocators have; nothing else is there."""
    first = -(-(g.symbol("end") - KERNBASE) // PGSIZE)
    return first, (end_of_ram(g) - TABLES) // PGSIZE - first


def pieces(first: int, stop: int) -> dict[int, int]:
    """Frames first to stop - 1 as the largest aligned blocks they consist of; frame: order."""
    blocks = {}
    while first < stop:
        order = min(ORDERS - 1, (first & -first).bit_length() - 1 if first else ORDERS - 1)
        while 1 << order > stop - first:
            order -= 1
        blocks[first] = order
        first += 1 << order
    return blocks


class Blocks:
    """The model of a pmm: what is free, and which blocks are in use, by how many."""

    def __init__(self, g: Guest, rng: random.Random, banks: list[tuple[int, int]], base: int = 0):
        """banks: (first frame, number of frames) of each zone, counted from the address `base`."""
        self.g, self.rng, self.base = g, rng, base
        self.banks = sorted(banks)
        self.n = -(-max(first + n for first, n in banks) // LARGEST) * LARGEST
        self.free: set[int] = set()
        self.used: dict[int, int] = {}      # frame: order, shared ones too
        self.users: dict[int, int] = {}     # frame: how many, of those that are shared
        self.cached: set[int] = set()       # on kmem's list
        self.last = "setting up"            # the last call
        self.caller: Callable[..., int] = g.call

    # --- the model -----------------------------------------------------------

    def pa(self, frame: int) -> int:
        return self.base + frame * PGSIZE

    def use(self, first: int, stop: int) -> None:
        """These frames are in use from now on, as the largest blocks there can be."""
        self.used.update(pieces(first, stop))

    def release(self, frames: Iterable[int]) -> None:
        """These frames are free from now on; blocks in use that begin there are none any more."""
        for frame in frames:
            self.used.pop(frame, None)
            self.free.add(frame)

    def frames_of(self, block: tuple[int, int]) -> range:
        return range(block[0], block[0] + (1 << block[1]))

    def block_of(self, frame: int) -> int | None:
        """The frame at which the block in use begins that this one belongs to."""
        for order in range(ORDERS):
            head = frame & -1 << order
            if head in self.used:
                return head if frame < head + (1 << self.used[head]) else None
        return None

    def free_blocks(self) -> dict[int, int]:
        return whole(self.free)

    def fill(self, free: float = 0.4, hole: float = 0.06, most: int = 8) -> None:
        """Blocks of all sizes side by side: this share of them free, and that share nobody's."""
        for first, n in self.banks:
            frame, stop = first, first + n
            while frame < stop:
                order = self.rng.randrange(most)
                while frame % (1 << order) or frame + (1 << order) > stop:
                    order -= 1
                dice = self.rng.random()
                if dice < free:
                    self.free.update(range(frame, frame + (1 << order)))
                elif dice >= free + hole:
                    self.used[frame] = order
                frame += 1 << order

    def zone_number(self, frame: int) -> int | None:
        return next((i for i, (first, n) in enumerate(self.banks) if first <= frame < first + n), None)

    # --- the machine ---------------------------------------------------------

    def write(self) -> None:
        """Give the kernel this machine in place of its own."""
        g, at = self.g, P2V(end_of_ram(self.g) - TABLES)
        state = bytearray([NONE]) * self.n
        for frame in self.cached:
            state[frame] = CACHED
        for frame, order in self.used.items():
            state[frame] = (SHARED if frame in self.users else USED) + order
        blocks = self.free_blocks()
        for frame, order in blocks.items():
            state[frame] = FREE + order
        first = P2V(self.base) & M64
        self.frames = FRAMES.pack(at - first // PGSIZE & M64, first, self.n, at)
        table = at
        g.phys_write(at - KERNBASE, bytes(state))
        at += self.n
        zones = []
        for first, count in self.banks:
            low = first & -LARGEST                      # links begin here, and frames are counted from it
            n = first + count - low
            links = [(self.rng.getrandbits(32), self.rng.getrandbits(32)) for _ in range(n + ORDERS)]
            mine = [(f, o) for f, o in blocks.items() if first <= f < first + count]
            self.rng.shuffle(mine)
            for order in range(ORDERS):
                ring = [n + order, *(f - low for f, o in mine if o == order)]
                for before, after in zip(ring, [*ring[1:], ring[0]]):
                    links[before] = (after, links[before][1])
                    links[after] = (links[after][0], before)
            for frame, users in self.users.items():
                if first <= frame < first + count:
                    links[frame - low] = (users, 0)
            g.phys_write(at - KERNBASE, b"".join(LINK.pack(*link) for link in links))
            free = sum(1 << o for f, o in mine)
            in_use = (sum(1 << o for f, o in self.used.items() if first <= f < first + count)
                      + sum(first <= f < first + count for f in self.cached))
            zones.append(ZONE.pack(ORDERS, self.pa(low), n, at, table + low, free, free + in_use, 0, 0, 0))
            at += len(links) * LINK.size
        if at > P2V(end_of_ram(g)):
            raise ValueError("TABLES is too small")
        self.zones = b"".join(zones) + bytes(ZONE.size)
        pages = [P2V(self.pa(frame)) for frame in self.cached]      # these must be in RAM
        for page, after in zip(pages, [*pages[1:], 0]):
            g.phys_write(page - KERNBASE, struct.pack("<Q", after))
        kmem = struct.pack("<QQ", pages[0] if pages else 0, len(pages))
        for name, data in (("frames", self.frames), ("zones", self.zones),
                           ("nzones", struct.pack("<Q", len(zones))), ("kmem", kmem)):
            g.phys_write(g.symbol(name) - KERNBASE, data)
        self.check()

    def steady(self) -> None:
        """Is what only staff's code sets as it was?"""
        if variable(self.g, "frames", FRAMES.size) != self.frames:
            raise Disagree("the variable frames was changed")
        if int.from_bytes(variable(self.g, "nzones", 8), "little") != len(self.banks):
            raise Disagree("the variable nzones was changed")
        now = variable(self.g, "zones", len(self.zones))
        for i, (a, b) in enumerate(zip(ZONE.iter_unpack(now), ZONE.iter_unpack(self.zones))):
            if (a[:5], a[6:]) != (b[:5], b[6:]):        # all but free
                raise Disagree(f"orders, base, n, link, state, pages or watermark of zone {i} was changed")

    def check(self) -> None:
        """Is the pmm as the model says?"""
        try:
            self.steady()
            self.compare(Pmm(self.g))
            self.compare_list()
            name = locked(self.g)
            if name is not None:
                raise Disagree(f"{name} is still locked, expected spin_unlock before each return")
        except Disagree as e:
            raise Disagree(f"after {self.last}: {e}") from None

    def compare(self, now: Pmm) -> None:
        free = now.free_frames()
        for frame in sorted(free ^ self.free)[:1]:
            raise Disagree(f"{now.frame(frame)} is free, expected it not to be" if frame in free else
                           f"expected {now.frame(frame)} to be free, found it is not (its state: "
                           f"{now.state[frame]:#x})")
        if now.cached != self.cached:
            frame = min(now.cached ^ self.cached)
            raise Disagree(f"the state of {now.frame(frame)} is {now.state[frame]:#x}, expected that of "
                           + ("a page" if frame in self.cached else "no page") + " of kalloc's list")
        used = {**now.used, **now.shared}
        for frame in sorted({f for f, _ in used.items() ^ self.used.items()})[:1]:
            wanted = f"a block of order {self.used[frame]} in use" if frame in self.used else "no block in use"
            found = (f"one of order {used[frame]}" if frame in used else f"none (the state {now.state[frame]:#x})")
            raise Disagree(f"expected {wanted} to begin at {now.frame(frame)}, found {found}")
        for frame in sorted({f for f, _ in now.users.items() ^ self.users.items()})[:1]:
            raise Disagree(f"the block at {now.frame(frame)} has {now.users.get(frame, 1)} users, expected "
                           f"{self.users.get(frame, 1)}")

    def compare_list(self) -> None:
        """kmem's list and its count."""
        pages = [P2V(self.pa(frame)) for frame in self.cached]
        listed = listed_pages(self.g)
        if set(listed) != set(pages):
            page = min(set(listed) ^ set(pages))
            raise Disagree(f"the page {page:#x} is on kmem.free_list, expected it not to be" if page in listed else
                           f"expected the page {page:#x} on kmem.free_list, found it is not there")
        count = int.from_bytes(variable(self.g, "kmem", 16)[8:], "little")
        if count != len(listed):
            raise Disagree(f"kmem.count is {count:#x}, but the list has {len(listed)} pages")

    # --- calls ---------------------------------------------------------------

    def call(self, function: str, *arguments: int, limit: int = QUICK) -> int:
        """x0; self.last names the call for messages."""
        numbers = ", ".join(f"{a:#x}" if a > 9 else str(a) for a in arguments)
        self.last = f"{function}({numbers})"
        try:
            return self.caller(function, *arguments, limit=limit)
        except Stuck as e:
            raise Disagree(f"{self.last}: {e}") from None

    def cost(self) -> int:
        """Of the last call, in thousand instructions: guest time goes on in calls alone."""
        return self.g.machine.ticks() - self.g.machine.clock

    def expect(self, wanted: int | set[int], function: str, *arguments: int, why: str = "") -> None:
        """A call that returns this int, or one of these; the model has been told what it does."""
        found = signed(self.call(function, *arguments))
        allowed = wanted if isinstance(wanted, set) else {wanted}
        if found not in allowed:
            raise Disagree(f"{self.last}{why and f', which is {why}'}: expected {' or '.join(map(number, allowed))}, "
                           f"found {number(found)}")
        self.check()

    def refs(self, pa: int) -> None:
        """page_refs, of any address."""
        head = self.block_of((pa - self.base) // PGSIZE)
        wanted = 0 if head is None else self.users.get(head, 1)
        found = self.call("page_refs", pa) & 0xFFFF_FFFF
        if found != wanted:
            raise Disagree(f"{self.last}: expected {wanted}, found {found}")
        self.check()

    def share(self, frame: int) -> None:
        """page_share of a block in use."""
        self.users[frame] = self.users.get(frame, 1) + 1
        self.expect(self.users[frame], "page_share", self.pa(frame))

    def unshare(self, frame: int) -> None:
        users = self.users.pop(frame, 1) - 1
        if users > 1:
            self.users[frame] = users
        elif users == 0:
            self.release(range(frame, frame + (1 << self.used[frame])))
        self.expect(users, "page_unshare", self.pa(frame))

    def smallest(self, order: int) -> tuple[int, int] | None:
        """The order of the smallest free block that holds one of this order, in the first zone that has any; and
        that zone."""
        blocks = self.free_blocks()
        for zone, (first, n) in enumerate(self.banks):
            fit = [have for frame, have in blocks.items() if have >= order and first <= frame < first + n]
            if fit:
                return min(fit), zone
        return None

    def alloc(self, order: int) -> int | None:
        """pmm_alloc.  Returns the frame, or None where there is none to be had."""
        best = self.smallest(order) if order < ORDERS else None
        pa = self.call("pmm_alloc", order)
        if pa == 0:
            if best is not None:
                raise Disagree(f"{self.last}: expected a block, as there is a free one of order {best[0]}, found 0")
            self.check()
            return None
        if best is None:
            raise Disagree(f"{self.last}: expected 0, as no free block is so large, found {pa:#x}")
        frame = self.taken(pa, order)
        head, have = next(block for block in self.free_blocks().items() if frame in self.frames_of(block))
        if self.zone_number(frame) != best[1]:
            raise Disagree(f"{self.last}: returned {pa:#x}, expected a block of the first zone that has one, of zone "
                           f"{best[1]}")
        if have > best[0]:
            raise Disagree(f"{self.last}: expected the smallest free block that holds it, of order {best[0]}, to be "
                           f"split, found that one of order {have} was")
        if frame != head:
            raise Disagree(f"{self.last}: returned {pa:#x}, expected the lower end of the block that was split, "
                           f"{self.pa(head):#x}")
        self.free.difference_update(range(frame, frame + (1 << order)))
        self.used[frame] = order
        self.check()
        return frame

    def taken(self, pa: int, order: int) -> int:
        """The frame that pmm_alloc may have returned as pa."""
        frame, rest = divmod(pa - self.base, PGSIZE)
        if rest or pa % (PGSIZE << order):
            raise Disagree(f"{self.last}: returned {pa:#x}, expected an address aligned to the block's size, "
                           f"{PGSIZE << order:#x}")
        if not self.free.issuperset(range(frame, frame + (1 << order))):
            raise Disagree(f"{self.last}: returned {pa:#x}, but not all of that block was free")
        return frame

    def put(self, frame: int) -> None:
        """pmm_free of a block in use."""
        order = self.used[frame]
        self.release(range(frame, frame + (1 << order)))
        self.expect(0, "pmm_free", self.pa(frame), order)

    def cut(self, first: int, npages: int) -> None:
        """pmm_free_range of frames in use."""
        head, tail = self.block_of(first), self.block_of(first + npages - 1)
        assert head is not None and tail is not None
        end = tail + (1 << self.used[tail])
        for frame in [f for f in self.used if head <= f < end]:
            if frame < first or frame + (1 << self.used[frame]) > first + npages:
                del self.used[frame]
        self.use(head, first)
        self.use(first + npages, end)
        self.release(range(first, first + npages))
        self.expect(0, "pmm_free_range", self.pa(first), npages)
