"""The options that ``send`` and ``simulate`` share: how to sign, and how to write the body."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from exporter.simulator.client import FORMS, Signing, signing


def signer_of(key: Path | None, key_id: str | None, account: str | None) -> Signing | None:
    """Return how to sign with the three options, or None without them. Raises UsageError if only some are given."""
    if key and key_id and account:
        return signing(key, key_id, account)
    if key or key_id or account:
        raise click.UsageError("--sign-key, --sign-key-id and --sign-account go together")
    return None


def with_request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options about signing and the format of the body to a command."""
    for option in (
        click.option("--sign-account", help="Account that signs, such as environment-1234."),
        click.option("--sign-key-id", help="Name in DNS of the public key."),
        click.option(
            "--sign-key", type=click.Path(path_type=Path), help="PEM file of an RSA private key to sign with."
        ),
        click.option(
            "--format",
            "form",
            type=click.Choice(FORMS),
            default=FORMS[0],
            show_default=True,
            help="Format of the request's body.",
        ),
    ):
        command = option(command)
    return command
