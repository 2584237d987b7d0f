"""The failure ratio: which share of finished deliveries fails."""

from typing import Final

from failures_reasons import COLORS
from grafana_foundation_sdk.models import dashboard
from panels import ALL_REASONS, Board, Query, Text, fixed, lines
from queries import BY_PROVIDER, BY_REASON, REASON, in_range, only

_NOTHING: Final = "No ratio: it needs the deliveries webhook, for at least an hour"
_WHAT: Final = (
    "Failures divided by finished deliveries. A delivery is finished when the message was delivered or has failed."
)


def add(board: Board) -> None:
    """Add the panels to the board."""
    board.row("Failure ratio")
    board.line(8, (8, _by_job()), (8, _by_provider()), (8, _by_reason()))


def _by_job() -> dashboard.Panel:
    text = Text(
        "Failure ratio",
        f"{_WHAT} Over the last hour and the last day before each point. If deliveries were not counted throughout "
        f"that time, there is no value. {ALL_REASONS}",
        _NOTHING,
    )
    return lines(
        text,
        *(Query(f"{_failed('job', window)} / {_finished('job', window)}", name) for window, name in _WINDOWS.items()),
        unit="percentunit",
        overrides={"last hour": {"color": fixed("red")}, "last day": {"color": fixed("blue")}},
    )


def _by_provider() -> dashboard.Panel:
    text = Text(
        "Failure ratio by provider",
        f"{_WHAT} Over the hour before each point, at the ten mailbox providers with the most failures in this range. "
        f"{ALL_REASONS}",
        _NOTHING,
    )
    ratio = f"{_failed('job_provider', '1h', by='provider')} / {_finished('job_provider', '1h', by='provider')}"
    most = f"topk(10, {in_range(BY_PROVIDER, by='provider', at=' @ end()')} > 0)"
    query = Query(f"{ratio}\nand on (provider) {most}", "{{provider}}")
    return lines(text, query, unit="percentunit", overrides={"other": {"color": fixed("#8e8e8e")}})


def _by_reason() -> dashboard.Panel:
    text = Text(
        "Failure ratio by reason",
        "Failures with a reason divided by all finished deliveries, over the hour before each point, for the selected "
        "reasons that occur in this range.",
        _NOTHING,
    )
    ratio = only("job_reason:smtpeter_failures:ratio_increase1h", REASON)
    failed = f"sum by (reason) ({ratio} * ignoring (reason) group_left {only('job:smtpeter_finished:increase1h')})"
    seen = f"{in_range(BY_REASON, REASON, by='reason', at=' @ end()')} > 0"
    query = Query(f"{failed} / on () group_left {_finished('job', '1h')}\nand on (reason) ({seen})", "{{reason}}")
    return lines(
        text,
        query,
        unit="percentunit",
        overrides={reason: {"color": fixed(color)} for reason, color in COLORS.items()},
    )


_WINDOWS: Final = {"1h": "last hour", "1d": "last day"}


def _failed(level: str, window: str, *, by: str = "") -> str:
    """Return the failures of the selected jobs in a window, computed from the ratio of each."""
    ratio = only(f"{level}:smtpeter_failures:ratio_increase{window}")
    return f"sum{f' by ({by})' if by else ''} ({ratio} * {only(f'{level}:smtpeter_finished:increase{window}')})"


def _finished(level: str, window: str, *, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} ({only(f'{level}:smtpeter_finished:increase{window}')})"
