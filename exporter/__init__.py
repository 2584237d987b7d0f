"""Receive SMTPeter's delivery failures and expose them as Prometheus counters."""

__version__ = "0.1.0"
