"""Where it fails: at which provider, and how far the message got; and of which mails."""

from collections.abc import Mapping
from typing import Final

from failures_reasons import COLUMNS, WIDTHS
from grafana_foundation_sdk.models import dashboard
from panels import ALL_REASONS, NO_FAILURES, Board, Query, Text, bars, fixed, levels, table
from queries import BY_PROVIDER, BY_REASON, BY_STATUS, BY_TAG, JOB, PROVIDER_15M, in_range, only, per_bar, seen_per_bar

# The way of a message, by MailerQ's states in their order.
STAGES: Final[Mapping[str, str]] = {
    "1 platform": "amqp|process|suppression|storage|responsive|personalize|rewrite|dns|bind",
    "2 connection": "connect|handshake|intro",
    "3 session": "ehlo|helo|starttls|authplain|authlogin|authusername|authpassword|authcram|authresponse",
    "4 mailfrom": "mailfrom",
    "5 rcptto": "rcptto",
    "6 message": "data|message",
    "7 bounce": "bounce",
    "not told": "idle|unknown|other|none",
}


def add(board: Board) -> None:
    """Put it on the board."""
    board.row("Where")
    board.line(8, (12, _by_provider()), (12, _providers()))
    board.line(8, (8, _stages()), (8, _code_classes()), (8, _bounces()))


def add_tags(board: Board) -> None:
    """Put on the board which mails it was, for those who have named tags; shut at first."""
    board.folded("Tags", 8, (24, _tags()))


def _by_provider() -> dashboard.Panel:
    text = Text(
        "Failures by provider",
        "The ten mailbox providers with most failures in this range, over time. Recipients at other domains are "
        f"“other”. {ALL_REASONS}",
        NO_FAILURES,
    )
    query = Query(seen_per_bar(BY_PROVIDER, by="provider", most=10), "{{provider}}")
    return bars(text, query, totals=False, overrides={"other": {"color": fixed("#8e8e8e")}})


def _providers() -> dashboard.Panel:
    text = Text(
        "Providers",
        "The twenty mailbox providers with most failures in this range: failures of the last 15 minutes, how many are "
        "usual in such a time, how many times that is (usual counts as at least 1), in this range, and a week ago. "
        f"{ALL_REASONS}",
        NO_FAILURES,
    )
    most = f"topk(20, {in_range(BY_PROVIDER, by='provider')} > 0)"
    now, usual = (f"sum by (provider) ({only(series)})" for series in (PROVIDER_15M, f"{PROVIDER_15M}_expected"))
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
        "Where in the conversation",
        "Failures in this range along the way of a message: before anything left the sending platform, connection, "
        "greeting with TLS and login, sender, recipient, the message itself, and what was accepted first and came back "
        f"later. The states of each are in docs/dashboards.md. {ALL_REASONS}",
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
        "Failures by class of the SMTP reply code: 4xx may pass on a later try, 5xx won't; none came with no code. "
        f"{ALL_REASONS}",
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
        "At once, or later",
        "Failures of which the receiving server told in the SMTP conversation, and those that it accepted first and "
        f"sent back (state bounce). {ALL_REASONS}",
        NO_FAILURES,
    )
    return bars(
        text,
        Query(per_bar(BY_STATUS, JOB + ',state!="bounce"'), "at once"),
        Query(per_bar(BY_STATUS, JOB + ',state="bounce"'), "came back later"),
        overrides={"at once": {"color": fixed("blue")}, "came back later": {"color": fixed("purple")}},
    )


def _tags() -> dashboard.Panel:
    text = Text(
        "Failures by tag",
        "Failures by tag of the mail, of the tags that the setting tags.count names; one with two tags counts in "
        f"both. {ALL_REASONS}",
        NO_FAILURES,
    )
    return bars(text, Query(seen_per_bar(BY_TAG, by="tag"), "{{tag}}"))
