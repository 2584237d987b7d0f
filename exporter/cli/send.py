"""``send``: the command that posts one event to a URL, as SMTPeter would."""

import sys
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from exporter.classification.loops import ABUSES, BOUNCES, DELIVERIES, FAILURES, LOOPS
from exporter.cli.posting import signer_of, with_request_options
from exporter.simulator.client import hint_for, send

_ANSWER: Final = (
    "5.1.1 The email account that you tried to reach does not exist. Please check the address for typing mistakes. "
    "- gsmtp"
)
_OPTIONS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    FAILURES.name: ("recipient", "state", "code", "extended", "description"),
    DELIVERIES.name: ("recipient",),
    BOUNCES.name: ("recipient", "mime"),
    ABUSES.name: ("emailfrom", "mime"),
}
"""For each loop, the options that become variables of its events."""


def _variables(loop: str, options: Mapping[str, Any]) -> dict[str, str]:
    """Return the variables of an event. An option that another loop has, or a missing one, is an error of usage."""
    context = click.get_current_context()
    for name in options:
        if name not in _OPTIONS_OF[loop] and context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            (option,) = (each.opts[0] for each in context.command.params if each.name == name)
            raise click.UsageError(f"{option} is not for events of {loop}")
    fields = {name: options[name] for name in _OPTIONS_OF[loop]}
    if "mime" in fields:
        if fields["mime"] is None:
            raise click.UsageError(f"events of {loop} need --mime")
        fields["mime"] = fields["mime"].read_bytes().decode(errors="surrogateescape")
    return fields if loop == FAILURES.name else {"type": LOOPS[loop].type, **fields}


@click.command("send")
@click.argument("url")
@click.option(
    "--loop",
    type=click.Choice(list(LOOPS)),
    default=FAILURES.name,
    show_default=True,
    help="Loop of the event. The path of URL must be that of the loop.",
)
@click.option("--id", "message_id", help="ID of the message. Default: a new one, so that the event is counted.")
@click.option("--recipient", default="no.such.user@gmail.com", show_default=True, help="Address of the recipient.")
@click.option(
    "--state", default="rcptto", show_default=True, help="Stage of the SMTP conversation at which delivery failed."
)
@click.option("--code", default="550", show_default=True, help="SMTP reply code.")
@click.option("--extended", default="5.1.1", show_default=True, help="Enhanced status code.")
@click.option("--description", default=_ANSWER, show_default=True, help="Text of the mail server's answer.")
@click.option(
    "--mime",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File with the message that came back, or with the report of a complaint.",
)
@click.option(
    "--email-from", "emailfrom", default="feedback@gmail.com", show_default=True, help="Sender of the complaint."
)
@with_request_options
def send_command(  # noqa: PLR0913, PLR0917 -- click passes arguments by name
    url: str,
    loop: str,
    message_id: str | None,
    form: str,
    sign_key: Path | None,
    sign_key_id: str | None,
    sign_account: str | None,
    **options: Any,  # noqa: ANN401 -- texts, and a path
) -> None:
    """Post one failure to URL as SMTPeter would, and print the answer. Exits with 1 unless the answer is 200.

    With --loop, posts an event of another loop instead.
    """
    signer = signer_of(sign_key, sign_key_id, sign_account)
    fields = {"id": message_id or uuid.uuid4().hex, **_variables(loop, options)}
    answer = send(url, fields, form=form, signer=signer)
    click.echo(answer)
    if hint := hint_for(url, answer, signed=signer is not None):
        click.echo(hint, err=True)
    if answer.status != HTTPStatus.OK:
        sys.exit(1)
