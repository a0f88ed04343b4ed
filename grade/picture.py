"""Page frames as pictures: a colour for each kind of owner, and PNG files with a line of text and a legend.

The colours and letters are those that the kernel's own viewer draws with (kern/memscreen.c, from lab 3 on).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

Colour = tuple[int, int, int]

BACKGROUND: Colour = (0x18, 0x18, 0x20)
INK: Colour = (0xE0, 0xE0, 0xE0)
NAMES = {"NONE": "no RAM", "RESERVED": "reserved", "KERNEL": "kernel", "FREE": "free", "CACHED": "cached", "OBJECTS": "objects",
         "TABLE": "table", "SHARED": "shared", "LEAKED": "leaked", "WRONG": "wrong", "PROCESS": "process"}
WIDTH = 640


# By cell: red, green, blue.
HEX = {
    "NONE": "181820", "RESERVED": "404040", "KERNEL": "909090", "FREE": "282830", "CACHED": "384850",
    "OBJECTS": "6090b0", "TABLE": "ff60ff", "SHARED": "ffffff", "LEAKED": "ff0000", "WRONG": "ff4000",
    "PROCESS0": "ffd060", "PROCESS1": "40ff40", "PROCESS2": "4080ff", "PROCESS3": "ffc030", "PROCESS4": "40ffff",
    "PROCESS5": "ff6090", "PROCESS6": "00b060", "PROCESS7": "ff8000", "PROCESS8": "b070ff", "PROCESS9": "d0ff90",
}
COLOURS: dict[str, Colour] = {name: (int(rgb[:2], 16), int(rgb[2:4], 16), int(rgb[4:], 16)) for name, rgb in HEX.items()}

# Seven rows of five pixels, a byte each, bit 4 the left one.
LETTERS = {c: bytes.fromhex(rows) for c, rows in {
    "!": "04040404040004", "%": "19190204081313", "(": "02040808080402", ")": "08040202020408", "+": "0004041f040400",
    ",": "000000000c0408", "-": "0000001f000000", ".": "00000000000c0c", "/": "01010204081010", "0": "0e11131519110e",
    "1": "040c040404040e", "2": "0e11010204081f", "3": "0e11010601110e", "4": "02060a121f0202", "5": "1f101e0101110e",
    "6": "0608101e11110e", "7": "1f010204080808", "8": "0e11110e11110e", "9": "0e11110f01020c", ":": "000c0c000c0c00",
    "=": "00001f001f0000", "A": "0e11111f111111", "B": "1e11111e11111e", "C": "0e11101010110e", "D": "1e11111111111e",
    "E": "1f10101e10101f", "F": "1f10101e101010", "G": "0e11101711110f", "H": "1111111f111111", "I": "0e04040404040e",
    "J": "0702020202120c", "K": "11121418141211", "L": "1010101010101f", "M": "111b1515111111", "N": "11191513111111",
    "O": "0e11111111110e", "P": "1e11111e101010", "Q": "0e11111115120d", "R": "1e11111e141211", "S": "0f10100e01011e",
    "T": "1f040404040404", "U": "1111111111110e", "V": "11111111110a04", "W": "11111115151b11", "X": "11110a040a1111",
    "Y": "11110a04040404", "Z": "1f01020408101f",
}.items()}


class Picture:
    """Pixels, to be written as a PNG file (RFC 2083)."""

    def __init__(self, width: int, height: int):
        self.width, self.height = width, height
        self.rows = [bytearray(bytes(BACKGROUND) * width) for _ in range(height)]

    def fill(self, x: int, y: int, width: int, height: int, colour: Colour) -> None:
        for row in self.rows[y:y + height]:
            row[3 * x:3 * (x + width)] = bytes(colour) * width

    def text(self, x: int, y: int, text: str, colour: Colour = INK) -> int:
        """Capital letters; returns where the next one would be."""
        for c in text.upper():
            for i, bits in enumerate(LETTERS.get(c, b"")):
                for k in range(5):
                    if bits >> (4 - k) & 1:
                        self.fill(x + k, y + i, 1, 1, colour)
            x += 6
        return x

    def png(self) -> bytes:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">2I5B", self.width, self.height, 8, 2, 0, 0, 0)      # 8 bits each of red, green, blue
        data = zlib.compress(b"".join(b"\0" + row for row in self.rows), 9)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def still(cells: Sequence[str], title: str) -> bytes:
    """A PNG of so many frames, in rows of 64 or more, with what the colours mean."""
    side = next((s for s in (10, 8, 5, 4, 2) if (WIDTH // s) * (480 // s) >= len(cells)), 1)
    columns = WIDTH // side // 64 * 64 if side <= 10 else 64
    rows = -(-len(cells) // columns)
    picture = Picture(WIDTH, 20 + rows * side + 20)
    picture.text(4, 6, title)
    inner = side - 1 if side > 2 else side
    for i, cell in enumerate(cells):
        picture.fill(i % columns * side, 20 + i // columns * side, inner, inner, COLOURS[cell])
    x = 4
    for name in dict.fromkeys(c.rstrip("0123456789") for c in cells):
        mine = COLOURS[name if name != "PROCESS" else next(c for c in cells if c.startswith("PROCESS"))]
        picture.fill(x, 26 + rows * side, 7, 7, mine)
        x = picture.text(x + 10, 26 + rows * side, NAMES[name]) + 8
    return picture.png()
