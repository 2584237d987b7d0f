"""How the page looks: contrast by its colours, and in a real browser its width, light and dark."""

import json
import re
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Final

import pytest

from exporter.web.page import page
from tests.e2e.test_page import SETTING_UP, WORST, Reading
from tests.support.running import TIMEOUT, exporter, server

THEMES: Final = {"light": 1, "dark": 0}


def colours(theme: str) -> dict[str, str]:
    """The colours that the style names, in a theme."""
    style = Reading(page(SETTING_UP)).style
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in style.split("@media"))
    assert light.keys() == dark.keys()
    return {"light": light, "dark": dark}[theme]


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", THEMES)
def test_text_has_contrast(theme: str) -> None:
    """All text has at least 4.5 to 1 against what it may stand on (WCAG 2.2, 1.4.3)."""
    found = colours(theme)
    poor = {}
    for name in ("text", "soft", "link", "good", "bad", "open", "unclear"):
        for ground in ("page", "card", *(["code"] if name in {"text", "soft"} else [])):
            lower, higher = sorted(map(luminance, (found[name], found[ground])))
            if (higher + 0.05) / (lower + 0.05) < 4.5:
                poor[name, ground] = (higher + 0.05) / (lower + 0.05)
    assert poor == {}


class Browser:
    """A Chromium without a window."""

    def __init__(self, folder: Path) -> None:
        self._program = server("chromium")
        self._folder = folder

    def dump(self, address: str, theme: str) -> tuple[str, str]:
        """The document at an address after it was loaded, as HTML; and what the browser has to say about it."""
        done = subprocess.run(
            [
                *(self._program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
                *(
                    f"--user-data-dir={self._folder / 'profile'}",
                    f"--blink-settings=preferredColorScheme={THEMES[theme]}",
                ),
                *("--enable-logging=stderr", "--dump-dom", address),
            ],
            capture_output=True,
            text=True,
            timeout=2 * TIMEOUT,
            check=True,
        )
        return done.stdout, "\n".join(line for line in done.stderr.splitlines() if ":CONSOLE:" in line)

    def measure(self, html: str, width: int, theme: str) -> tuple[int, int, str]:
        """Width of a window, of the document in it, and the colour of its background."""
        file = self._folder / "frame.html"
        # A window has a least width, a frame has none.
        file.write_text(
            f"""<!DOCTYPE html><iframe width="{width}" height="900" style="border: 0" srcdoc="{escape(html)}"></iframe>
<script>onload = () => {{
  const inner = frames[0], root = inner.document.scrollingElement;
  const colour = inner.getComputedStyle(inner.document.body).backgroundColor;
  document.title = JSON.stringify([inner.innerWidth, root.scrollWidth, colour]);
}}</script>"""
        )
        shown, said = self.dump(file.as_uri(), theme)
        assert said == ""
        found = re.search(r"<title>(.*?)</title>", shown)
        assert found
        inner, outer, colour = json.loads(unescape(found[1]))
        return inner, outer, colour


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """A browser with a profile of its own."""
    return Browser(tmp_path)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", [320, 360, 1_280])
def test_it_fits(browser: Browser, width: int, theme: str) -> None:
    """On a phone and on a desk, even the longest page needs no scrolling sideways, and heeds light and dark."""
    red, green, blue = (int(colours(theme)["page"][at : at + 2], 16) for at in (1, 3, 5))
    assert browser.measure(page(WORST), width, theme) == (width, width, f"rgb({red}, {green}, {blue})")


def test_that_it_would_not_fit_is_seen(browser: Browser) -> None:
    """What measures does see something that is too wide."""
    wide = page(SETTING_UP).replace("</main>", '<div style="width: 2000px">x</div></main>')
    assert browser.measure(wide, 360, "light")[:2] == (360, 2_000 + 16)


def test_a_browser_has_nothing_to_complain_of(browser: Browser, tmp_path: Path) -> None:
    """With its real headers, nothing of the page is held back by its own policy."""
    with exporter(tmp_path) as running:
        shown, said = browser.dump(f"http://{running.private}/", "light")
    assert (said, "<h2>Does it work?</h2>" in shown) == ("", True)
