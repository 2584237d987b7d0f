"""How the status page looks: the contrast of its colors, and its width in a real browser, light and dark."""

import json
import re
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Final

import pytest

from exporter.web.page import page
from tests.support.running import TIMEOUT, exporter, server
from tests.support.status_page import SETTING_UP, WORST, Reading

THEMES: Final = {"light": 1, "dark": 0}


def colors(theme: str) -> dict[str, str]:
    """Return the colors that the style defines for a theme."""
    style = Reading(page(SETTING_UP)).style
    light, dark = (dict(re.findall(r"--(\w+): (#\w{6});", part)) for part in style.split("@media"))
    assert light.keys() == dark.keys()
    return {"light": light, "dark": dark}[theme]


def luminance(color: str) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("theme", THEMES)
def test_text_has_contrast(theme: str) -> None:
    """All text has a contrast of at least 4.5 to 1 against its possible backgrounds (WCAG 2.2, 1.4.3)."""
    found = colors(theme)
    poor = {}
    for name in ("text", "soft", "link", "good", "bad", "open", "unclear"):
        for ground in ("page", "card", *(["code"] if name in {"text", "soft"} else [])):
            lower, higher = sorted(map(luminance, (found[name], found[ground])))
            if (higher + 0.05) / (lower + 0.05) < 4.5:
                poor[name, ground] = (higher + 0.05) / (lower + 0.05)
    assert poor == {}


class Browser:
    """A headless Chromium."""

    def __init__(self, directory: Path) -> None:
        self._program = server("chromium")
        self._directory = directory

    def dump(self, address: str, theme: str) -> tuple[str, str]:
        """Load an address; return the document as HTML, and the messages of the console."""
        done = subprocess.run(
            [
                *(self._program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
                *(
                    f"--user-data-dir={self._directory / 'profile'}",
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
        """Return the width of a window, the width of the document in it, and the background color."""
        file = self._directory / "frame.html"
        # A frame, because a window has a minimum width.
        file.write_text(
            f"""<!DOCTYPE html><iframe width="{width}" height="900" style="border: 0" srcdoc="{escape(html)}"></iframe>
<script>onload = () => {{
  const inner = frames[0], root = inner.document.scrollingElement;
  const color = inner.getComputedStyle(inner.document.body).backgroundColor;
  document.title = JSON.stringify([inner.innerWidth, root.scrollWidth, color]);
}}</script>"""
        )
        shown, messages = self.dump(file.as_uri(), theme)
        assert messages == ""
        found = re.search(r"<title>(.*?)</title>", shown)
        assert found
        inner, outer, color = json.loads(unescape(found[1]))
        return inner, outer, color


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """Return a browser with its own profile."""
    return Browser(tmp_path)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", [320, 360, 1_280])
def test_the_page_fits(browser: Browser, width: int, theme: str) -> None:
    """On a phone and on a desktop, even the longest page does not scroll sideways, and follows the theme."""
    red, green, blue = (int(colors(theme)["page"][at : at + 2], 16) for at in (1, 3, 5))
    assert browser.measure(page(WORST), width, theme) == (width, width, f"rgb({red}, {green}, {blue})")


def test_a_wide_page_is_noticed(browser: Browser) -> None:
    """The measurement notices content that is too wide."""
    wide = page(SETTING_UP).replace("</main>", '<div style="width: 2000px">x</div></main>')
    assert browser.measure(wide, 360, "light")[:2] == (360, 2_000 + 16)


def test_the_console_is_empty(browser: Browser, tmp_path: Path) -> None:
    """With its real headers, the page's own policy blocks nothing of it."""
    with exporter(tmp_path) as running:
        shown, messages = browser.dump(f"http://{running.private}/", "light")
    assert (messages, "</h2>" in shown) == ("", True)
