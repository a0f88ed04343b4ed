"""Lab 1 from outside. grade/guest.py says what a judge is and what it may use."""

from __future__ import annotations

import random
import struct

from grade.guest import Guest
from grade.view import KERNBASE, M64, PERIPHERALS, Disagree
from grade.machine import POISON

HCR_RW = 1 << 31                # ARM ARM D13.2.48: EL1 is AArch64
EL1H, MASKED = 0x5, 0x3C0       # PSTATE: EL1 on SP_EL1; D, A, I and F set
ATAG_CORE, FDT = 0x54410001, 0xD00DFEED     # what the firmware's description begins with


def firmware(g: Guest) -> None:
    """x0 of boot_start came from the firmware, and was in x19 meanwhile."""
    x0 = g.reg("x0")
    if x0 + 8 <= PERIPHERALS:
        first, second = struct.unpack("<II", g.phys(x0, 8))
        if second == ATAG_CORE or int.from_bytes(first.to_bytes(4, "little"), "big") == FDT:
            return
    raise Disagree("expected the firmware's pointer in x19 to come through el2_to_el1 and clear_bss, "
                   f"which may use x0 to x18, found {x0:#x} in its place")


def boot_start_el(g: Guest, rng: random.Random) -> None:
    """Where el2_to_el1 left the processor."""
    if g.level != 1:
        raise Disagree(f"expected EL1 when boot_start is entered, found EL{g.level}: "
                       "write el2_to_el1 in kern/entry.S")
    state = g.reg("cpsr")
    if state & 0xF != EL1H:
        raise Disagree("expected EL1 to use its own stack pointer (SPSR_EL2.M = EL1h), found EL1t")
    if state & MASKED != MASKED:
        raise Disagree("expected D, A, I and F to be masked after the drop, found PSTATE "
                       f"{state:#x}")
    hcr = g.reg("hcr_el2")
    if hcr != HCR_RW:
        raise Disagree(f"expected HCR_EL2 to be RW alone, {HCR_RW:#x}, found {hcr:#x}")
    elr = g.reg("elr_el2")
    if not g.symbol("_start") < elr + KERNBASE < g.symbol("etext"):
        raise Disagree("expected ELR_EL2 to hold the address that el2_to_el1 returns to (x30), "
                       f"found {elr:#x}: the kernel only got here because it was started again")
    firmware(g)


def boot_start_bss(g: Guest, rng: random.Random) -> None:
    """The machine's memory held a pattern before the kernel was loaded."""
    start, end = (g.symbol(s) - KERNBASE for s in ("bss_start", "bss_end"))
    bss = g.phys(start, end - start)
    wrong = next((i for i, byte in enumerate(bss) if byte), None)
    if wrong is not None:
        count = len(bss) - bss.count(0)
        raise Disagree(f"expected the whole BSS to be zero, found {count} bytes of {len(bss)} that "
                       f"are not, the first at bss_start + {wrong:#x} ({g.name(start + wrong)})"
                       + (": write clear_bss in kern/entry.S" if count == len(bss) else ""))
    after = g.phys(end, 64)
    pattern = (POISON * 16)[end % 8:end % 8 + 64]
    if after != pattern:
        raise Disagree("expected memory from bss_end on to be left alone, found it changed: "
                       "the loop goes too far")
    firmware(g)


def judge_uart(g: Guest, rng: random.Random) -> None:
    """Random bytes, each value at least once, sent one call at a time."""
    sent = list(range(256)) + [rng.randrange(256) for _ in range(64)]
    rng.shuffle(sent)
    g.printed()
    for byte in sent:
        g.call("uart_putc", byte)
        came = g.printed()
        if came != bytes([byte]):
            raise Disagree(f"uart_putc({byte:#04x}): expected that byte, once, on the console, found "
                           + (" ".join(f"{b:#04x}" for b in came) or "nothing"))


def trace(g: Guest, fp: int, room: int) -> list[int]:
    """What backtrace(fp, pcs, room) stores.  Disagree when it writes beyond its array."""
    guard = 0x6E6F74796F757273      # what an entry that was not stored still holds
    size = room + 4
    pcs = g.push(struct.pack(f"<{size}Q", *[guard] * size))
    count = g.call("backtrace", fp, pcs, room)
    if count > room:
        raise Disagree(f"expected backtrace to return at most max = {room}, found {count}")
    stored = list(struct.unpack(f"<{size}Q", g.read(pcs, 8 * size)))
    if stored[count:] != [guard] * (size - count):
        raise Disagree(f"expected backtrace to store {count} entries, as many as it returned, "
                       "found more of pcs[] changed")
    return stored[:count]


def chain(g: Guest, rng: random.Random, length: int, end: int) -> tuple[int, list[int]]:
    """A made-up chain of frame records on the boot stack: (innermost record, return addresses)."""
    words: list[int] = []
    places: list[int] = []
    for _ in range(length):
        words += [rng.getrandbits(64) for _ in range(2 * rng.randrange(4))]
        places.append(len(words))
        words += [0, 0]
    pcs = [rng.getrandbits(64) for _ in range(length)]
    base = g.push(bytes(8 * len(words)))
    for i, place in enumerate(places):
        words[place] = base + 8 * places[i + 1] if i + 1 < length else end
        words[place + 1] = pcs[i]
    g.write(base, struct.pack(f"<{len(words)}Q", *words))
    return base + 8 * places[0], pcs


def expect(found: list[int], wanted: list[int], when: str) -> None:
    if found != wanted:
        raise Disagree(f"expected {len(wanted)} return addresses {when}, found {len(found)}"
                       if len(found) != len(wanted) else
                       f"expected the return addresses of the records {when}, found others: "
                       + next(f"pcs[{i}] is {f:#x}, not {w:#x}"
                              for i, (f, w) in enumerate(zip(found, wanted)) if f != w))


def good_chains(g: Guest, rng: random.Random) -> None:
    """Chains of several lengths that end with a frame pointer of 0."""
    for length in (1, 2, rng.randrange(3, 12), 20):
        home = list(g.home)
        fp, pcs = chain(g, rng, length, 0)
        expect(trace(g, fp, 32), pcs, f"of a chain of {length} that ends with 0")
        g.home = home


def bad_chains(g: Guest, rng: random.Random) -> None:
    """Chains that go wrong, and too little room."""
    bottom, top = g.symbol("boot_stack"), g.symbol("boot_stack_top")
    ends = {
        "when the next record is only 8-byte aligned": lambda fp: fp + 128 + 8,
        "when the next record is not even 8-byte aligned": lambda fp: fp + 128 + rng.choice((1, 4, 12)),
        "when the next record is below the stack": lambda fp: bottom - 16 * rng.randrange(1, 99),
        "when the next record is not wholly on the stack": lambda fp: top,
        "when the next record is at an address that is not mapped": lambda fp: 0x1000,
        "when the next record is in the hole of the address space":
            lambda fp: rng.getrandbits(59) << 4 & M64 >> 1 | 1 << 62,
        "when the next record is in the middle of the code": lambda fp: g.symbol("main") & ~15,
    }
    for when, end in ends.items():
        home = list(g.home)
        length = rng.randrange(1, 8)
        fp, pcs = chain(g, rng, length, end(g.home[31]))
        expect(trace(g, fp, 32), pcs, when)
        g.home = home
    length = rng.randrange(2, 8)
    home = list(g.home)
    fp, pcs = chain(g, rng, length, 0)
    last = fp
    while g.u64(last):
        last = g.u64(last)
    g.put64(last, last)
    expect(trace(g, fp, 32), pcs, "when a record points to itself")
    g.put64(last, fp)
    expect(trace(g, fp, 32), pcs, "when a record points back to an earlier one")
    g.put64(last, 0)
    for room in {0, 1, length - 1, length}:
        expect(trace(g, fp, room), pcs[:room], f"when there is room for {room}")
    g.home = home
    expect(trace(g, 0, 32), [], "for a frame pointer of 0")


def judge_backtrace(g: Guest, rng: random.Random) -> None:
    """Records made up on the host, on the kernel's stack."""
    good_chains(g, rng)
    bad_chains(g, rng)
