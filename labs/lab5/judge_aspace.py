"""Lab 5's kern/aspace.c from outside: what the functions make of address spaces that are made up here, and in which
order they do it."""

from __future__ import annotations

import random
import struct

from grade.aspace import (ASPACE, EEXIST, ENOENT, EXEC, FIELDS, LAST, PROTS, READ, WRITE, Space, attributes, name, rights,
                          wrong)
from grade.blocks import ENOMEM, signed
from grade.buddy import free_pages
from grade.guest import Guest
from grade.order import GONE, VISIBLE, Code, Live, Order, Owners, is_dsb
from grade.tree import ADDED, TABLE, UXN, ZERO, Few, poison_free
from grade.view import ADDRESS, KERNBASE, PERIPHERALS, PGSIZE, P2V, Disagree


# --- user_pte, aspace_create ---------------------------------------------


def need_user_pte(g: Guest) -> None:
    if g.call("user_pte", READ) == 0:
        raise Disagree("user_pte(PROT_READ) returned 0: write user_pte in kern/aspace.c first")


def judge_user_pte(g: Guest, rng: random.Random) -> None:
    for prot in rng.sample(PROTS, len(PROTS)) + rng.choices(PROTS, k=6):
        entry = g.call("user_pte", prot)
        bad = "there is an address in it" if entry & ADDRESS else wrong(entry, prot)
        if bad:
            raise Disagree(f"user_pte({rights(prot)}) returned {entry:#x}, expected {attributes(prot):#x}: {bad}")


def create(g: Guest, rng: random.Random) -> tuple[int, int, str | None]:
    """aspace_create, of a struct with random contents: result, root, what else it has changed."""
    fields = [rng.getrandbits(64) for _ in FIELDS]
    at = g.push(ASPACE.pack(*fields))
    result = signed(g.call("aspace_create", at))
    now = ASPACE.unpack(g.read(at, ASPACE.size))
    return result, now[0], next((f for f, a, b in zip(FIELDS[1:], now[1:], fields[1:]) if a != b), None)


def judge_aspace_create(g: Guest, rng: random.Random) -> None:
    roots: list[int] = []
    for _ in range(4):
        poison_free(g)
        before = free_pages(g)
        result, root, changed = create(g, rng)
        if result != 0:
            raise Disagree(f"aspace_create(as) returned {name(result)}, expected 0: pages are free")
        if root not in before:
            raise Disagree(f"after aspace_create(as): as->root is {root:#x}, expected a page that was free")
        taken = before - free_pages(g)
        if taken != {root}:
            raise Disagree(f"aspace_create(as) has taken {len(taken)} pages, of which the root at {root:#x} is "
                           f"{'one' if root in taken else 'none'}: expected that page alone")
        users = g.call("page_refs", root - KERNBASE)
        if users != 1:
            raise Disagree(f"after aspace_create(as): the root at {root:#x} has {users} users, expected 1")
        entries = struct.unpack("<512Q", g.phys(root - KERNBASE, PGSIZE))
        used = next((i for i, entry in enumerate(entries) if entry), None)
        if used is not None:
            raise Disagree(f"after aspace_create(as): entry {used} of the root is {entries[used]:#x}, expected 0")
        if changed:
            raise Disagree(f"aspace_create(as) has changed as->{changed}, expected that it sets as->root alone")
        roots.append(root)
    with Few(g, 0) as few:
        before = few.free()
        result, _, changed = create(g, rng)
        if result != ENOMEM or changed or few.free() != before:
            raise Disagree(f"aspace_create(as), no page being free, returned {name(result)}, expected -ENOMEM"
                           + (f", and changed as->{changed}" if changed else ""))
    for root in roots:
        g.call("kfree", root)


# --- user_map, user_alloc ------------------------------------------------


class Mapping(Order):
    """While a page is mapped: the entry becomes what it will be at once, and only when the page may be seen."""

    def __init__(self, s: Space, va: int, prot: int, code: list[Code], zero: bool):
        super().__init__(s.g, s.last, [s.live(va)], code)
        self.prot, self.zero = prot, zero

    def changed(self, entry: Live, before: int) -> str | None:
        if before & 1 and not self.zero:        # user_alloc leaves that to user_map
            return (f"the entry for {entry.va:#x} was {before:#x} and became {entry.now:#x} while it was live: "
                    "expected it to be right when it becomes valid")
        if not entry.now & 1:
            return None
        missing = next(filter(None, (code.missing() for code in self.code)), None)
        if missing:
            return f"the page at {entry.now & ADDRESS:#x} is mapped with PROT_EXEC, but {missing} (icache_sync, before)"
        if self.zero and self.g.phys(entry.now & ADDRESS, PGSIZE) != ZERO:
            return f"the page at {entry.now & ADDRESS:#x} is mapped before all of it is zero"
        return None


def map_page(s: Space, va: int, prot: int, pa: int) -> int:
    s.last = f"user_map(as, {va:#x}, {pa:#x}, {rights(prot)})"
    return s.call("user_map", va, pa, prot)


def map_ok(s: Space, va: int, prot: int) -> None:
    pa = s.frame()
    s.expect(map_page(s, va, prot, pa), 0, "nothing is mapped there")
    s.mapped(va, pa, prot)
    s.check(1)
    s.check_users(pa, 1)


def map_refused(s: Space, va: int, error: int, why: str) -> None:
    pa = s.frame()
    s.expect(map_page(s, va, s.rng.choice(PROTS), pa), error, why)
    s.check()


def map_closely(s: Space, va: int, prot: int) -> None:
    """In a table that is there, followed instruction by instruction."""
    pa = s.frame()
    s.last = f"user_map(as, {va:#x}, {pa:#x}, {rights(prot)})"
    order = Mapping(s, va, prot, [Code(pa)] if prot & EXEC else [], False)
    s.expect(s.call("user_map", va, pa, prot, order=order), 0, "nothing is mapped there")
    s.mapped(va, pa, prot)
    s.check(1)


def with_few(s: Space, va: int, n: int, prot: int, pa: int) -> None:
    """user_map with n pages free, which are too few."""
    with Few(s.g, n) as few:
        before = few.free()
        result = map_page(s, va, prot, pa)
        s.last += f", {n} pages being free"
        s.expect(result, ENOMEM, f"{s.missing(va)} tables are missing")
        s.check(0, few.free())
        if few.free() != before:
            raise Disagree(f"{s.last} failed, but not all pages are free again")


def judge_user_map(g: Guest, rng: random.Random) -> None:
    need_user_pte(g)
    s = Space(g, rng)
    for va in (0, LAST):
        map_ok(s, va, rng.choice(PROTS))
    for prot in rng.sample(PROTS, len(PROTS)):
        va = s.place()
        map_ok(s, va, prot)
        map_refused(s, va, EEXIST, "a page is mapped there")
    va = rng.choice(list(s.tree.entries))
    s.set(va, rng.getrandbits(63) << 1)     # not valid: nothing is mapped there any more
    del s.tree.entries[va]
    map_ok(s, va, rng.choice(PROTS))
    for va in (s.place(), s.place() ^ 1 << 39):
        if va in s.tree.entries:
            continue
        pa, prot = s.frame(), rng.choice(PROTS)
        for n in range(s.missing(va)):
            with_few(s, va, n, prot, pa)
        map_ok(s, va, rng.choice(PROTS))
    near = rng.choice(list(s.tree.entries)) & -1 << 21
    for prot in (EXEC, READ | WRITE, READ | EXEC):
        map_closely(s, next(va for va in range(near, near + (1 << 21), PGSIZE) if va not in s.tree.entries), prot)
    s.end()


class ByMap:
    """What user_map does here: if it is wrong there, user_alloc loses no point for it."""

    def __init__(self, g: Guest, rng: random.Random):
        s = Space(g, rng)
        self.s = s
        self.flags: dict[int, int] = {}
        self.counts = {1}
        self.users = 1
        for i, prot in enumerate(PROTS):
            before = s.pages()
            va, pa = 0x40_0000 + i * PGSIZE, s.frame()
            s.expect(map_page(s, va, prot, pa), 0, "nothing is mapped there")
            self.flags[prot] = s.entry(va)
            self.counts.add(s.pages() - before)
            self.users = g.call("page_refs", pa)
        self.refused = [va for va in (0, LAST, 1 << 47) if map_page(s, va, READ, s.frame()) != 0]
        self.spare = s.frame()
        self.refuses_again = all(self.same(0x40_0000 + i * PGSIZE) == EEXIST for i in range(len(PROTS)))
        s.end()
        self.s = Space(g, rng)
        with Few(g, 2) as few:
            self.spare = g.call("kalloc") - KERNBASE
            free = few.free()
            self.refuses_none = self.same(0x40_0000) == ENOMEM and few.free() == free
            self.s.tree.prune()
            if g.call("page_refs", self.spare) > 0:
                g.call("kfree", P2V(self.spare))
        self.s.end()

    def same(self, va: int) -> int | None:
        """The error that it gives, changing nothing; None: it does something else."""
        s = self.s
        before, pa = (s.pages(), s.entry(va)), self.spare
        try:
            error = map_page(s, va, READ, pa)
        except Disagree:
            return None
        if s.g.call("page_refs", pa) == 0:      # the caller's frame
            s.frames.pop(P2V(pa), None)
            s.tree.held.discard(P2V(pa))
            return None
        return error if (s.pages(), s.entry(va)) == before else None

    def works(self, va: int) -> bool:
        return va not in self.refused and not (va >> 47 and 1 << 47 in self.refused)


class Alloc:
    def __init__(self, g: Guest, rng: random.Random):
        self.by_map = ByMap(g, rng)
        self.s = Space(g, rng)

    def place(self) -> int:
        while not self.by_map.works(va := self.s.place()):
            pass
        return va

    def ok(self, va: int, prot: int, closely: bool = False) -> None:
        s, g = self.s, self.s.g
        poison_free(g)
        before = free_pages(g)
        s.last = f"user_alloc(as, {va:#x}, {rights(prot)})"
        order = Mapping(s, va, prot, [], True) if closely else None
        pages = s.pages()
        s.expect(s.call("user_alloc", va, prot, order=order), 0, "nothing is mapped there, and there are enough pages")
        page = P2V(s.mapped(va, None, prot, self.by_map.flags[prot]))
        if page not in before:
            raise s.disagree(va, f"the page at {page:#x} is mapped, which was not free before")
        s.frames[page] = ZERO
        s.tree.held.add(page)
        s.check(s.pages() - pages if s.pages() - pages in self.by_map.counts else 1)
        if self.by_map.users == 1:
            s.check_users(page - KERNBASE, 1)

    def refused(self, va: int, errors: tuple[int, ...], n: int, why: str) -> None:
        s = self.s
        with Few(s.g, n) as few:
            before = few.free()
            prot = s.rng.choice(PROTS)
            s.last = f"user_alloc(as, {va:#x}, {rights(prot)}), {n} pages being free"
            result = s.call("user_alloc", va, prot)
            s.expect(result, result if result in errors else errors[0], why)
            s.check(0, few.free())
            if few.free() != before:
                raise Disagree(f"{s.last} failed, but not all pages are free again")


def judge_user_alloc(g: Guest, rng: random.Random) -> None:
    need_user_pte(g)
    a = Alloc(g, rng)
    s = a.s
    for va in (0, LAST):
        if a.by_map.works(va):
            a.ok(va, rng.choice(PROTS))
    for prot in rng.sample(PROTS, len(PROTS)):
        a.ok(a.place(), prot)
    for n in range(3):
        if a.by_map.refuses_again:
            errors = (EEXIST, ENOMEM) if n == 0 else (EEXIST,)
            a.refused(rng.choice(list(s.tree.entries)), errors, n, "a page is mapped there")
    for va in (a.place(), a.place() ^ 1 << 39):
        if va in s.tree.entries:
            continue
        for n in range(s.missing(va) + 1):
            if n == 0 or a.by_map.refuses_none:
                a.refused(va, (ENOMEM,), n, f"{s.missing(va) + 1} are needed")
        a.ok(va, rng.choice(PROTS))
    near = rng.choice(list(s.tree.entries)) & -1 << 21
    for prot in rng.sample((READ | WRITE, READ), 2):
        a.ok(next(va for va in range(near, near + (1 << 21), PGSIZE) if va not in s.tree.entries), prot, closely=True)
    s.end()


# --- user_free -----------------------------------------------------------


class Freeing(Order):
    """While a page goes: it is nobody else's before no core can reach it."""

    def __init__(self, s: Space, va: int):
        super().__init__(s.g, s.last, [s.live(va)])
        self.owners = Owners(s.g)
        self.was = self.owners.of(self.live[0].page)
        self.pa = self.live[0].page

    def changed(self, entry: Live, before: int) -> str | None:
        if before & 1 and entry.now & 1:
            return f"the entry for {entry.va:#x} became {entry.now:#x}, expected it to become invalid"
        return None

    def look(self) -> str | None:
        entry = self.live[0]
        if entry.stage == GONE or self.owners.of(self.pa) == self.was:
            return None
        return f"the page at {self.pa:#x} is given back (kfree) while {entry.va:#x} {entry.why()}"

    def enough(self) -> bool:
        return self.live[0].stage == GONE


def free_ok(s: Space, va: int, closely: bool = False, users: int = 1) -> None:
    pa = s.tree.entries[va] & ADDRESS
    s.last = f"user_free(as, {va:#x})" + (f", of a page with {users} users" if users > 1 else "")
    order = Freeing(s, va) if closely else None
    s.expect(s.call("user_free", va, order=order), 0, "a page is mapped there")
    if order and order.live[0].stage != GONE:
        raise s.disagree(va, f"{va:#x} {order.live[0].why()}")
    entry = s.entry(va)
    if entry & 1:
        raise s.disagree(va, f"{va:#x} is still mapped, the entry is {entry:#x}")
    del s.tree.entries[va]
    s.tree.walked.append(va)
    if entry:
        s.tree.entries[va] = entry
    page = P2V(pa)
    if users == 1:
        s.tree.held.discard(page)
        del s.frames[page]
    s.check(-1)
    if users == 1 and page not in free_pages(s.g):
        raise s.disagree(va, f"the page at {page:#x} is not free")
    s.check_users(pa, users - 1)


def free_nothing(s: Space, va: int, why: str) -> None:
    s.last = f"user_free(as, {va:#x}), {why}"
    s.expect(s.call("user_free", va), ENOENT, "nothing is mapped there")
    s.check()


def judge_user_free(g: Guest, rng: random.Random) -> None:
    s = Space(g, rng)
    for prot in rng.sample(PROTS, len(PROTS)):
        va = s.place()
        s.put(va, prot)
        behind = va + PGSIZE
        if behind <= LAST and behind not in s.tree.entries:
            s.put(behind, rng.choice(PROTS))
    s.last = "nothing"
    s.check()
    for va in (0, LAST):
        if va not in s.tree.entries:
            s.put(va, rng.choice(PROTS))
        free_ok(s, va)
    mapped = [va for va, entry in s.tree.entries.items() if entry & 1]
    for i, va in enumerate(rng.sample(mapped, len(mapped) - 3)):
        free_ok(s, va, closely=i < 4)
    free_nothing(s, va, "where a page was freed just before")
    free_nothing(s, s.place() ^ 5 << 39, "where there is no table")
    for _ in range(3):
        free_nothing(s, s.place(), "where nothing is mapped")
    # Bit 0 is clear: nothing is mapped, whatever the rest says.
    decoy = s.frame()
    s.set(va, decoy | attributes(READ) | ADDED & ~1)
    free_nothing(s, va, "where the entry is not valid")
    for i in range(4):
        users = 1 + i % 3
        va = s.place()
        s.put(va, rng.choice(PROTS), users=users)
        free_ok(s, va, closely=i == 1, users=users)
    s.end()


# --- user_protect --------------------------------------------------------


class Changing(Order):
    """While rights change: break before make, and code before it is executable."""

    def __init__(self, s: Space, va: int, prot: int):
        pa = s.entry(va) & ADDRESS
        super().__init__(s.g, s.last, [s.live(va)], [Code(pa)] if prot & EXEC else [])
        self.seen = True                    # by the walkers: what the entry is now
        self.stage = self.live[0].stage     # before the store, which makes it MAPPED

    def stores(self) -> None:
        self.stage = self.live[0].stage
        super().stores()

    def changed(self, entry: Live, before: int) -> str | None:
        if not entry.now & 1:
            return None
        if before & 1:
            return (f"the entry for {entry.va:#x} was {before:#x} and became {entry.now:#x} while it was live: "
                    "expected it to be invalid first (break before make)")
        if self.stage != GONE:
            entry.stage = self.stage
            return f"the entry becomes {entry.now:#x} while {entry.va:#x} {entry.why()} (break before make)"
        missing = next(filter(None, (code.missing() for code in self.code)), None)
        if missing and not entry.now & UXN:
            return f"the page becomes executable, but {missing} (icache_sync, before the new entry)"
        self.seen = False
        return None

    def instruction(self, word: int) -> None:
        super().instruction(word)
        self.seen = self.seen or is_dsb(word)


def protect_ok(s: Space, va: int, before: int, prot: int, closely: bool = False) -> None:
    pa = s.tree.entries[va] & ADDRESS
    s.last = f"user_protect(as, {va:#x}, {rights(prot)}), of a page with {rights(before)}"
    order = Changing(s, va, prot) if closely else None
    s.expect(s.call("user_protect", va, prot, order=order), 0, "a page is mapped there")
    s.mapped(va, pa, prot)
    s.check()
    if order and not order.seen:
        raise s.disagree(va, "no dsb makes the walkers see the new entry (pte_sync): the next access may fault")


def protect_nothing(s: Space, va: int, why: str) -> None:
    prot = s.rng.choice(PROTS)
    s.last = f"user_protect(as, {va:#x}, {rights(prot)}), {why}"
    s.expect(s.call("user_protect", va, prot), ENOENT, "nothing is mapped there")
    s.check()


def judge_user_protect(g: Guest, rng: random.Random) -> None:
    need_user_pte(g)
    s = Space(g, rng)
    now: dict[int, int] = {}
    for va in (0, LAST, s.place(), s.place()):
        for at in (va, va + PGSIZE, va - PGSIZE):       # with its neighbours
            if 0 <= at <= LAST and at not in now:
                now[at] = rng.choice(PROTS)
                s.put(at, now[at])
    for a, b in rng.sample([(a, b) for a in PROTS for b in PROTS], 20):
        va = rng.choice(list(now))
        for prot in (a, b):
            protect_ok(s, va, now[va], prot)
            now[va] = prot
    va = rng.choice(list(now))
    for prot in (READ | WRITE, READ | EXEC, READ | WRITE, 0, EXEC, READ):
        protect_ok(s, va, now[va], prot, closely=True)
        now[va] = prot
    for _ in range(3):
        protect_nothing(s, s.place(), "where nothing is mapped")
    protect_nothing(s, s.place() ^ 5 << 39, "where there is no table")
    s.set(va, s.frame() | attributes(READ) | ADDED & ~1)
    protect_nothing(s, va, "where the entry is not valid")
    with Few(g, 0) as few:      # it needs no page
        other = next(at for at in s.tree.entries if at != va)
        s.last = f"user_protect(as, {other:#x}, PROT_READ), no page being free"
        pa = s.tree.entries[other] & ADDRESS
        s.expect(s.call("user_protect", other, READ), 0, "a page is mapped there")
        s.mapped(other, pa, READ)
        s.check(0, few.free())
    s.end()


# --- aspace_destroy ------------------------------------------------------


class Destroying(Order):
    """While all of it goes: pages, tables and root are nobody else's before their translations are gone."""

    def __init__(self, s: Space):
        g, root = s.g, s.tree.root
        entries = [Live(0, root, 0, VISIBLE, root, s.asid, 1 << 48)]
        self.pages = [root]                 # what each stands for
        for va, entry in s.tree.entries.items():
            pa = entry & ADDRESS
            if entry & 1 and P2V(pa) in s.frames:
                entries.append(Live(va, root, 0, VISIBLE, pa, s.asid))
            for level, _, step in g.walk(root, va)[:-1]:
                below = step & ADDRESS
                if below not in self.pages and step & 3 == TABLE:
                    span = PGSIZE << 9 * (3 - level)
                    entries.append(Live(va & -span, root, 0, VISIBLE, below, s.asid, span))
            self.pages = [entry.page for entry in entries]
        super().__init__(g, s.last, entries)
        self.owners = Owners(g)
        self.was = [self.owners.of(pa) for pa in self.pages]

    def stores(self) -> None:
        """No core uses the tables: what becomes of the entries does not matter."""

    def look(self) -> str | None:
        for entry, was in zip(self.live, self.was):
            if entry.stage != GONE and self.owners.of(entry.page) != was:
                what = "page" if entry.span == PGSIZE else "table"
                return (f"the {what} at {entry.page:#x}, of {entry.va:#x}, is given back while a translation may still "
                        "be in a TLB: " + ("no dsb has waited for the tlbi" if entry.stage > VISIBLE
                                           else entry.missed.removeprefix("was unmapped, but ")
                                           or "nothing has dropped it (tlb_flush_all)"))
        return None

    def enough(self) -> bool:
        return all(entry.stage == GONE for entry in self.live)


def destroy(s: Space, users: dict[int, int], closely: bool) -> None:
    g = s.g
    tables = {P2V(t) for t in [s.tree.root, *s.tree.read()[1]]}
    gone = {page for page in s.frames if users.get(page, 1) == 1}
    kept = s.tree.held - gone
    order = Destroying(s) if closely else None
    s.call("aspace_destroy", order=order)
    root = g.u64(s.at)
    if root:
        raise Disagree(f"after {s.last}: as->root is {root:#x}, expected NULL")
    free = free_pages(g)
    for what, pages in (("root", {P2V(s.tree.root)}), ("table", tables), ("page", gone)):
        if pages - free:
            raise Disagree(f"after {s.last}: {len(pages - free)} of {len(pages)} are not free, such as the {what} at "
                           f"{min(pages - free):#x}")
    if kept & free:
        raise Disagree(f"after {s.last}: the page at {min(kept & free):#x} is free, but it has other users, or only an "
                       "invalid entry leads to it")
    lost = s.tree.all - free - kept
    if lost:
        raise Disagree(f"after {s.last}: {len(lost)} pages are lost, such as {min(lost):#x}")
    for page in kept:
        refs, was = g.call("page_refs", page - KERNBASE), users.get(page, 0)
        if was and refs != was - 1:
            raise Disagree(f"after {s.last}: the page at {page:#x} has {refs} users, expected {was - 1}")
        if g.phys(page - KERNBASE, PGSIZE) != s.frames.get(page, g.phys(page - KERNBASE, PGSIZE)):
            raise Disagree(f"after {s.last}: what is in the page at {page:#x}, which has other users, has changed")
        for _ in range(refs):
            g.call("kfree", page)


def judge_aspace_destroy(g: Guest, rng: random.Random) -> None:
    for turn in range(4):
        s = Space(g, rng)
        users: dict[int, int] = {}
        s.last = ("aspace_destroy(as), of an empty one", "aspace_destroy(as)", "aspace_destroy(as)",
                  "aspace_destroy(as), with pages that have other users")[turn]
        for va in ([], [0, LAST], [LAST], [0])[turn]:
            s.put(va, rng.choice(PROTS))
        for _ in range(0 if turn == 0 else rng.randrange(4, 12)):
            n = rng.randrange(1, 4) if turn == 3 else 1
            page = P2V(s.put(s.place(), rng.choice(PROTS), users=n))
            users[page] = n
        if turn == 2:
            for foreign in (PERIPHERALS + 0x20_0000, 0x4000_0000, g.symbol("main") - KERNBASE & -PGSIZE):
                s.put(s.place(), READ, pa=foreign)
            va = s.place()
            decoy = s.put(va, READ)
            s.set(va, decoy | attributes(READ) | ADDED & ~1)
            users[P2V(decoy)] = 0           # stays, with the one user that it has
            del s.frames[P2V(decoy)]
        destroy(s, users, closely=turn in (1, 3))
