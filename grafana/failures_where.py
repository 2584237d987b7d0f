"""Where deliveries fail: at which provider, at which stage, and in which of your mailings."""

from collections.abc import Mapping
from typing import Final

from failures_reasons import COLUMNS, WIDTHS
from grafana_foundation_sdk.models import dashboard
from panels import ALL_REASONS, NO_FAILURES, Board, Query, Text, bars, fixed, levels, table
from queries import BY_PROVIDER, BY_REASON, BY_STATUS, BY_TAG, JOB, PROVIDER_15M, in_range, only, per_bar, seen_per_bar

# The stages of a delivery, and the states of MailerQ that belong to each, in order.
STAGES: Final[Mapping[str, str]] = {
    "1 platform": "amqp|process|suppression|storage|responsive|personalize|rewrite|dns|bind",
    "2 connection": "connect|handshake|intro",
    "3 session": "ehlo|helo|starttls|authplain|authlogin|authusername|authpassword|authcram|authresponse",
    "4 mailfrom": "mailfrom",
    "5 rcptto": "rcptto",
    "6 message": "data|message",
    "7 bounce": "bounce",
    "unknown": "idle|unknown|other|none",
}


def add(board: Board) -> None:
    """Add the panels on providers and stages to the board."""
    board.row("Providers and stages")
    board.line(8, (12, _by_provider()), (12, _providers()))
    board.line(8, (8, _stages()), (8, _code_classes()), (8, _bounces()))


def add_tags(board: Board) -> None:
    """Add the panel on tags, in a collapsed row, because only users who list tags have data for it."""
    board.folded("Tags", 8, (24, _tags()))


def _by_provider() -> dashboard.Panel:
    text = Text(
        "Failures by provider",
        "Failures over time, at the ten mailbox providers with the most failures in this range. “other” is every "
        f"domain that belongs to no known provider. {ALL_REASONS}",
        NO_FAILURES,
    )
    query = Query(seen_per_bar(BY_PROVIDER, by="provider", most=10), "{{provider}}")
    return bars(text, query, totals=False, overrides={"other": {"color": fixed("#8e8e8e")}})


def _providers() -> dashboard.Panel:
    text = Text(
        "Providers",
        "The 20 mailbox providers with the most failures in this range: failures in the last 15 minutes, the usual "
        "number for 15 minutes, the first divided by the second (usual counts as at least 1), failures in this range, "
        f"and in the same range a week ago. {ALL_REASONS}",
        NO_FAILURES,
    )
    most = f"topk(20, {in_range(BY_PROVIDER, by='provider')} > 0)"
    now, known = (f"sum by (provider) ({only(series)})" for series in (PROVIDER_15M, f"{PROVIDER_15M}_expected"))
    # A provider that first occurred within the last hour has no usual number yet. If others have one, it is 0.
    usual = f"({known} or 0 * {now} and on () sum({only(PROVIDER_15M + '_expected')}))"
    return table(
        text,
        Query(f"{now} and on (provider) {most}"),
        Query(f"{usual} and on (provider) {most}"),
        Query(f"{now} / clamp_min({usual}, 1) and on (provider) {most}"),
        Query(most),
        Query(f"{in_range(BY_PROVIDER, by='provider', ago='1w')} and on (provider) {most}"),
        columns={"provider": "provider", **COLUMNS},
        sort="× usual",
        overrides={"provider": {"custom.minWidth": 110}} | WIDTHS,
    )


def _stages() -> dashboard.Panel:
    text = Text(
        "Delivery stage",
        "Failures in this range by stage: sending platform, connection, session (greeting, TLS, login), sender, "
        "recipient, message, or bounced after it was accepted. docs/dashboards.md lists the states of each stage. "
        f"{ALL_REASONS}",
        "No data",
    )
    there = f"0 * group(last_over_time({only(BY_REASON)}[$__range]))"
    return levels(
        text,
        *(
            Query(in_range(BY_STATUS, f'{JOB},state=~"{states}"') + f" or {there}", stage)
            for stage, states in STAGES.items()
        ),
    )


def _code_classes() -> dashboard.Panel:
    text = Text(
        "Temporary or permanent",
        "Failures by class of the SMTP reply code. 4xx: temporary, a retry may succeed. 5xx: permanent. No code: the "
        f"report had none. {ALL_REASONS}",
        NO_FAILURES,
    )
    names = {
        "4xx": ("4xx: temporary", "yellow"),
        "5xx": ("5xx: permanent", "red"),
        "none": ("no code", "#8e8e8e"),
        "2xx": ("2xx: accepted", "green"),
    }
    return bars(
        text,
        Query(seen_per_bar(BY_STATUS, by="code_class"), "{{code_class}}"),
        overrides={name: {"displayName": shown, "color": fixed(color)} for name, (shown, color) in names.items()},
    )


def _bounces() -> dashboard.Panel:
    text = Text(
        "Immediate or bounced later",
        "Failures before or during the SMTP conversation, and messages that were accepted first and bounced later "
        f"(state bounce). {ALL_REASONS}",
        NO_FAILURES,
    )
    return bars(
        text,
        Query(per_bar(BY_STATUS, JOB + ',state!="bounce"'), "immediate"),
        Query(per_bar(BY_STATUS, JOB + ',state="bounce"'), "bounced later"),
        overrides={"immediate": {"color": fixed("blue")}, "bounced later": {"color": fixed("purple")}},
    )


def _tags() -> dashboard.Panel:
    text = Text(
        "Failures by tag",
        "Failures by tag of the message, for the tags in the setting tags.count. A failure with two of them counts "
        f"under both, and one with none of them under “other”. {ALL_REASONS}",
        NO_FAILURES,
    )
    return bars(text, Query(seen_per_bar(BY_TAG, by="tag"), "{{tag}}"))
