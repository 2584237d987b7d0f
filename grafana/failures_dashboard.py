"""The dashboard SMTPeter / Failures: what fails, where, and since when. The most urgent panels come first."""

from collections.abc import Mapping
from typing import Any

import failures_codes as codes
import failures_ratio as ratio
import failures_reasons as reasons
import failures_stats as stats
import failures_where as where
import frame
from grafana_foundation_sdk.models import dashboard
from panels import Board
from queries import only


def build(limits: Mapping[str, Any]) -> dashboard.Dashboard:
    """Return the dashboard. ``limits`` is the content of deploy/prometheus/thresholds.toml."""
    board = Board()
    docs = limits["links"]["docs"]
    stats.add(board, docs)
    reasons.add(board, limits)
    ratio.add(board)
    where.add(board)
    codes.add(board, docs)
    where.add_tags(board)
    return frame.framed(
        "Failures",
        "Which deliveries of your mail fail, where, and since when.",
        board,
        docs=docs,
        variables=[
            frame.choice("reason", "Reason", only("smtpeter_failures_by_reason_total"), "Why deliveries failed."),
        ],
    )
