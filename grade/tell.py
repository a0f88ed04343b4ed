"""What the debugger's commands print, in words: the stopped machine's page tables and memory.  (tell_threads.py has its
threads and exceptions.)

Each function takes a view of the machine and yields lines.  What is not there yet, or makes no sense, is a line as
well, or raises Disagree; so kernels that are half written, or broken, can be looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from grade import explain, heaps, procs, stacks
from grade.buddy import FRAMES, NAMES, NONE, ORDERS, ZONE, variable
from grade.gdb import GdbError
from grade.owners import STRANGE, Kind, Mapping, Owners, banks, image_range, many, owners, usable
from grade.procs import EXEC, KINDS, READ, WRITE, Proc, Range
from grade.recording import NoRecording, history
from grade.view import ADDRESS, KERNBASE, PERIPHERALS, PGSIZE, Disagree, Leaf, LeavesMemory, View, is_leaf

USER, RO, UXN = 1 << 6, 1 << 7, 1 << 54
SHOWN = 20                  # lines of one sort


# --- who there is --------------------------------------------------------


def table(g: View, wrong: Callable[[str], None]) -> dict[int, Proc]:
    if not g.has("procs"):
        raise Disagree("this kernel has no processes: they come with lab 5")
    found = procs.processes(g, wrong)
    if not found:
        raise Disagree("there are no threads yet: proc_init (kern/proc.c) has not run")
    return found


def process(g: View, pid: int, own_memory: bool = False) -> Proc:
    found = table(g, lambda _: None)
    if pid not in found:
        raise Disagree(f"there is no process {pid}: there are {', '.join(map(str, sorted(found)))}")
    if own_memory and not found[pid].root:
        raise Disagree(f"{found[pid]} is a kernel thread, or has ended: it has no memory of its own")
    return found[pid]


def running(g: View) -> Proc | None:
    """The thread in the core, if there are threads and it is one of them."""
    try:
        now = stacks.current(g)
        return next((p for p in table(g, lambda _: None).values() if p.at == now), None)
    except STRANGE:
        return None


def mmu_is_on(g: View) -> bool:
    return bool(g.reg("sctlr") & 1)


# --- pt ------------------------------------------------------------------


def pt(g: View, va: int, pid: int | None = None) -> Iterator[str]:
    upper = va >> 48 == 0xFFFF
    if not upper and va >> 48:
        yield f"{va:#x} is in neither half: bits 63:48 are not all alike"
        return
    if pid is not None and not upper:
        p = process(g, pid, own_memory=True)
        yield from walk(g, p.root, va, f"from the root of {p}")
        yield from range_of(g, p, va)
        return
    root = g.ttbr1 if upper else g.ttbr0
    register = f"TTBR{int(upper)}_EL1"
    if not mmu_is_on(g):
        yield "The MMU is off: each address is a physical one."
        if root == 0:
            yield f"{register} is 0: there are no tables yet."
            return
    p = next((q for q in running_or_all(g) if q.root == root), None)
    yield from walk(g, root, va, f"from {register}, {root:#x}" + ("" if upper else f", the root of {p}" if p else
                                                                  ", which is no process's"))
    if p and not upper:
        yield from range_of(g, p, va)


def running_or_all(g: View) -> Iterable[Proc]:
    try:
        return table(g, lambda _: None).values()
    except STRANGE:
        return ()


def steps_of(g: View, root: int, va: int) -> tuple[list[tuple[int, int, int]], str]:
    """The walk, and why it could not go on."""
    try:
        return g.walk(root, va), ""
    except LeavesMemory as e:
        return e.steps, str(e)


def walk(g: View, root: int, va: int, whence: str) -> Iterator[str]:
    steps, trouble = steps_of(g, root, va)
    first, *lines = explain.draw_walk(steps, va).split("\n")
    yield f"{first}, {whence}"
    yield from lines
    yield trouble or result(g, va, *steps[-1])


def result(g: View, va: int, level: int, _: int, entry: int) -> str:
    """What a walk that ends in this entry comes to."""
    if not entry & 1:
        return f"Nothing is mapped there: an access is a translation fault, level {level}."
    if not is_leaf(entry, level):
        return f"The entry means nothing at level {level}: an access is a translation fault, level {level}."
    size = PGSIZE << 9 * (3 - level)
    pa = entry & ADDRESS & -size | va % size
    where = f"{va:#x} is at {pa:#x}, in a {'page' if level == 3 else 'block'} of {amount(size)}"
    late = "" if entry >> 10 & 1 else f" An access is an access flag fault, level {level}."
    return f"{where}: {explain.describe_leaf(entry, g.reg('mair_el1'))}.{late}"


def amount(size: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def rwx(prot: int) -> str:
    return "".join(letter if prot & bit else "-" for bit, letter in ((READ, "r"), (WRITE, "w"), (EXEC, "x")))


def find_range(g: View, p: Proc, va: int) -> Range | None:
    return next((r for r in procs.ranges(g, p) if r.start <= va < r.end), None)


def range_of(g: View, p: Proc, va: int) -> Iterator[str]:
    """Which range it is in, and what becomes of an access there."""
    try:
        r = find_range(g, p, va)
    except STRANGE as e:
        yield f"The ranges of {p} cannot be read: {reason(e)}"
        return
    if r is None:
        yield f"It is in no range of {p}."
        return
    level, _, entry = g.walk(p.root, va)[-1]
    yield (f"It is in the range {r.start:#x}-{r.end:#x} of {p}: {KINDS[r.kind]}, {rwx(r.rights)}"
           f"{state_of(g, r, entry, level)}.")


def state_of(g: View, r: Range, entry: int, level: int) -> str:
    if not is_leaf(entry, level):
        return "; not touched yet" if procs.is_lazy(g) else "; nothing is mapped there, though the range says so"
    has = entry_rights(entry)
    if has == r.rights:
        return ""
    if procs.is_lazy(g) and has == r.rights & ~WRITE:
        return "; copy on write"
    return f"; its entry allows {rwx(has)}"


def entry_rights(entry: int) -> int:
    """What EL0 may do by the entry."""
    if not entry & USER:
        return 0
    return READ | (0 if entry & RO else WRITE) | (0 if entry & UXN else EXEC)


def reason(e: BaseException) -> str:
    return str(e) if isinstance(e, (Disagree, GdbError)) else "what is there makes no sense"


# --- vmmap ---------------------------------------------------------------


def vmmap(g: View, pid: int | None = None) -> Iterator[str]:
    wrong: list[str] = []
    if pid is None:
        root = g.ttbr1
        if root == 0:
            raise Disagree("TTBR1_EL1 is 0: there are no page tables yet")
        if not mmu_is_on(g):
            yield "The MMU is off; these are the tables for later."
        yield from kernel_map(g, g.scan(root, True, wrong.append)[0])
    else:
        p = process(g, pid, own_memory=True)
        leaves, tables = g.scan(p.root, False, wrong.append)
        yield f"{p}: root table at {p.root:#x}, {many(len(tables), 'table')}, ASID {p.asid & 0xFFFF}"
        yield from process_map(g, p, leaves)
    yield from (f"Broken: {line}" for line in wrong[:SHOWN])


def kernel_map(g: View, leaves: list[Leaf]) -> Iterator[str]:
    yield f"{'from':18}   {'to':18} {'':>10}  EL1  EL0  memory"
    areas: list[heaps.Area] = []
    stacks_of: dict[int, Proc] = {}
    try:
        if g.has("areas"):
            areas = heaps.areas(g)
        stacks_of = {p.kstack: p for p in running_or_all(g) if p.kstack}
    except STRANGE:
        pass
    mair = g.reg("mair_el1")
    i = 0
    while i < len(leaves):
        first, k = leaves[i], i
        end = first.va
        # One after the other, with the same attributes, whether pages or blocks; and in the same area.
        while k < len(leaves) and leaves[k].va == end and (leaves[k].flags ^ first.flags) & ~2 == 0:
            end += leaves[k].size
            k += 1
        kind = explain.memory_type(first.entry, mair).split(" (")[0]
        yield (f"{first.va:#018x} - {end:#018x} {amount(end - first.va):>10}  {explain.rights_of(first.entry, False)}  "
               f"{explain.rights_of(first.entry, True)}  {kind}: {label(g, first.va, end, areas, stacks_of)}"
               + ("" if first.entry >> 10 & 1 else ", AF clear"))
        i = k


def label(g: View, start: int, end: int, areas: list[heaps.Area], stacks_of: dict[int, Proc]) -> str:
    """What lies there."""
    if start >= heaps.VMALLOC_START:
        if start in stacks_of:
            return f"kernel stack of {stacks_of[start]}"
        area = heaps.area_at(areas, start)
        return f"vmalloc's area at {area.start:#x}" if area else "in no area of vmalloc's"
    if start >= KERNBASE + PERIPHERALS:
        return "devices"
    places = [("image_start", "etext", "code"), ("etext", "data", "constants"), ("data", "bss_end", "variables"),
              ("boot_stack", "boot_stack_top", "boot stack"),
              ("emergency_stack", "emergency_stack_top", "emergency stack")]
    found = ["below the kernel"] if g.has("image_start") and start < g.symbol("image_start") else []
    found += [what for first, last, what in places if g.has(first) and g.has(last)
              and start < g.symbol(last) and g.symbol(first) < end]
    if not g.has("end") or end > g.symbol("end"):
        found.append("RAM")
    return ", ".join(found)


def process_map(g: View, p: Proc, leaves: list[Leaf]) -> Iterator[str]:
    yield f"{'from':>12}   {'to':12} {'pages':>8}  EL0  range"
    try:
        all_ranges = procs.ranges(g, p)
    except STRANGE as e:
        all_ranges = []
        yield f"Broken: {reason(e)}"
    entries = {leaf.va: leaf for leaf in leaves if leaf.level == 3}
    yield from (f"{leaf.va:#12x}   a block of {amount(leaf.size)}, which no process may have"
                for leaf in leaves if leaf.level < 3)
    zero = int.from_bytes(variable(g, "zero_page", 8), "little") if procs.is_lazy(g) else 0
    touched = cow = absent = 0
    inside: set[int] = set()
    for r in all_ranges:
        va = r.start
        there = sorted(v for v in entries if r.start <= v < r.end)
        inside.update(there)
        while va < r.end:
            start, leaf = va, entries.get(va)
            if leaf is None:
                va = min([v for v in there if v > va], default=r.end)
                absent += (va - start) // PGSIZE
                what = "not touched yet" if procs.is_lazy(g) else "not mapped, though the range says so"
                yield row(start, va, "---", f"{KINDS[r.kind]} {rwx(r.rights)}  {what}")
                continue
            is_zero = leaf.pa == zero and zero != 0
            what = state_of(g, r, leaf.entry, 3).removeprefix("; ")
            while va < r.end and (other := entries.get(va)):
                if other.flags != leaf.flags or (other.pa == zero) != is_zero:
                    break
                va += PGSIZE
            touched += (va - start) // PGSIZE
            cow += (va - start) // PGSIZE if what == "copy on write" else 0
            note = what + (", of the page of zeroes" if is_zero else "")
            yield row(start, va, rwx(entry_rights(leaf.entry)), f"{KINDS[r.kind]} {rwx(r.rights)}  {note}")
    for va in sorted(set(entries) - inside)[:SHOWN]:
        yield row(va, va + PGSIZE, rwx(entry_rights(entries[va].entry)), "in no range")
    counted = "" if len(entries) == p.pages else f"; its as.pages says {p.pages}"
    if procs.is_lazy(g):
        yield f"{many(touched, 'page')} touched, of these {cow} copy on write; {absent} not touched yet{counted}"
    else:
        yield f"{many(len(entries), 'page')}{counted}"


def row(start: int, end: int, rights: str, what: str) -> str:
    return f"{start:#12x} - {end:#12x} {(end - start) // PGSIZE:>8}  {rights}  {what}".rstrip()


# --- memory --------------------------------------------------------------


def all_owners(g: View) -> Owners:
    o = owners(g)
    if o.n == 0:
        raise Disagree(o.broken[0] if o.broken else "memory has not been looked for yet: bootinfo_init "
                       "(kern/bootinfo.c) has not run")
    return o


def broken(g: View, o: Owners) -> Iterator[str]:
    """What does not fit together in the allocators, and whether that may be so."""
    if not o.broken and not o.errors:
        return
    yield from (f"Broken: {line}" for line in o.broken[:SHOWN])
    if o.busy:
        yield f"(The kernel is in the middle of {o.busy}: what it keeps of memory may be half changed.)"


def mem(g: View) -> Iterator[str]:
    start, end = image_range(g)
    yield f"kernel image {start:x}-{end:x}"
    o = all_owners(g)
    for name, found in (("RAM", banks(g)), ("usable", usable(g))):
        yield from (f"{name:12} {a:x}-{b:x} {(b - a) // PGSIZE} pages" for a, b in found)
    count = [o.kind.count(kind) for kind in Kind]
    if not g.has("kmem"):
        yield "There is no allocator in this kernel: it comes with lab 2."
        return
    yield f"free         {many(count[Kind.FREE] + count[Kind.LISTED], 'page')}: " \
          + (f"{count[Kind.FREE]} with the pmm, and " if o.has_pmm else "") + f"{count[Kind.LISTED]} on kalloc's list"
    names = {Kind.TABLE: "page tables", Kind.PROCESS: "processes", Kind.FILE: "programs", Kind.ZERO: "zeroes",
             Kind.STACK: "stacks", Kind.AREA: "vmalloc", Kind.SLAB: "caches", Kind.RECORDS: "slab records",
             Kind.LARGE: "kmalloc", Kind.HEAP: "heap", Kind.PMM: "pmm tables", Kind.HELD: "others",
             Kind.LEAKED: "leaked", Kind.UNCLAIMED: "others", Kind.UNKNOWN: "nobody"}
    yield from (f"{name:13}{many(count[kind], 'page')}" for kind, name in names.items() if count[kind])
    if not count[Kind.FREE] + count[Kind.LISTED]:
        yield "No page is free: all are in use, or the allocators have not got them yet."
    elif g.has("nzones") and not o.has_pmm:
        yield "There is no pmm (yet): kalloc has all pages, as in lab 2."
    yield from errors(o)
    yield from broken(g, o)


def errors(o: Owners) -> Iterator[str]:
    listed = [(frame, e) for frame in sorted(o.errors) for e in o.errors[frame]]
    for frame, e in listed[:SHOWN]:
        yield f"Page {frame * PGSIZE:#x} is {o.tell(frame)}." if e.kind == "leaked" else \
            f"Page {frame * PGSIZE:#x} is {o.tell(frame)}; {e.text}."
    if len(listed) > SHOWN:
        yield f"... and {len(listed) - SHOWN} more."


def buddy(g: View) -> Iterator[str]:
    if not g.has("nzones"):
        raise Disagree("this kernel has no pmm: it comes with lab 3")
    o = all_owners(g)
    if not o.has_pmm:
        raise Disagree("there is no pmm (yet): nzones is 0, so pmm_init (kern/zone.c) has not run, or an exercise of "
                       "lab 3 is missing")
    for i in range(o.number("nzones")):
        _, base, n, _, _, free, pages, *marks = ZONE.unpack(variable(g, "zones", (i + 1) * ZONE.size)[-ZONE.size:])
        yield (f"zone {i}  {base:x}-{base + n * PGSIZE:x}  {free} of {pages} pages free, marks at "
               + " ".join(map(str, marks)))
    yield "order    block   free  first"
    of_order: list[list[int]] = [[] for _ in range(ORDERS)]
    frame = 0
    while (frame := o.kind.find(bytes([Kind.FREE]), frame)) >= 0:
        of_order[min(o.who[frame], ORDERS - 1)].append(frame)
        frame += 1 << o.who[frame]
    for order, blocks in enumerate(of_order):
        yield f"{order:5} {4 << order:4} KiB {len(blocks):6}" + (f"  {blocks[0] * PGSIZE:x}" if blocks else "")
    yield f"{o.kind.count(bytes([Kind.LISTED]))} pages are on kalloc's list, and {shared(o)} have more than one user."
    yield from broken(g, o)


def shared(o: Owners) -> int:
    return sum(1 for users in o.users if users > 1)


def slabs(g: View) -> Iterator[str]:
    if not g.has("slab_lock"):
        raise Disagree("this kernel has no caches: they come with lab 4")
    yield f"{'cache':>16} {'size':>5} {'in use':>7} {'objects':>7} {'chunks':>6} {'pages':>6}"
    try:
        found = heaps.caches(g)
        if not found:
            yield "There are no caches yet: slabs_init (kern/slabs.c) has not run."
        for c in found:
            if c.chunks:
                yield (f"{c.name:>16} {c.size:5} {c.in_use:7} {c.chunks * c.objects:7} {c.chunks:6} "
                       f"{c.chunks << c.order:6}")
        if found and not any(c.chunks for c in found):
            yield f"{len(found)} caches, and none of them has a chunk."
    except STRANGE as e:
        yield f"Broken: {reason(e)}"
    try:
        for r in heaps.regions(g):
            yield f"heap at {r.at:x}, {r.size // PGSIZE} pages, {r.free} bytes free"
    except STRANGE as e:
        yield f"Broken: {reason(e)}"
    try:
        of = {p.kstack: p for p in running_or_all(g) if p.kstack}
        for a in heaps.areas(g):
            stack = f": kernel stack of {of[a.start]}" if a.start in of else ""
            yield f"area at {a.start:x}, {a.npages} pages{stack}"
    except STRANGE as e:
        yield f"Broken: {reason(e)}"


# --- page ----------------------------------------------------------------


def page(g: View, address: int) -> Iterator[str]:
    """address: physical, or the kernel's for it."""
    pa = address
    if address >> 48 == 0xFFFF and not g.ttbr1:
        pa = address - KERNBASE
    elif address >> 48 == 0xFFFF:
        steps, _ = steps_of(g, g.ttbr1, address)
        if not steps or not is_leaf(steps[-1][2], steps[-1][0]):
            raise Disagree(f"{address:#x} is the kernel's, and not mapped")
        level, _, entry = steps[-1]
        size = PGSIZE << 9 * (3 - level)
        pa = entry & ADDRESS & -size | address % size
    o = all_owners(g)
    frame = pa // PGSIZE
    symbol = f" ({g.name(pa | KERNBASE)})" if o.kind_of(frame) is Kind.IMAGE and g.elf.find(pa | KERNBASE) else ""
    yield f"Page {frame * PGSIZE:#x}: {o.tell(frame)}{symbol}."
    yield from kept(g, o, frame)
    mappings = o.mappings_of(frame)
    for m in mappings[:SHOWN]:
        yield f"  {o.process(m.pid)} has it at {m.va:#x}, {rwx(entry_rights(m.entry))}{in_range(g, o, m)}"
    if len(mappings) > SHOWN:
        yield f"  ... and {len(mappings) - SHOWN} more mappings"
    if frame in o.file_pages and o.kind_of(frame) is not Kind.FILE:
        image, k = o.file_pages[frame]
        yield f"  the kernel has it as page {k} of the program {o.images[image].name}"
    if frame in o.errors:
        yield from (f"Wrong: {e.text}." for e in o.errors[frame] if o.kind_of(frame) is not Kind.LEAKED)
    elif mappings or o.keeps(frame):
        yield f"Users and mappings agree: {many(o.users[frame], 'user')}, {many(len(mappings), 'mapping')}" \
              + (", and the kernel keeps it." if o.keeps(frame) else ".")
    yield from broken(g, o)
    yield from recorded(g, frame)


def recorded(g: View, frame: int) -> Iterator[str]:
    """The page's history, if make memrec has left a recording of this kernel beside it."""
    file = g.elf.path.with_name("memory.html")
    try:
        found = history(file, g.elf.digest, frame)
    except NoRecording as e:
        yield f"({e})"
        return
    if found is None:
        return
    title, states = found
    yield f"Recorded in {file} ({title}):" + ("" if states else " it was never there")
    yield from (f"  from {time // 1000} ms on: {words}" for time, words in states[:SHOWN])
    if len(states) > SHOWN:
        yield f"  ... and {len(states) - SHOWN} more changes"


def in_range(g: View, o: Owners, m: Mapping) -> str:
    try:
        r = find_range(g, o.procs[m.pid], m.va)
    except STRANGE:
        return ""
    return f" ({KINDS[r.kind]} {rwx(r.rights)}{state_of(g, r, m.entry, 3)})" if r else " (in no range)"


def kept(g: View, o: Owners, frame: int) -> Iterator[str]:
    """What the pmm has written down for it."""
    if not o.has_pmm or frame >= o.n:
        return
    try:
        _, first, n, states = FRAMES.unpack(variable(g, "frames", FRAMES.size))
        i = frame - (first - KERNBASE) // PGSIZE
        if not 0 <= i < n:
            return
        state = g.phys(states - KERNBASE + i, 1)[0]
    except STRANGE:
        return
    kind = NAMES.get(state & 0xF0, "which means nothing")
    words = "no block begins here" if state == NONE else f"{kind}, order {state & 0xF}"
    yield f"Its state is {state:#04x}: {words}; {many(o.users[frame], 'user')}."
