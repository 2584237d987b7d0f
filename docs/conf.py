"""How Sphinx makes the site of the Markdown pages; ``make site`` runs it. What stands where is in ``_toc.yml``.

The source folder is that of the project, so that links from page to page are the same files here as on a git server. A
link to a page becomes one to its page of the site, a link to any other file (rules, examples) hands that file out.
"""

from typing import ClassVar

from pygments.lexers.promql import PromQLLexer
from pygments.token import Name
from sphinx.application import Sphinx

from exporter import __version__

project = "smtpeter-exporter"
author = "the smtpeter-exporter authors"
release = version = __version__
language = "en"

extensions = ["myst_parser", "sphinx_external_toc"]
external_toc_path = "docs/_toc.yml"
include_patterns = ["*.md", "docs/**", "deploy/**", "grafana/**"]
exclude_patterns = [".*", "build", "dist", "bench", "exporter", "requirements", "tests", "**/node_modules"]
source_suffix = {".md": "markdown"}

suppress_warnings = ["etoc.glob"]  # there may be no page of a kind, but a page in no list is an error
nitpicky = True
myst_heading_anchors = 4
myst_url_schemes = ("http", "https")
highlight_language = "text"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_title = project
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False


class PromQL(PromQLLexer):
    """PromQL with the names of recorded series, in which there are colons; Pygments takes these for errors."""

    tokens: ClassVar = {"root": [(r"[a-zA-Z_]\w*:[\w:]+", Name.Variable), *PromQLLexer.tokens["root"]]}


def language_of(_app: Sphinx, page: str, _template: str, context: dict[str, object], _doctree: object) -> None:
    """Say in which language a page is: docs/nl is in Dutch."""
    if page.startswith("docs/nl/"):
        context["language"] = "nl"


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.add_lexer("promql", PromQL)
    app.connect("html-page-context", language_of)
