#!/usr/bin/env python3
"""Uses a recording of memory (grade/memrec.py) as people do, in a headless Chromium: moves the slider, plays, points at
a page, holds it, goes through its history; and takes pictures.

    python3 test/recording_in_chromium.py memory.html PICTURES

Not part of `make test`, as it needs the package chromium.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

from browser import Browser

STATE = "document.getElementById('state').textContent"
WHEN = "document.getElementById('when').value"
HISTORY = "[...document.querySelectorAll('#history li')].map(one => one.textContent)"
PIXELS = "document.querySelector('canvas').toDataURL()"


def point(browser: Browser, page: int, kind: str = "mouseMoved") -> None:
    """Move to a page, or click on it."""
    x, y = browser.js(f"""(() => {{ const box = canvas.getBoundingClientRect(), rows = Math.ceil(frames / columns);
        return [box.left + ({page} % columns + .5) * box.width / columns,
                box.top + (Math.floor({page} / columns) + .5) * box.height / rows] }})()""")
    kinds = [kind] if kind == "mouseMoved" else ["mousePressed", "mouseReleased"]
    for one in kinds:
        browser.call("Input.dispatchMouseEvent", type=one, x=x, y=y, **({} if one == "mouseMoved" else
                                                                      {"button": "left", "clickCount": 1}))


def use(browser: Browser, url: str, data: dict, pictures: Path) -> None:
    browser.window(1400, 900)
    browser.open(url)
    moments = data["moments"]
    assert browser.js(WHEN).startswith(f"moment 1 of {len(moments)}")
    first = browser.js(PIXELS)
    browser.picture(pictures / "1-opened.png")

    browser.js(f"slider.value = {len(moments) - 1}; slider.dispatchEvent(new Event('input'))")
    assert browser.js(WHEN).startswith(f"moment {len(moments)} of")
    assert browser.js(PIXELS) != first, "another picture"
    browser.picture(pictures / "2-the-end.png")

    # The page with the longest history.
    changed: dict[int, list[int]] = {}
    for moment in moments:
        for start, count, state in moment["changes"]:
            for page in range(start, start + count):
                changed.setdefault(page, []).append(state)
    page = max(changed, key=lambda page: len(changed[page]))
    point(browser, page)
    assert browser.js(STATE) == data["states"][changed[page][-1]][1]
    found = browser.js(HISTORY)
    assert len(found) == len(changed[page]) and all(data["states"][state][1] in one
                                                    for one, state in zip(found, changed[page]))
    point(browser, page, "click")
    point(browser, 0)
    assert browser.js(HISTORY) == found, "held by the click"
    browser.click("#history li:nth-child(2)")
    assert browser.js(STATE) == data["states"][changed[page][1]][1]
    browser.picture(pictures / "3-history.png")

    browser.key("ArrowLeft")
    browser.js("document.getElementById('speed').value = '25'")
    before = browser.js("moment")
    browser.click("#play")
    time.sleep(0.5)
    browser.click("#play")
    assert browser.js("moment") > before, "it plays"

    browser.window(400, 800)
    browser.picture(pictures / "4-phone.png")
    assert not browser.errors, browser.errors


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    page, pictures = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    pictures.mkdir(parents=True, exist_ok=True)
    text = page.read_text("utf-8").split('type="application/json">', 1)[1].split("</script>", 1)[0]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            use(browser, page.as_uri(), json.loads(text), pictures)
        finally:
            browser.close()
    print(f"the recording does what it should; pictures are in {pictures}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
