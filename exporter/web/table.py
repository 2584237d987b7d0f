"""The table of the status page: failures of the last 24 hours by reason and provider, and their ratio.

Pure, as ``checks.py``.
"""

from collections import Counter
from collections.abc import Collection
from typing import Final, NamedTuple

from exporter.classification.loops import DELIVERIES
from exporter.metrics import recent
from exporter.metrics.recent import BUCKET, SPAN, LastDay
from exporter.web.facts import Facts

REASONS: Final = 10
PROVIDERS: Final = 8
"""Numbers of reasons and providers in the table. The others share a row and a column."""
NO_RATIO: Final = "–"  # noqa: RUF001 -- a dash for no value
_LATE: Final = 3_600
"""Seconds between the first failure and the first delivery after which earlier deliveries are probably missing."""


class Table(NamedTuple):
    """A table of texts. Headings are Markdown with code spans only.

    ``columns`` are the headings of all columns but the first. A row has its heading and a cell for each of them.
    ``rows`` are by reason, ``sums`` the rows below.
    """

    columns: list[str]
    rows: list[tuple[str, list[str]]]
    sums: list[tuple[str, list[str]]]


def period(facts: Facts) -> tuple[str, float | None]:
    """Return what follows "counted", without a full stop, and the time that the page appends to it."""
    if facts.now - facts.recent.since >= SPAN - BUCKET:
        return "by this exporter in the last 24 hours", None
    return "by this exporter since it started", facts.recent.since


def remarks(facts: Facts) -> list[str]:
    """Return what the table leaves out, and how the ratio is meant, as sentences in Markdown."""
    return [*(["Failures that other replicas counted are not included."] if facts.shared else []), _ratio_remark(facts)]


def _ratio_remark(facts: Facts) -> str:
    if DELIVERIES not in facts.loops:
        return "For a failure ratio, add deliveries to `webhook.loops`."
    if recent.DELIVERIES_BY_PROVIDER not in facts.recent.first:
        return "There is no failure ratio, because no delivery was counted."
    if not _has_ratio(facts.recent):
        return (
            "There is no failure ratio yet: the first delivery was counted long after the first failure, so earlier "
            "deliveries are probably missing."
        )
    return (
        "The failure ratio is the number of failures divided by the number of finished messages. Those are all "
        "deliveries, and the failures that were not deliveries first."
    )


def table(facts: Facts) -> Table | None:
    """Return the table, or None if no failure was counted."""
    failures: Counter[tuple[str, str]] = Counter()
    after_delivery: Counter[str] = Counter()
    deliveries: Counter[str] = Counter()
    for (family, *labels), number in facts.recent.counts.items():
        if family == recent.BY_REASON_PROVIDER:
            failures[labels[0], labels[1]] = number
        else:
            (deliveries if family == recent.DELIVERIES_BY_PROVIDER else after_delivery)[labels[0]] = number
    if not failures:
        return None

    reasons: Counter[str] = Counter()
    providers = Counter(dict.fromkeys(deliveries, 0))
    for (reason, provider), number in failures.items():
        reasons[reason] += number
        providers[provider] += number
    columns = [("All", set(providers)), *_groups(providers, PROVIDERS, "providers")]

    def cells(of: Collection[str]) -> list[str]:
        return [f"{sum(failures[reason, name] for reason in of for name in names):,}" for _, names in columns]

    sums = [("All failures", cells(reasons))]
    if DELIVERIES in facts.loops:
        delivered = [sum(deliveries[name] for name in names) for _, names in columns]
        failed = [sum(number for (_, name), number in failures.items() if name in names) for _, names in columns]
        late = [sum(after_delivery[name] for name in names) for _, names in columns]
        known = _has_ratio(facts.recent)
        ratios = [_ratio(*numbers) if known else NO_RATIO for numbers in zip(failed, delivered, late, strict=True)]
        sums += [("Deliveries", [f"{number:,}" for number in delivered]), ("Failure ratio", ratios)]
    rows = [(heading, cells(names)) for heading, names in _groups(reasons, REASONS, "reasons")]
    return Table([heading for heading, _ in columns], rows, sums)


def _groups(counts: Counter[str], most: int, what: str) -> list[tuple[str, set[str]]]:
    """Return headings and names of rows or columns: one for each name, highest count first, then one for the rest.

    The rest is not called other, which is the name of a provider.
    """
    names = sorted(counts, key=lambda name: (-counts[name], name))
    if len(names) <= most + 1:
        most += 1
    groups = [(f"`{name}`", {name}) for name in names[:most]]
    rest = set(names[most:])
    return [*groups, (f"{len(rest)} more {what}", rest)] if rest else groups


def _has_ratio(day: LastDay) -> bool:
    """Return whether deliveries were counted about as early as failures: otherwise, some are probably missing."""
    first = day.first.get(recent.DELIVERIES_BY_PROVIDER)
    return first is not None and first <= day.first.get(recent.BY_REASON_PROVIDER, first) + _LATE


def _ratio(failed: int, delivered: int, after_delivery: int) -> str:
    """Return the failure ratio in percent. There is none if more failed than finished: deliveries are missing."""
    finished = delivered + failed - after_delivery
    if not finished or failed > finished:
        return NO_RATIO
    ratio = failed / finished
    if 0 < ratio < 0.0005:
        return "<0.1%"
    return f"{ratio:.1%}" if failed else "0%"
