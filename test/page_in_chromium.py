#!/usr/bin/env python3
"""Uses a class's index.html as people do, in a headless Chromium: sorts, filters, opens logs by mouse
and by keyboard, on a desk and on a phone, in light and dark, and takes pictures.

    python3 test/page_in_chromium.py OUTDIR/index.html PICTURES

Not part of `make test`, as it needs the package chromium.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from browser import Browser


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
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            use(browser, page.as_uri(), pictures)
        finally:
            browser.close()
    print(f"opened, sorted, filtered, read, on a phone, in the dark; look at the pictures in {pictures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
