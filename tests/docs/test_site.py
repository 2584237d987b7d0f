"""The site is built without warnings, its links work, and it loads nothing from other sites."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from tests.support.documentation import PAGES
from tests.support.tree import ROOT


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build as ``make site`` does, but never with colors."""
    recipe = re.search(r"^site:.*\n\t\$\(BIN\)/python (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    words = [*recipe[1].replace("build/", f"{target}/").split(), "--no-color"]
    return subprocess.run([sys.executable, *words], cwd=source, check=False, capture_output=True, text=True)


class Page(HTMLParser):
    """A page of the site: its language, links, loaded files, and the anchors to which links may lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.language: str | None = None
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect the attributes of a tag."""
        given = {name: value for name, value in attrs if value is not None}
        if tag == "html":
            self.language = given.get("lang")
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])
        elif tag == "link" and given.get("rel") in {"stylesheet", "icon", "preload", "prefetch"}:
            self.loads.append(given["href"])


def broken(site: Path, pages: dict[str, Page]) -> list[str]:
    """Return the links and loaded files within the site that lead to no file or anchor of it."""
    found = []
    for path, page in pages.items():
        for link in (*page.links, *page.loads):
            url = urlsplit(urljoin(f"https://site/{path}", link))
            name = unquote(url.path).removeprefix("/")
            if url.netloc != "site":
                continue
            if not (site / name).is_file() or (url.fragment and unquote(url.fragment) not in pages[name].anchors):
                found.append(f"{path}: {link}")
    return found


def test_the_site_is_complete(tmp_path: Path) -> None:
    """Each page is on the site, in its language. There are no warnings, broken links or files from other sites."""
    done = build(ROOT, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    site = tmp_path / "site"
    pages = {str(path.relative_to(site)): Page(path.read_text()) for path in site.rglob("*.html")}
    assert broken(site, pages) == []
    assert {path: page.loads for path, page in pages.items() if any("//" in load for load in page.loads)} == {}
    assert 'url=docs/index.html"' in (site / "index.html").read_text()  # the root redirects there
    for path in ("index.html", "genindex.html", "search.html"):
        del pages[path]
    assert {path: page.language for path, page in pages.items()} == {
        page.removesuffix(".md") + ".html": "nl" if page.startswith("docs/nl/") else "en" for page in PAGES
    }


def test_broken_links_fail_the_build(tmp_path: Path) -> None:
    """A link to a missing page, heading, directory or picture fails the build, as does a page missing from the list."""
    source = tmp_path / "source"
    for directory in ("docs", "deploy"):
        (source / directory).mkdir(parents=True)
    (source / "docs/conf.py").write_text((ROOT / "docs/conf.py").read_text())
    (source / "docs/_static").symlink_to(ROOT / "docs/_static")
    (source / "docs/_toc.yml").write_text("root: docs/index\nentries:\n- file: docs/other\n")
    (source / "docs/other.md").write_text("# Other\n")
    (source / "alone.md").write_text("# Alone\n")
    (source / "docs/index.md").write_text(
        "# Index\n\n[a](a.md) [b](#b) [c](other.md#c) [d](../deploy) ![e](e.png) [whole](other.md#other)\n"
    )
    done = build(source, tmp_path)
    assert done.returncode != 0
    warnings = [re.sub(r".*WARNING: ", "", line) for line in done.stderr.splitlines() if "WARNING" in line]
    assert sorted(warnings) == [
        "'myst' cross-reference target not found: '../deploy' [myst.xref_missing]",
        "'myst' cross-reference target not found: 'a.md' [myst.xref_missing]",
        "'myst' cross-reference target not found: 'b' [myst.xref_missing]",
        "document isn't included in any toctree [toc.not_included]",
        "image file not readable: docs/e.png [image.not_readable]",
        "local id not found in doc 'docs/other': 'c' [myst.xref_missing]",
    ]
