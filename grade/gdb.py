"""A client for the GDB remote protocol, as far as QEMU's gdbstub speaks it.

One object is one connection.  The other end is a connected socket (grade.machine
makes it with socketpair), so nothing is ever looked up in the file system.
"""

from __future__ import annotations

import re
import select
import socket
import struct
import time


CORE = struct.Struct("<33QI")   # x0..x30, sp, pc, cpsr: the first registers of packets g and G
SP, PC, CPSR = 31, 32, 33


class GdbError(Exception):
    """The stub refused a request, or its answer made no sense."""


class GdbClosed(GdbError):
    """QEMU hung up: the process is gone."""


class GdbTimeout(GdbError):
    """No answer within the time given."""


def checksum(data: bytes) -> bytes:
    return b"%02x" % (sum(data) & 0xFF)


def escape(data: bytes) -> bytes:
    out = bytearray()
    for byte in data:
        if byte in b"#$*}":
            out += bytes((0x7D, byte ^ 0x20))
        else:
            out.append(byte)
    return bytes(out)


def unescape(data: bytes) -> bytes:
    """Undo the '}' escapes and the '*' run lengths of a packet."""
    if b"}" not in data and b"*" not in data:
        return data
    out = bytearray()
    i = 0
    while i < len(data):
        byte = data[i]
        if byte == 0x7D and i + 1 < len(data):
            out.append(data[i + 1] ^ 0x20)
            i += 2
        elif byte == 0x2A and i + 1 < len(data) and out:
            out += bytes((out[-1],)) * (data[i + 1] - 29)
            i += 2
        else:
            out.append(byte)
            i += 1
    return bytes(out)


class Gdb:
    """Registers, memory, breakpoints and running, in the protocol's own terms."""

    TIMEOUT = 20.0      # seconds for an answer to anything but 'continue'
    CHUNK = 1024        # bytes of memory a packet (QEMU's packets hold 4096 characters)

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.buffer = bytearray()
        self.acks = True
        self.owed = b""     # the acknowledgement of what came last: it goes out with the next packet
        self.running = False
        self.physical = False
        self.registers: dict[str, tuple[int, int]] = {}     # name: number, bytes
        features = self.ask("qSupported:qXfer:features:read+").split(";")
        if "QStartNoAckMode+" in features:
            self.ask("QStartNoAckMode")
            self.acks = False

    def close(self) -> None:
        self.sock.close()

    # --- packets ---------------------------------------------------------

    def fill(self, deadline: float) -> None:
        wait = deadline - time.monotonic()
        if wait < 0 or not select.select([self.sock], [], [], wait)[0]:
            raise GdbTimeout("QEMU's gdbstub does not answer")
        try:
            data = self.sock.recv(65536)
        except OSError as e:
            raise GdbClosed(str(e)) from None
        if not data:
            raise GdbClosed("QEMU closed the connection")
        self.buffer += data

    def send(self, packet: bytes) -> None:
        try:
            self.sock.sendall(self.owed + b"$" + packet + b"#" + checksum(packet))
        except OSError as e:
            raise GdbClosed(str(e)) from None
        self.owed = b""

    def receive(self, timeout: float) -> bytes:
        """The next packet, unescaped.  Acknowledgements are skipped."""
        deadline = time.monotonic() + timeout
        while True:
            start = self.buffer.find(b"$")
            end = self.buffer.find(b"#", start) if start >= 0 else -1
            if end >= 0 and len(self.buffer) >= end + 3:
                packet = bytes(self.buffer[start + 1:end])
                del self.buffer[:end + 3]
                if self.acks:
                    self.owed = b"+"
                return unescape(packet)
            self.fill(deadline)

    def ask_bytes(self, packet: str | bytes) -> bytes:
        if self.running:
            raise GdbError("the machine is running")
        self.send(packet.encode("ascii") if isinstance(packet, str) else packet)
        return self.receive(self.TIMEOUT)

    def ask(self, packet: str) -> str:
        return self.ask_bytes(packet).decode("latin-1")

    def expect_ok(self, packet: str) -> None:
        answer = self.ask(packet)
        if answer != "OK":
            raise GdbError(f"{packet.split(':')[0]}: {answer or 'not supported'}")

    # --- registers -------------------------------------------------------

    def describe(self) -> None:
        """Read the target's register list (core, then system registers)."""
        number = 0
        todo = ["target.xml"]
        while todo:     # QEMU's XML lacks a name space declaration: no XML parser takes it
            text = self.read_feature(todo.pop(0))
            for tag, rest in re.findall(r"<(reg|xi:include)\s([^>]*)>", text):
                attributes = dict(re.findall(r'([a-z_]+)\s*=\s*"([^"]*)"', rest))
                if tag == "reg":
                    number = int(attributes.get("regnum", number))
                    size = int(attributes["bitsize"]) // 8
                    self.registers.setdefault(attributes["name"].lower(), (number, size))
                    number += 1
                else:
                    todo.append(attributes["href"])

    def read_feature(self, name: str) -> str:
        text, offset = bytearray(), 0
        while True:
            part = self.ask_bytes(f"qXfer:features:read:{name}:{offset:x},7f0")
            if part[:1] not in (b"m", b"l"):
                raise GdbError(f"no register description {name}")
            text += part[1:]
            offset += len(part) - 1
            if part[:1] == b"l":
                return text.decode("utf-8", "replace")

    def register_number(self, name: str) -> tuple[int, int]:
        if not self.registers:
            self.describe()
        try:
            return self.registers[name.lower()]
        except KeyError:
            raise GdbError(f"no register {name}") from None

    def read_register(self, name: str) -> int:
        number, _ = self.register_number(name)
        answer = self.ask(f"p{number:x}")
        try:
            return int.from_bytes(bytes.fromhex(answer), "little")
        except ValueError:
            raise GdbError(f"reading {name}: {answer}") from None

    def write_register(self, name: str, value: int) -> None:
        number, size = self.register_number(name)
        self.expect_ok(f"P{number:x}={(value % (1 << 8 * size)).to_bytes(size, 'little').hex()}")

    def read_core(self) -> list[int]:
        """x0..x30, sp, pc and cpsr in one packet."""
        data = bytes.fromhex(self.ask("g")[:CORE.size * 2])
        return list(CORE.unpack(data))

    def write_core(self, values: list[int]) -> None:
        self.expect_ok(f"G{CORE.pack(*values).hex()}")

    # --- memory ----------------------------------------------------------

    def mode(self, physical: bool) -> None:
        if physical != self.physical:
            self.expect_ok(f"Qqemu.PhyMemMode:{int(physical)}")
            self.physical = physical

    def read(self, address: int, size: int, physical: bool = False) -> bytes:
        """Memory as the CPU would see it now, or at a physical address."""
        self.mode(physical)
        out = bytearray()
        while len(out) < size:
            want = min(self.CHUNK, size - len(out))
            answer = self.ask(f"m{(address + len(out)) % (1 << 64):x},{want:x}")
            try:
                data = bytes.fromhex(answer)
            except ValueError:
                data = b""
            if len(data) != want:
                raise GdbError(f"cannot read {'physical ' * physical}memory at "
                               f"{address + len(out):#x}")
            out += data
        return bytes(out)

    def write(self, address: int, data: bytes, physical: bool = False) -> None:
        self.mode(physical)
        for at in range(0, len(data), self.CHUNK):
            part = data[at:at + self.CHUNK]
            answer = self.ask(f"M{address + at:x},{len(part):x}:{part.hex()}")
            if answer != "OK":
                raise GdbError(f"cannot write memory at {address + at:#x}")

    # --- running ---------------------------------------------------------

    def set_breakpoint(self, va: int) -> None:
        """Stop when the program counter reaches va (QEMU compares virtual addresses)."""
        self.expect_ok(f"Z0,{va:x},4")

    def clear_breakpoint(self, va: int) -> None:
        self.expect_ok(f"z0,{va:x},4")

    def watch_stores(self, va: int, size: int) -> None:
        """Stop at a store to these bytes: QEMU has then not always made it.  So unwatch before going on."""
        self.expect_ok(f"Z2,{va:x},{size:x}")

    def unwatch(self, va: int, size: int) -> None:
        self.expect_ok(f"z2,{va:x},{size:x}")

    def step(self) -> str:
        """One instruction.  Returns the stop reply."""
        return self.ask("s")

    def start(self) -> None:
        """Continue, without waiting for the stop."""
        if self.running:
            raise GdbError("the machine is running")
        self.send(b"c")
        self.running = True

    def wait(self, timeout: float) -> str | None:
        """The stop reply, or None when the machine still runs after timeout seconds."""
        try:
            reply = self.receive(timeout)
        except GdbTimeout:
            return None
        self.running = False
        return reply.decode("latin-1")

    def interrupt(self) -> str:
        """Stop a running machine from outside."""
        self.sock.sendall(b"\x03")
        reply = self.wait(self.TIMEOUT)
        if reply is None:
            raise GdbTimeout("the machine does not stop")
        return reply
