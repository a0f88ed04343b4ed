"""memview: its picture of memory is what a walk from outside finds, and mistakes show at once.  memrec: so does a recording."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from grade import memrec, picture, tell
from grade.boot import Boot
from grade.elf import Elf
from grade.machine import Machine, Stop
from grade.owners import Owners, owners
from grade.recording import Recording, cell_of
from grade.stacks import STACK_SIZE
from grade.view import ADDRESS, KERNBASE, PGSIZE, View
from test_boot import build, sources
from test_user import Console

ROOT = Path(__file__).resolve().parent.parent
LETTERS = {"NONE": " ", "RESERVED": "R", "KERNEL": "K", "FREE": ".", "CACHED": "C", "OBJECTS": "O", "TABLE": "T",
           "SHARED": "S", "LEAKED": "L", "WRONG": "!", **{f"PROCESS{i}": str(i) for i in range(10)}}
CELLS = " RK.COTSL!0123456789"
COST, N, CELL = 8, 24, 32               # in struct view (inc/memview.h)
RW = 1 << 7                             # of an entry: clear where it can be written
LIMIT = 3000                            # million instructions from view to view
LAB = 6                                 # fork is what moves most


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Without checks, of a lab."""
    made: dict[int, Path] = {}

    def kernel(lab: int) -> Path:
        if lab not in made:
            made[lab] = build(tmp_path_factory.mktemp(f"lab{lab}"), f"LAB={lab}", "STRICT=1",
                              "SOURCES=" + " ".join([*sources(lab), "kern/scratch.c"]))
        return made[lab]

    return kernel


class Watched:
    """A machine that shows memory, stopped whenever a view is complete."""

    def __init__(self, obj: Path, arguments: str, scratch: Path):
        self.scratch = scratch
        self.elf = Elf(obj / "kernel8.elf")
        self.machine = Machine(obj / "kernel8.img", arguments, scratch)
        self.g = View(self.machine, self.elf)

    def run_to_view(self) -> None:
        """After a view the kernel sleeps, or waits for a key; that it is the viewer who does is seen by its stack."""
        stack = self.elf.symbols["boot_stack"].address
        for name in ("timer_sleep", "uart_getc"):
            if name in self.elf.symbols:
                self.machine.break_at(self.elf.symbols[name].address)
        while True:
            stop = self.machine.run(LIMIT)
            assert stop is Stop.BREAKPOINT, (stop, self.machine.console().decode())
            if stack <= self.g.reg("sp") <= stack + STACK_SIZE:
                return

    def field(self, offset: int) -> int:
        return self.g.u64(self.elf.symbols["view"].address + offset)

    def cells(self) -> str:
        """What the kernel says."""
        return "".join(CELLS[c] for c in self.g.read(self.field(CELL), self.field(N)))

    def screen(self) -> list[bytes]:
        """Rows of pixels, three bytes each."""
        path = self.scratch / "screen.png"
        self.machine.qmp.command("screendump", filename=str(path), format="png")
        return pixels(path.read_bytes())


def pixels(png: bytes) -> list[bytes]:
    """Of a picture with 8 bits each of red, green and blue (RFC 2083)."""
    width, = struct.unpack(">I", png[16:20])
    assert png[24:29] == b"\x08\x02\0\0\0"
    packed, at = b"", 8
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        packed += png[at + 8:at + 8 + size] if kind == b"IDAT" else b""
        at += 12 + size
    data, rows, stride = zlib.decompress(packed), [], 3 * width
    above = bytes(stride)
    for start in range(0, len(data), 1 + stride):
        kind, row = data[start], bytearray(data[start + 1:start + 1 + stride])
        for i in range(stride if kind else 0):
            left, up, corner = (row[i - 3], above[i], above[i - 3]) if i >= 3 else (0, above[i], 0)
            near = left + up - corner
            paeth = min((left, up, corner), key=lambda value: abs(near - value))
            row[i] = row[i] + (0, left, up, (left + up) // 2, paeth)[kind] & 255
        above = bytes(row)
        rows.append(above)
    return rows


def differences(kernel: str, o: Owners) -> list[str]:
    return [f"{i * PGSIZE:#x}: {letter!r}, from outside {memrec.words_of(o, i)}" for i, letter in enumerate(kernel)
            if LETTERS[cell_of(o, i)] != letter]


@pytest.fixture
def watched(kernels: Callable[[int], Path], tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start(arguments: str, lab: int = LAB) -> Watched:
        started.append(Watched(kernels(lab), arguments, tmp_path))
        return started[-1]

    yield start
    for one in started:
        one.machine.close()


@pytest.mark.parametrize("lab", range(3, LAB + 1))
def test_from_lab_3_on(watched: Callable[..., Watched], lab: int) -> None:
    w = watched("memview=json mem=8M", lab)
    w.run_to_view()
    assert not differences(w.cells(), owners(w.g))
    line = json.loads(w.machine.console().decode().split("\n{", 1)[1].join("{\n").split("\n")[0])
    assert "".join(letter[0] * n for letter, n in line["frames"]) == w.cells()


@pytest.mark.parametrize("scene", ["alloc", "fork", "forkexit"])
def test_scenes_as_seen_from_outside(watched: Callable[..., Watched], scene: str) -> None:
    """At every view each cell of the model, and of the screen, is what the frame is."""
    w = watched(f"memview=screen mem=8M run=scene,{scene},9,100" + "+scene,alloc,8,100" * (scene == "alloc"))
    kinds: set[str] = set()
    for _ in range(5):
        w.run_to_view()
        o = owners(w.g)
        cells = w.cells()
        assert not differences(cells, o)
        kinds |= set(cells)
        screen = w.screen()
        for i in range(o.n):
            assert pixel_of(screen, i) == picture.COLOURS[cell_of(o, i)], hex(i * PGSIZE)
    assert {"K", ".", "C", "T", "O", "S"} < kinds and len(kinds & set("0123456789")) >= 2


def pixel_of(screen: list[bytes], frame: int) -> tuple[int, ...]:
    """The upper left one of its cell: with 2048 frames there are 64 in a row, of ten pixels."""
    x = frame % 64 * 10
    return tuple(screen[16 + frame // 64 * 10][3 * x:3 * x + 3])


def entry_of(w: Watched, o: Owners, letter: str) -> tuple[int, int, int]:
    """A page of a process that it never needs again: frame, physical address of the entry, and the entry."""
    for frame in range(o.n - 1, 0, -1):
        for mapping in o.mappings.get(frame, ()):
            if LETTERS[cell_of(o, frame)].isdigit() and letter == "own" and 0x10000000 < mapping.va < 0x3F800000:
                _, at, entry = w.g.walk(o.procs[mapping.pid].root, mapping.va)[-1]
                return frame, at, entry
    raise AssertionError(str({m.va for ms in o.mappings.values() for m in ms}))


@pytest.mark.parametrize("mistake", ["leak", "foreign", "count"])
def test_a_mistake_shows_in_the_next_view(watched: Callable[..., Watched], mistake: str) -> None:
    w = watched("memview=screen mem=8M run=scene,fork,9,60")
    for _ in range(6):
        w.run_to_view()
    o = owners(w.g)
    frame, at, entry = entry_of(w, o, "own")
    recording = Recording()
    recording.look(o, 0, "")
    assert not recording.moments[0]["errors"]
    if mistake == "leak":               # nobody has it any more
        w.g.phys_write(at, bytes(8))
    elif mistake == "foreign":          # the process has a free page, and its own one is nobody's
        frame = next(i for i in range(o.n) if cell_of(o, i) == "FREE")
        w.g.phys_write(at, struct.pack("<Q", entry & ~ADDRESS | frame * PGSIZE))
    else:                               # two entries lead to it, but it counts one user
        frame = (entry & ADDRESS) // PGSIZE
        other = at + 8 if not w.g.p64(at + 8) & 1 else at - 8
        w.g.phys_write(other, struct.pack("<Q", entry))
    w.run_to_view()
    o = owners(w.g)
    recording.look(o, 1, "")
    expected = "L" if mistake == "leak" else "!"
    assert w.cells()[frame] == expected == LETTERS[cell_of(o, frame)]
    assert frame in [f for f, _ in recording.moments[1]["errors"]]
    now = pixel_of(w.screen(), frame)
    w.run_to_view()
    assert pixel_of(w.screen(), frame) != now, "it flashes"


def test_cost(watched: Callable[..., Watched]) -> None:
    """At most 5 % of the time at four views a second, with four processes busy; with all memory the views are fewer."""
    w = watched("memview=screen mem=16M run=" + "+".join(f"scene,alloc,{speed},700" for speed in (9, 8, 7, 6)))
    costs = []
    for _ in range(12):
        w.run_to_view()
        costs.append(w.field(COST))
        assert len(costs) == 1 or len(set(w.cells()) & set("0123456789")) == 4
    assert max(costs) <= 12_500_000


# --- Keys ---------------------------------------------------------------------------------------------


def test_keys(kernels: Callable[[int], Path]) -> None:
    console = Console.__new__(Console)
    console.process, console.said = start(kernels(LAB), "memview=json mem=16M"), b""
    first = view(console)
    assert first["pid"] == 0
    console.type("a")
    while (now := view(console))["pid"] == 0 or len({s for s, _ in now["frames"]} & set("0123456789")) < 4:
        pass
    console.type(" ")
    while not (now := view(console))["paused"]:
        pass
    console.type("\x1b[C")              # paused: each key makes one view, of the same memory
    while (chosen := view(console))["pid"] == now["pid"]:
        assert chosen["frames"] == now["frames"]
    console.type("\x1b[D")
    while (again := view(console))["pid"] != now["pid"]:
        assert again["frames"] == now["frames"]
    console.type(" f")
    while not any(s[0] == "S" and int(s[1:]) >= 5 for s, _ in view(console)["frames"]):
        pass                            # text and rodata of four processes, and the kernel
    console.type("q")
    assert console.process.wait(60) == 0


def test_keys_in_the_window(kernels: Callable[[int], Path]) -> None:
    """As there need be no window here, QMP presses the keys.  Space: also that its release is not a key."""
    boot = Boot(kernels(LAB), "memview=json mem=16M", 1, debug=False, window=True)
    ended: list[tuple[int, str]] = []
    watching = threading.Thread(target=lambda: ended.append(boot.watch()))

    def press(key: str) -> None:
        assert boot.qmp is not None
        boot.qmp.command("send-key", keys=[{"type": "qcode", "data": key}])

    def said(text: str) -> bool:
        return text in boot.console_log.read_text().rpartition("\n{")[2]

    watching.start()
    try:
        wait_until(lambda: said('"pid":0'), "a view")
        for key, then in (("a", '"pid":3'), ("right", '"pid":4'), ("left", '"pid":3'), ("spc", '"paused":true'),
                          ("bracket_right", '"paused":true'), ("spc", '"paused":false')):
            press(key)
            wait_until(partial(said, then), f"{then} after {key}")
        press("q")
        watching.join(60)
        assert ended == [(0, "")]
    finally:
        boot.end()


def wait_until(holds: Callable[[], bool], what: str) -> None:
    limit = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < limit, f"{what} never came"
        time.sleep(0.05)


def start(obj: Path, arguments: str) -> "subprocess.Popen[bytes]":
    from grade.machine import machine_name, qemu_binary
    from grade.sandbox import die_with_parent
    return subprocess.Popen(
        [qemu_binary(), "-M", machine_name(), "-display", "none", "-nodefaults", "-no-reboot", "-serial", "null",
         "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console", "-global", "bcm2837.enabled-cpus=1",
         "-kernel", str(obj / "kernel8.img"), "-append", arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=die_with_parent)


def view(console: Console) -> dict[str, Any]:
    console.wait_for(b"{\"view\"")
    data: dict[str, Any] = json.loads('{"view"' + console.wait_for(b"}}\r\n") + "}}")
    return data


def test_text_on_a_terminal_of_80_columns(kernels: Callable[[int], Path]) -> None:
    console = Console.__new__(Console)
    console.process, console.said = start(kernels(LAB), "memview=text mem=16M run=scene,fork,9,60"), b""
    screen = Screen()
    for _ in range(10):
        screen.feed(console.wait_for(b"\x1b8"))
    lines = screen.lines()
    assert re.match(r"16 MiB, 4 pages a cell, \d+ free, view \d+: \d+ us$", lines[0])
    for i, line in enumerate(lines[1:17]):
        assert line[:13] == f"{i * 0x100000:12x} " and len(line) == 77 and set(line[13:]) <= set(CELLS)
    assert re.match(r"process \d+, scene: \d+ rows; ", lines[17])
    assert lines[18].startswith("      400000 x.rw")
    console.type("\x1b[A")
    for _ in range(3):
        screen.feed(console.wait_for(b"\x1b8"))
    assert screen.lines()[0].startswith("16 MiB, 2 pages a cell")
    console.type("q")
    assert console.process.wait(60) == 0


class Screen:
    """As much of a terminal as the kernel's text needs: where the cursor is, and what is erased."""

    def __init__(self) -> None:
        self.cells = [[" "] * 80 for _ in range(24)]
        self.x = self.y = 0

    def feed(self, text: str) -> None:
        for code, argument, letter in re.findall(r"(\x1b\[([0-9;]*)([A-Za-z])|\x1b[78]|[^\x1b])", text):
            if letter == "H":
                self.y, self.x = (int(n) - 1 for n in argument.split(";"))
            elif letter == "K":
                self.cells[self.y][self.x:] = [" "] * (80 - self.x)
            elif letter == "J":
                self.cells = [[" "] * 80 for _ in range(24)]
            elif code == "\n":
                self.y, self.x = min(self.y + 1, 23), 0
            elif not code.startswith("\x1b"):
                self.cells[self.y][min(self.x, 79)] = code
                self.x += 1
                assert self.x <= 80, "it fits into 80 columns"

    def lines(self) -> list[str]:
        return ["".join(row).rstrip(" ") if i not in range(1, 17) else "".join(row[:77]) for i, row in enumerate(self.cells)]


def test_in_the_monitor(kernels: Callable[[int], Path]) -> None:
    console = Console(kernels(LAB), "mem=16M")
    free = 0
    for round in range(2):              # after the first one the kernel has all that it keeps
        console.type("memview json\n")
        view(console)
        console.type("f")
        while not any(s[0] == "S" and int(s[1:]) >= 5 for s, _ in view(console)["frames"]):
            pass
        console.type("q")
        console.wait_for(b"bramble> ")
        while " scene" in console.command("ps"):
            time.sleep(0.1)
        if round == 0:
            free = console.free()
    assert console.free() == free
    assert "memview text, memview screen (HDMI), or memview json" in console.command("memview nothing")
    assert "in order" in console.command("audit")
    console.close()


# --- The recorder --------------------------------------------------------------------------------------


def test_pictures_look_like_the_screen() -> None:
    text = (ROOT / "kern" / "memscreen.c").read_text("utf-8")
    letters = re.findall(r"\['(.)'\] = \{([0-9a-fx, ]+)\}", text)
    assert {c: bytes(int(row, 16) for row in rows.split(",")) for c, rows in letters} == picture.LETTERS


def test_a_recording(kernels: Callable[[int], Path], watched: Callable[..., Watched], tmp_path: Path,
                     capsys: pytest.CaptureFixture[str]) -> None:
    out, still = kernels(LAB) / "memory.html", tmp_path / "still.png"
    assert memrec.main(["--obj", str(kernels(LAB)), "--moments", "20", "--args", "mem=8M run=scene,fork,9,60",
                        "--out", str(out), "--still", str(still)]) == 0
    assert "20 moments" in capsys.readouterr().out
    text = out.read_text("utf-8")
    assert "http" not in re.sub(r'type="application/json">.*?</script>', "", text, flags=re.DOTALL), "it needs no network"
    data = json.loads(text.split('type="application/json">', 1)[1].split("</script>", 1)[0])
    assert len(data["moments"]) == 20 and not any(m["nerrors"] for m in data["moments"])
    now = [-1] * data["moments"][-1]["n"]
    for moment in data["moments"]:
        for first, n, state in moment["changes"]:
            now[first:first + n] = [state] * n
    kinds = {data["states"][state][0] for state in now}
    assert {"KERNEL", "FREE", "TABLE", "SHARED"} < kinds and sum(k.startswith("PROCESS") for k in kinds) >= 3
    assert any("process 3 at " in data["states"][state][1] for state in now)

    # Whose a page was is told by the debugger, too: of this kernel, and of no other.
    w = watched("memview=json mem=8M")
    shared = next(i for i, state in enumerate(now) if data["states"][state][0] == "SHARED")
    past = list(tell.recorded(w.g, shared))
    assert past[0] == f"Recorded in {out} (Bramble: mem=8M run=scene,fork,9,60):"
    assert past[1:] == [f"  from {m['t'] // 1000} ms on: {data['states'][state][1]}" for m in data["moments"]
                        for first, n, state in m["changes"] if first <= shared < first + n]
    w.run_to_view()
    assert list(tell.page(w.g, shared * PGSIZE))[-len(past):] == past
    w.elf.digest = "another"
    assert not list(tell.recorded(w.g, shared))
    out.write_text("<p>Another page")
    assert not list(tell.recorded(w.g, shared))
    out.write_text(text.replace('"moments":[', '"moments":[7,'))
    assert not list(tell.recorded(w.g, shared))
    w.elf.digest = data["kernel"]
    assert "is no recording of make memrec's" in next(tell.recorded(w.g, shared))

    png = still.read_bytes()
    width, height = struct.unpack(">2I", png[16:24])
    size = int.from_bytes(png[33:37], "big")
    rows = zlib.decompress(png[41:41 + size])
    assert png.startswith(b"\x89PNG\r\n\x1a\n") and len(rows) == height * (1 + 3 * width)


@pytest.mark.parametrize("solved", [0, 2, 4])
def test_a_recording_of_a_broken_kernel(tmp_path: Path, capsys: pytest.CaptureFixture[str], solved: int) -> None:
    """It shows what is there; where there is nothing yet, a line says so."""
    obj = build(tmp_path, f"LAB={LAB}", f"SOL={solved}", "SOURCES=" + " ".join([*sources(LAB), "kern/scratch.c"]))
    out = tmp_path / "memory.html"
    status = memrec.main(["--obj", str(obj), "--moments", "3", "--args", "mem=8M check=none", "--out", str(out)])
    if solved == 0:
        assert status == 2 and "had found no memory" in capsys.readouterr().err and not out.exists()
    else:
        assert status == 0 and '"moments":[' in out.read_text("utf-8")


def test_trouble_is_said_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert memrec.main(["--obj", str(tmp_path)]) == 2
    assert "run make first" in capsys.readouterr().err
