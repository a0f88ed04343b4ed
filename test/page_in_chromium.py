#!/usr/bin/env python3
"""Uses a class's index.html as people do, in a headless Chromium: sorts, filters, opens logs by mouse
and by keyboard, on a desk and on a phone, in light and dark, and takes pictures.

    python3 test/page_in_chromium.py OUTDIR/index.html PICTURES

Not part of `make test`, as it needs the package chromium.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


class Browser:
    """One tab of a Chromium, spoken to in its DevTools protocol over a pair of pipes."""

    def __init__(self, profile: str) -> None:
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()

        def pipes() -> None:
            a, b = os.dup(theirs_in), os.dup(theirs_out)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.out, self.into = os.fdopen(ours_out, "wb", 0), os.fdopen(ours_in, "rb", 0)
        self.rest, self.number, self.session = b"", 0, ""
        self.errors: list[Any] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def receive(self) -> dict[str, Any]:
        while b"\0" not in self.rest:
            piece = self.into.read(1 << 16)
            if not piece:
                raise SystemExit("Chromium ended")
            self.rest += piece
        message, self.rest = self.rest.split(b"\0", 1)
        data: dict[str, Any] = json.loads(message)
        method = data.get("method", "")
        if method in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.errors.append(data["params"])
        if method == "Network.requestWillBeSent" and not data["params"]["request"]["url"].startswith("file:"):
            self.errors.append(data["params"]["request"]["url"])
        return data

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        self.out.write(json.dumps(message).encode() + b"\0")
        while (data := self.receive()).get("id") != self.number:
            pass
        if "error" in data:
            raise SystemExit(f"{method}: {data['error']}")
        result: dict[str, Any] = data["result"]
        return result

    def open(self, url: str) -> None:
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        while self.receive().get("method") != "Page.loadEventFired":
            pass

    def js(self, expression: str) -> Any:
        done = self.call("Runtime.evaluate", expression=expression, returnByValue=True, userGesture=True)
        if "exceptionDetails" in done:
            raise SystemExit(f"{expression}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def click(self, selector: str) -> None:
        x, y = self.js(f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center", inline: "center"}}); const r = e.getBoundingClientRect();
            return [r.x + r.width / 2, r.y + r.height / 2] }})()""")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def key(self, key: str, text: str = "") -> None:
        codes = {"Enter": 13, "Escape": 27, "Tab": 9, "ArrowDown": 40, "ArrowUp": 38}
        more: dict[str, Any] = {"windowsVirtualKeyCode": codes.get(key, ord(key[0].upper()))}
        if text or len(key) == 1:
            more["text"] = text or key
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=more["windowsVirtualKeyCode"])

    def window(self, width: int, height: int, dark: bool = False) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


NAMES = "[...document.querySelectorAll('tbody tr')].filter(r => !r.hidden).map(r => r.dataset.name)"
SCORES = "[...document.querySelectorAll('tbody td.score')].map(c => Number(c.dataset.v))"


def use(browser: Browser, url: str, pictures: Path) -> None:
    browser.window(1400, 900)
    browser.open(url)
    names = browser.js(NAMES)
    browser.picture(pictures / "1-opened.png")

    browser.click("thead th:nth-child(2) button")
    scores = browser.js(SCORES)
    assert scores == sorted(scores, reverse=True), "sorted by score, best first"
    browser.click("thead th:nth-child(2) button")
    scores = browser.js(SCORES)
    assert scores == sorted(scores), "and the other way round"
    browser.click("thead th:nth-child(3) button")
    assert browser.js("document.querySelector('thead th:nth-child(3)').getAttribute('aria-sort')") == "ascending"
    browser.picture(pictures / "2-sorted.png")
    browser.click("thead th:nth-child(1) button")
    assert browser.js(NAMES) == names, "back in the first order"

    browser.key("/")
    for letter in names[1][:5]:
        browser.key(letter, letter)
    found = browser.js(NAMES)
    assert found == [n for n in names if names[1][:5].lower() in n.lower()] and found, "found by name"
    assert browser.js("document.getElementById('shown').value") == f"{len(found)} of {len(names)} shown"
    browser.js("search.value = ''; search.dispatchEvent(new Event('input'))")
    browser.js("filter.value = 'is:part'; filter.dispatchEvent(new Event('change'))")
    part = browser.js(NAMES)
    assert part and len(part) < len(names), "filtered"
    browser.picture(pictures / "3-filtered.png")

    # A log, by keyboard alone: to the first name, one down, open, next, close.
    browser.js("document.querySelector('tbody tr:not([hidden]) a').focus()")
    browser.key("ArrowDown")
    assert browser.js("document.activeElement.closest('tr').dataset.name") == part[1], "arrow keys"
    browser.key("Enter", "\r")
    assert browser.js("reader.open") and browser.js("text.querySelector('h2').textContent") == part[1], "opened"
    browser.picture(pictures / "4-log.png")
    browser.key("n")
    assert browser.js("text.querySelector('h2').textContent") == part[2], "next"
    browser.key("Escape")
    assert not browser.js("reader.open"), "closed"
    assert browser.js("document.activeElement.closest('tr').dataset.name") == part[2], "the focus is where it was"
    browser.js("filter.value = ''; filter.dispatchEvent(new Event('change'))")

    browser.click("td.no")
    assert browser.js("reader.open"), "opened by a click on what failed"
    browser.click(".close")
    browser.open(url + "#s1")
    assert browser.js("reader.open && text.querySelector('h2').textContent") == names[1], "opened by its address"

    browser.window(1400, 900, dark=True)
    browser.open(url)
    browser.picture(pictures / "5-dark.png")
    browser.window(390, 844)
    browser.open(url)
    assert browser.js("document.documentElement.scrollWidth") <= 390, "the page itself does not scroll sideways"
    browser.js("document.querySelector('.frame').scrollIntoView(); document.querySelector('.frame').scrollLeft = 250")
    browser.picture(pictures / "6-phone.png")
    browser.click("tbody tr:nth-child(4) a")
    assert browser.js("reader.open")
    browser.picture(pictures / "7-phone-log.png")
    assert not browser.errors, browser.errors


def main() -> int:
    page, pictures = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(profile)
        try:
            use(browser, page.as_uri(), pictures)
        finally:
            browser.close()
    print(f"opened, sorted, filtered, read, on a phone, in the dark; look at the pictures in {pictures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
