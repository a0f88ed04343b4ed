"""gdb's commands of Bramble's own: the machine through gdb's eyes, and what the commands are called.  What they print
is in tell.py and tell_threads.py.  The machine is looked at from outside, in physical memory, so they work wherever it
stands still.
"""

from __future__ import annotations

import inspect
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gdb

from grade import tell, tell_threads
from grade.elf import BadElf, Elf
from grade.gdb import GdbError
from grade.view import ADDRESS, KERNBASE, M64, PERIPHERALS, PGSIZE, Disagree, View, is_leaf

CHUNK = 1 << 20             # bytes of memory that are fetched at a time
KEPT = 64                   # of these


# --- the machine, through gdb --------------------------------------------


class Stub:
    """QEMU's end of gdb's connection."""

    def __init__(self) -> None:
        self.folder: str | None = None      # where QEMU puts memory, if it runs on this host

    def physical(self, on: bool) -> None:
        said = gdb.execute(f"maintenance packet Qqemu.PhyMemMode:{int(on)}", to_string=True)
        if '"OK"' not in said:
            raise GdbError("the machine's physical memory cannot be read: that is no QEMU")

    def read(self, address: int, size: int, physical: bool = False) -> bytes:
        """By gdb's own packets: small pieces, and devices."""
        if physical:
            self.physical(True)
        try:
            return bytes(gdb.selected_inferior().read_memory(address, size))
        except gdb.MemoryError:
            raise GdbError(f"there is no memory at {address:#x}") from None
        finally:
            if physical:
                self.physical(False)

    def save(self, pa: int, size: int) -> bytes | None:
        """Much at a time, by a file: None if QEMU cannot write one that is found here."""
        if self.folder is None:
            self.folder = tempfile.mkdtemp(prefix="bramble-gdb-")
        file = Path(self.folder) / "memory"
        try:
            gdb.execute(f'monitor pmemsave {pa:#x} {size:#x} "{file}"', to_string=True)
            data = file.read_bytes()
            file.unlink()
        except (gdb.error, OSError):
            return None
        return data if len(data) == size else None

    def close(self) -> None:
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None


class Ram:
    """Physical memory as an array of bytes; pieces of it are fetched when they are asked for."""

    def __init__(self, stub: Stub):
        self.stub = stub
        self.pieces: OrderedDict[int, bytes] = OrderedDict()
        self.size = CHUNK

    @property
    def slow(self) -> bool:
        """Does memory come by gdb's packets?"""
        return self.size != CHUNK

    def __getitem__(self, where: slice) -> bytes:
        start, stop = where.start, where.stop
        out = b""
        while start < stop:
            at = start // self.size * self.size
            part = self.piece(at)[start - at:stop - at]
            out = out + part if out else part
            start += len(part)
        return out

    def piece(self, at: int) -> bytes:
        if at in self.pieces:
            self.pieces.move_to_end(at)
            return self.pieces[at]
        data = self.stub.read(at, self.size, physical=True) if self.slow else self.stub.save(at, self.size)
        if data is None:                # from here on a page at a time
            self.size = PGSIZE
            self.pieces.clear()
            return self.piece(at)
        self.pieces[at] = data
        if len(self.pieces) > KEPT * (CHUNK // self.size):
            self.pieces.popitem(last=False)
        return data


class StoppedMachine:
    """As grade.machine has it, as far as looking goes.  It is made anew for each command, so nothing in it is old."""

    def __init__(self) -> None:
        self.gdb = Stub()
        self.ram = Ram(self.gdb)
        self.frame = gdb.newest_frame()
        self.registers = {register.name.lower(): register.name for register in self.frame.architecture().registers()}

    def register(self, name: str) -> int:
        if name.lower() not in self.registers:
            raise GdbError(f"this QEMU does not tell the register {name}")
        return int(self.frame.read_register(self.registers[name.lower()])) & M64

    @property
    def pc(self) -> int:
        return self.register("pc")

    @property
    def level(self) -> int:
        return self.register("cpsr") >> 2 & 3

    def console(self) -> bytes:
        return b""


class Look(View):
    """What gdb has selected may be a core that translates nothing: it sleeps.  The kernel's addresses mean the same."""

    def translate(self, va: int) -> int | None:
        if va >> 48 != 0xFFFF or self.reg("sctlr") & 1 and self.ttbr1:
            return super().translate(va)
        if va < KERNBASE + PERIPHERALS:
            return va - KERNBASE
        level, _, entry = self.walk(self.static("kvm.c", "root") - KERNBASE, va)[-1]
        return entry & ADDRESS | va % PGSIZE if is_leaf(entry, level) and level == 3 else None


# --- names ---------------------------------------------------------------

known: dict[tuple[str, int], Elf | None] = {}


def elf_of(path: Path) -> Elf | None:
    """Read once, as long as the file stays the same."""
    try:
        key = (str(path), path.stat().st_mtime_ns)
        if key not in known:
            known[key] = Elf(path)
    except (OSError, BadElf):
        return None
    return known[key]


def kernel_file() -> Path:
    name = gdb.current_progspace().filename
    if not name:
        raise Disagree("gdb has no kernel's names: file obj/kernel8.elf")
    return Path(name)


def program(name: str) -> Elf | None:
    """The file of a program that the kernel runs, with its names: next to the kernel's."""
    return elf_of(kernel_file().parent / "user" / f"{name}.elf") if re.fullmatch(r"[\w.-]+", name) else None


def another_kernel(view: View) -> bool:
    """Is what runs not what gdb has the names of?"""
    for address, data in view.elf.constant:
        pa = address & ~KERNBASE
        if pa >= PERIPHERALS - len(data) or view.phys(pa, 8) != data[:8]:
            return True
        n = PGSIZE if view.machine.ram.slow else len(data)      # type: ignore[attr-defined]
        if view.phys(pa, n) != data[:n]:
            return True
    return False


def look() -> View:
    if gdb.selected_thread() is None:
        raise Disagree("there is no machine: make qemu-gdb in another terminal, then make gdb")
    elf = elf_of(kernel_file())
    if elf is None:
        raise Disagree(f"{kernel_file()} is no kernel's ELF file")
    machine: Any = StoppedMachine()
    return Look(machine, elf)


# --- commands ------------------------------------------------------------

PROGRAMS = tell_threads.Programs(program)
COMMANDS: list[tuple[str, str]] = []        # usage, and what it shows
Teller = Callable[..., Iterator[str]]


def number(text: str) -> int:
    """An expression of gdb's; or hexadecimal digits, as the kernel prints addresses."""
    try:
        value = gdb.parse_and_eval(text)
        if value.type.strip_typedefs().code in (gdb.TYPE_CODE_FUNC, gdb.TYPE_CODE_ARRAY, gdb.TYPE_CODE_STRUCT):
            value = value.address
        return int(value) & M64
    except gdb.error as e:
        if re.fullmatch(r"[0-9a-f]{4,16}", text, re.IGNORECASE):
            return int(text, 16)
        raise Disagree(f"{text}: {e}") from None


def command(usage: str, least: int, most: int) -> Callable[[Teller], Teller]:
    """A command of gdb's with this name and these arguments, which are numbers."""
    def made(function: Teller) -> Teller:
        name = usage.split()[0]
        text = inspect.cleandoc(function.__doc__ or "")
        COMMANDS.append((usage, text.split("\n")[0]))

        class Command(gdb.Command):
            __doc__ = f"{usage}: {text}"

            def invoke(self, argument: str, from_tty: bool) -> None:
                words = gdb.string_to_argv(argument)
                if not least <= len(words) <= most:
                    print(f"That is: {usage}")
                    return
                run(name, function, words)

        Command(name, gdb.COMMAND_DATA)
        return function
    return made


def run(name: str, function: Teller, words: list[str]) -> None:
    """Whatever is wrong is told in a line."""
    view: View | None = None
    try:
        numbers = [number(word) for word in words]
        view = look()
        if another_kernel(view):
            print("The code in memory is not that of gdb's kernel8.elf: it was built anew, or is overwritten.")
        for line in function(view, *numbers):
            print(line)
    except (Disagree, GdbError, gdb.error) as e:
        print(f"{name}: {' '.join(str(e).split())}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted")
    except Exception as e:      # of a kernel in which nothing is as it should be
        print(f"{name}: what is there makes no sense ({type(e).__name__}: {' '.join(str(e).split())})")
    finally:
        if view is not None:
            view.machine.gdb.close()        # type: ignore[attr-defined]


@command("pt VA [PID]", 1, 2)
def pt(view: View, va: int, pid: int | None = None) -> Iterator[str]:
    """how an address is translated, level by level

    An address of the lower half is translated for the process PID; without PID, by what TTBR0_EL1 has now.
    """
    return tell.pt(view, va, pid)


@command("vmmap [PID]", 0, 1)
def vmmap(view: View, pid: int | None = None) -> Iterator[str]:
    """what is mapped: of the kernel, or of the process PID

    Pages in a row with the same attributes are one line.  Of a process, each belongs to a range (struct vma): file,
    heap, anon or stack, with the range's rights; from lab 6 on, pages that were not touched yet are listed, and those
    that are copied when they are written.
    """
    return tell.vmmap(view, pid)


@command("mem", 0, 0)
def mem(view: View) -> Iterator[str]:
    """physical memory: what there is, who has how much of it, and which pages are wrong

    Wrong are pages in use that nothing leads to (leaked), pages that a process has mapped although they are free or
    another's, and those with another number of users than mappings.
    """
    return tell.mem(view)


@command("buddy", 0, 0)
def buddy(view: View) -> Iterator[str]:
    """the pmm's zones with their watermarks, and its free blocks by order (lab 3)

    For each order the first block's address.
    """
    return tell.buddy(view)


@command("slabs", 0, 0)
def slabs(view: View) -> Iterator[str]:
    """caches, the heap's regions, vmalloc's areas (lab 4)

    Caches that have no chunk are left out.
    """
    return tell.slabs(view)


@command("page PA", 1, 1)
def page(view: View, pa: int) -> Iterator[str]:
    """whose a page frame is, and who uses it

    PA is a physical address, or one of the kernel's: then it is the page that is mapped there.  All processes that have
    it mapped are listed, and what the pmm counts is compared with them.  What it was in a run that make memrec has
    recorded, of this kernel, follows.
    """
    return tell.page(view, pa)


@command("ps", 0, 0)
def ps(view: View) -> Iterator[str]:
    """processes and threads, and what they wait for (lab 5)

    A star stands before the one that runs.
    """
    return tell_threads.ps(view)


@command("tf [PID]", 0, 1)
def tf(view: View, pid: int | None = None) -> Iterator[str]:
    """the registers that an exception has saved, in words

    Of the process PID; without PID, of the innermost exception that is being handled.  At EL0, the registers as they
    are.
    """
    return tell_threads.tf(view, PROGRAMS, pid)


@command("btall", 0, 0)
def btall(view: View) -> Iterator[str]:
    """the calls under way in every thread, and in the programs

    An address is that of the call.  Names of programs are those of obj/user/NAME.elf.
    """
    return tell_threads.btall(view, PROGRAMS)


@command("whatis-fault", 0, 0)
def whatis_fault(view: View) -> Iterator[str]:
    """the last exception (ESR, FAR, ELR), and what is usually the matter

    At EL2 and EL3, where the kernel begins, of that level.
    """
    return tell_threads.whatis_fault(view, PROGRAMS)


class Bramble(gdb.Command):
    __doc__ = "The commands that know Bramble; help NAME tells more of each.\n\n" \
        + "\n".join(f"{usage:14} {what}" for usage, what in COMMANDS)

    def invoke(self, argument: str, from_tty: bool) -> None:
        print(self.__doc__)


Bramble("bramble", gdb.COMMAND_DATA)
