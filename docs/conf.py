"""Sphinx configuration for ``make site``. The navigation is in ``_toc.yml``.

The source directory is the project's root, so that relative links work both on the site and on a git server. A link to
a page leads to that page of the site. A link to any other file, such as rules or examples, downloads the file.
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

suppress_warnings = ["etoc.glob"]  # a glob may match no page; a page that no glob matches is still an error
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
    """PromQL with colons in the names of recorded series, which Pygments marks as errors."""

    tokens: ClassVar = {"root": [(r"[a-zA-Z_]\w*:[\w:]+", Name.Variable), *PromQLLexer.tokens["root"]]}


def language_of(_app: Sphinx, page: str, _template: str, context: dict[str, object], _doctree: object) -> None:
    """Set the language of a page: those in docs/nl are Dutch."""
    if page.startswith("docs/nl/"):
        context["language"] = "nl"


def setup(app: Sphinx) -> None:
    """Register the lexer and the language with Sphinx."""
    app.add_lexer("promql", PromQL)
    app.connect("html-page-context", language_of)
