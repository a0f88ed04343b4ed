"""A client for QMP, QEMU's control channel: commands, and the events that came meanwhile."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from typing import Any


class QmpError(Exception):
    """QEMU refused a command or is gone."""


class Qmp:
    TIMEOUT = 20.0

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self.buffer = b""
        self.reason: str | None = None      # why the guest ended, when it did
        self.closed = False
        deadline = time.monotonic() + self.TIMEOUT
        while "QMP" not in self.message(deadline):
            pass
        self.command("qmp_capabilities")

    def close(self) -> None:
        self.sock.close()
        self.closed = True

    def message(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self.buffer:
            wait = max(0.0, deadline - time.monotonic())
            if not select.select([self.sock], [], [], wait)[0]:
                raise QmpError("QEMU does not answer")
            try:
                data = self.sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                self.closed = True
                raise QmpError("QEMU has ended")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        result: dict[str, Any] = json.loads(line)
        return result

    def command(self, name: str, **arguments: Any) -> Any:
        text = json.dumps({"execute": name, "arguments": arguments})
        try:
            self.sock.sendall(text.encode() + b"\n")
        except OSError:
            self.closed = True
            raise QmpError("QEMU has ended") from None
        deadline = time.monotonic() + self.TIMEOUT
        while True:
            answer = self.message(deadline)
            if "event" in answer:
                self.note(answer)
            elif "error" in answer:
                raise QmpError(answer["error"].get("desc", name))
            elif "return" in answer:
                return answer["return"]

    def poll(self) -> None:
        """Collect the events that are there already; notes when QEMU is gone."""
        try:
            while True:
                self.note(self.message(0.0))
        except QmpError:
            pass

    def human(self, line: str) -> str:
        """A command of the human monitor."""
        return str(self.command("human-monitor-command", **{"command-line": line}))

    def note(self, event: dict[str, Any]) -> None:
        """Of the events, only the first SHUTDOWN is of interest."""
        if event.get("event") == "SHUTDOWN" and self.reason is None:
            self.reason = str(event.get("data", {}).get("reason", "unknown"))

    def shutdown_reason(self) -> str | None:
        """'guest-shutdown' (power off), 'guest-reset', 'host-signal'... or None."""
        return self.reason

    def physical_words(self, pa: int, count: int) -> list[int]:
        """Aligned 32-bit words at a physical address, also while the machine runs."""
        text = self.human(f"xp /{count}xw {pa:#x}")
        return [int(w, 16) for line in text.splitlines()
                for w in re.findall(r"0x([0-9a-fA-F]{8})\b", line.split(":", 1)[-1])]

    def processor(self) -> tuple[int, int]:
        """Program counter and exception level, also while the machine runs."""
        text = self.human("info registers")
        pc = re.search(r"\bPC=([0-9a-fA-F]+)", text)
        el = re.search(r"\bEL([0-3])[ht]", text)
        if not pc or not el:
            raise QmpError("no registers")
        return int(pc[1], 16), int(el[1])
