"""The status page as HTML that loads nothing and runs nothing. ``text.py`` has the same as text."""

import base64
import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from html import escape
from typing import Final

from exporter.web.checks import notices, parts, rejections, steps, verdict
from exporter.web.facts import Facts
from exporter.web.lines import Line, State, ago
from exporter.web.loops import loop_lines
from exporter.web.table import period, remarks, table

_STYLE: Final = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --edge: #d5d9e0; --text: #1c2330; --soft: #4d5768; --link: #0b57b0; --code: #eceff3;
  --good: #0d6b35; --bad: #b3161c; --open: #4a4fa3; --unclear: #7a5200;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161d; --card: #1b212b; --edge: #38414f; --text: #e7eaf0; --soft: #aeb7c5; --link: #8ab8ff;
    --code: #2a323e; --good: #6fd39a; --bad: #ff9a94; --open: #b3b8ff; --unclear: #f0c36a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 1.25rem 1rem 2rem; max-width: 46rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1 { font-size: 1.15rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 1.75rem 0 .6rem; }
h3 { font-size: 1rem; margin: 0; }
p { margin: .15rem 0 0; }
header p { color: var(--soft); font-size: .9rem; }
.verdict { font-size: 1.25rem; font-weight: 600; line-height: 1.35; margin: .2rem 0 .8rem; }
time { white-space: nowrap; }
ol, ul { list-style: none; margin: 0; padding: 0; }
.lines { background: var(--card); border: 1px solid var(--edge); border-radius: .5rem; }
.lines > li { padding: .7rem .9rem; }
ol { counter-reset: step; }
ol h3::before { counter-increment: step; content: counter(step) ". "; }
.lines > li + li { border-top: 1px solid var(--edge); }
.head { display: flex; flex-wrap: wrap; gap: 0 .75rem; justify-content: space-between; align-items: baseline; }
.state { font-weight: 600; font-size: .9rem; white-space: nowrap; }
.done, .ok { color: var(--good); }
.problem { color: var(--bad); }
.not-yet { color: var(--open); }
.cannot-tell { color: var(--unclear); }
.todo, .notice { color: var(--soft); }
.notice { margin-top: .6rem; }
.table { overflow-x: auto; background: var(--card); border: 1px solid var(--edge); border-radius: .5rem; }
.table:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table {
  min-width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; white-space: nowrap;
}
caption { text-align: left; padding: .5rem .7rem 0; color: var(--soft); }
th, td { padding: .25rem .7rem; text-align: right; font-weight: 400; }
thead th { vertical-align: bottom; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
tfoot tr:first-child > * { border-top: 1px solid var(--edge); }
code { font: .9em ui-monospace, monospace; background: var(--code); border-radius: .2rem; padding: .05em .25em; }
a { color: var(--link); }
a:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
"""

POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""The page's Content-Security-Policy: its own style, and nothing else."""

_SIGNS: Final = {State.DONE: "✓", State.OK: "✓", State.NOT_YET: "○", State.PROBLEM: "✗", State.UNKNOWN: "?"}
_LINKS: Final = {
    "metrics": "the metrics that Prometheus scrapes",
    "-/healthy": "whether the process runs",
    "-/ready": "whether failures can be recorded, and if not, why",
}


def page(facts: Facts) -> str:
    """Return the page as an HTML document."""
    state, words = verdict(facts)
    sentence, now = escape(words), datetime.fromtimestamp(facts.now, UTC)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{sentence} smtpeter-exporter</title>
<style>{_STYLE}</style>
</head>
<body>
<header>
<h1>smtpeter-exporter</h1>
<p>Counts the failed deliveries that SMTPeter reports, for Prometheus. Version {escape(facts.version)},
started {_time(facts.since, facts.now)}. This page shows the state at {now:%H:%M:%S} UTC; reload it to update.</p>
</header>
<main>
<h2>Does it work?</h2>
<p class="verdict {_kind(state)}">{_sign(state)} {sentence}</p>
<ol class="lines">
{_lines(steps(facts), facts)}
</ol>
{_notices(facts)}{_loops(facts)}<h2>Failures in the last 24 hours</h2>
{_table(facts)}
<h2>Rejected in the last hour</h2>
{_rejected(facts)}
<h2>Ledger{" and keys" if facts.signature_required else ""}</h2>
<ul class="lines">
{_lines(parts(facts), facts)}
</ul>
</main>
<footer>
<h2>More</h2>
<ul>
{_more(facts)}
</ul>
</footer>
</body>
</html>
"""


def _time(at: float, now: float) -> str:
    when = datetime.fromtimestamp(at, UTC)
    return f'<time datetime="{when:%Y-%m-%dT%H:%M:%SZ}" title="{when:%Y-%m-%d %H:%M:%S} UTC">{ago(now - at)}</time>'


def _marked(text: str) -> str:
    """Return Markdown with code spans only as HTML."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _lines(lines: Iterable[Line], facts: Facts) -> str:
    return "\n".join(_line(line, facts) for line in lines)


def _line(line: Line, facts: Facts) -> str:
    state = f'<span class="state {_kind(line.state)}">{_sign(line.state)} {line.state}</span>'
    rows = [f'<div class="head"><h3>{escape(line.title)}</h3> {state}</div>']
    when = "" if line.at is None else f" {_time(line.at, facts.now)}"
    requested = "" if line.requested is None else f" The last request arrived {_time(line.requested, facts.now)}."
    rows.append(f"<p>{_marked(line.text)}{when}.{requested}</p>")
    if line.docs:
        todo = f"To do: {_marked(line.todo)}" if line.todo else ""
        if hint := f"{todo}{_docs(line.docs, line.title, facts)}".lstrip():
            rows.append(f'<p class="todo">{hint}</p>')
    return "\n".join(["<li>", *rows, "</li>"])


def _kind(state: State) -> str:
    """Return the CSS class of a state."""
    return state.lower().replace(" ", "-")


def _sign(state: State) -> str:
    return f'<span aria-hidden="true">{_SIGNS[state]}</span>'


def _docs(place: str, about: str, facts: Facts) -> str:
    """Return a space and a link to a place in the documentation, or nothing if its URL is not set."""
    if not facts.docs_url:
        return ""
    return f' <a href="{escape(facts.docs_url)}/{place}" aria-label="More about {escape(about)}">More</a>'


def _notices(facts: Facts) -> str:
    return "".join(
        f'<p class="notice">{_marked(text)}{_docs(docs, "new series", facts) if docs else ""}</p>\n'
        for text, docs in notices(facts)
    )


def _loops(facts: Facts) -> str:
    lines = loop_lines(facts)
    return f'<h2>Other loops</h2>\n<ul class="lines">\n{_lines(lines, facts)}\n</ul>\n' if lines else ""


def _table(facts: Facts) -> str:
    covered, at = period(facts)
    counted = f"counted {covered}{'' if at is None else f' {_time(at, facts.now)}'}."
    found = table(facts)
    if found is None:
        return f"<p>No failure was {counted}</p>"
    head = "".join(f'<th scope="col">{_marked(heading)}</th>' for heading in ("Reason", *found.columns))
    notice = " ".join([f"The table shows failures {counted}", *map(_marked, remarks(facts))])
    more = _docs("page.md#failures-in-the-last-24-hours", "the table", facts)
    return f"""<div class="table" role="region" aria-label="Failures by reason and provider" tabindex="0">
<table>
<caption>Number of failures by reason and mailbox provider</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{_rows(found.rows)}
</tbody>
<tfoot>
{_rows(found.sums)}
</tfoot>
</table>
</div>
<p class="notice">{notice}{more}</p>"""


def _rows(rows: Iterable[tuple[str, list[str]]]) -> str:
    return "\n".join(
        f'<tr><th scope="row">{_marked(heading)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for heading, cells in rows
    )


def _rejected(facts: Facts) -> str:
    if not facts.refusals:
        return "<p>No request was rejected.</p>"
    rows = ['<ul class="lines">']
    for reason, times, what, todo in rejections(facts):
        rows += [
            f'<li>\n<div class="head"><h3><code>{reason}</code></h3> <span class="state">{times}</span></div>',
            f'<p>{_marked(what)}</p>\n<p class="todo">To do: {_marked(todo)}</p>\n</li>',
        ]
    rows.append("</ul>")
    if facts.docs_url:
        more = f'<a href="{escape(facts.docs_url)}/page.md#rejected-in-the-last-hour">More about rejected requests</a>'
        rows.append(f'<p class="notice">{more}</p>')
    return "\n".join(rows)


def _more(facts: Facts) -> str:
    links = {f"/{path}": (path, what) for path, what in _LINKS.items()}
    if facts.docs_url:
        links["Documentation"] = (f"{facts.docs_url}/page.md", "about this page, and everything else")
    return "\n".join(f'<li><a href="{escape(to)}">{name}</a>: {what}</li>' for name, (to, what) in links.items())
