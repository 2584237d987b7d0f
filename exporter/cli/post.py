"""``send`` and ``simulate``: the commands that post failures to a URL, as SMTPeter would."""

import random
import sys
import time
import uuid
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import click

from exporter.classification.reason import REASONS
from exporter.errors import ExporterError
from exporter.settings.values import parse_duration
from exporter.simulator.client import FORMS, Signing, hint_for, send, signing
from exporter.simulator.simulation import Clock, Simulation, target_of
from exporter.simulator.traffic import DAY, Spike, Traffic


def _signer(key: Path | None, key_id: str | None, account: str | None) -> Signing | None:
    if key and key_id and account:
        return signing(key, key_id, account)
    if key or key_id or account:
        raise click.UsageError("--sign-key, --sign-key-id and --sign-account go together")
    return None


def _with_request_options(command: Callable[..., Any]) -> Callable[..., Any]:
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


_ANSWER: Final = (
    "5.1.1 The email account that you tried to reach does not exist. Please check the address for typing mistakes. "
    "- gsmtp"
)


@click.command("send")
@click.argument("url")
@click.option("--id", "message_id", help="ID of the message. Default: a new one, so that the failure is counted.")
@click.option("--recipient", default="no.such.user@gmail.com", show_default=True, help="Address of the recipient.")
@click.option(
    "--state", default="rcptto", show_default=True, help="Stage of the SMTP conversation at which delivery failed."
)
@click.option("--code", default="550", show_default=True, help="SMTP reply code.")
@click.option("--extended", default="5.1.1", show_default=True, help="Enhanced status code.")
@click.option("--description", default=_ANSWER, show_default=True, help="Text of the mail server's answer.")
@_with_request_options
def send_command(  # noqa: PLR0913, PLR0917 -- click passes arguments by name
    url: str,
    message_id: str | None,
    form: str,
    sign_key: Path | None,
    sign_key_id: str | None,
    sign_account: str | None,
    **fields: str,
) -> None:
    """Post one failure to URL as SMTPeter would, and print the answer. Exits with 1 unless the answer is 200."""
    signer = _signer(sign_key, sign_key_id, sign_account)
    answer = send(url, {"id": message_id or uuid.uuid4().hex, **fields}, form=form, signer=signer)
    click.echo(answer)
    if hint := hint_for(url, answer, signed=signer is not None):
        click.echo(hint, err=True)
    if answer.status != HTTPStatus.OK:
        sys.exit(1)


_MAX_DAYS: Final = 3_660


def _seconds(text: str) -> float:
    """Convert a duration such as 2m to seconds; at most ten years, so that every time in it can be a date."""
    try:
        seconds = parse_duration(text)
    except ValueError:
        raise click.BadParameter(f"{text!r}: expected a duration such as 90s, 2m or 1d12h") from None
    if seconds > _MAX_DAYS * DAY:
        raise click.BadParameter(f"{text!r}: expected a duration of at most {_MAX_DAYS}d")
    return seconds


def _number(_ctx: click.Context, _option: click.Parameter, value: float) -> float:
    """Reject nan, which passes the check of any range."""
    if value != value:  # noqa: PLR0124 -- true only for nan
        raise click.BadParameter(f"{value} is not a number.")
    return value


@click.command("simulate")
@click.argument("url")
@click.option(
    "--failures-per-day",
    type=click.FloatRange(1, 10_000_000),
    callback=_number,
    default=1_000,
    show_default=True,
    help="Average over a week, with more in the morning and fewer at night and at weekends.",
)
@click.option(
    "--spike",
    type=click.Choice([*REASONS, "all"]),
    metavar="REASON",
    help="Send many more failures with this reason for a while; all means every reason.",
)
@click.option(
    "--spike-factor",
    type=click.FloatRange(1, 1_000),
    callback=_number,
    default=10,
    show_default=True,
    help="How many times more. A rare reason gets at least as many as all reasons together have on average.",
)
@click.option(
    "--spike-after",
    type=_seconds,
    metavar="DURATION",
    default="2m",
    show_default=True,
    help="Time until the spike begins.",
)
@click.option(
    "--spike-for", type=_seconds, metavar="DURATION", default="15m", show_default=True, help="Length of the spike."
)
@click.option(
    "--past",
    type=_seconds,
    metavar="DURATION",
    default="0s",
    show_default=True,
    help="Length of the past to send first, as fast as possible. The exporter counts it now, not in the past.",
)
@click.option(
    "--for", "run_for", type=_seconds, metavar="DURATION", help="Stop after this long. Default: run until interrupted."
)
@click.option(
    "--speed",
    type=click.FloatRange(0.01, 100_000),
    callback=_number,
    default=1,
    show_default=True,
    help="Speed relative to real time. All durations are in simulated time.",
)
@click.option(
    "--seed", type=int, help="Seed of the traffic. The same seed gives the same failures. Default: a random one."
)
@_with_request_options
def simulate_command(  # noqa: PLR0913, PLR0917 -- click passes arguments by name
    url: str,
    failures_per_day: float,
    spike: str | None,
    spike_factor: float,
    spike_after: float,
    spike_for: float,
    past: float,
    run_for: float | None,
    speed: float,
    seed: int | None,
    form: str,
    sign_key: Path | None,
    sign_key_id: str | None,
    sign_account: str | None,
) -> None:
    """Post a realistic stream of failures to URL, as SMTPeter would, until interrupted.

    Gives up if URL accepts no connection at the start, or does not answer for a minute later on. Exits with 1 unless
    all requests were answered 200.

    Use it to try out dashboards and alerts. The exporter counts these failures permanently, as it counts any other, so
    never send them to an exporter in production.
    """
    target = target_of(url)
    signer = _signer(sign_key, sign_key_id, sign_account)
    seed = random.randrange(1_000_000) if seed is None else seed  # noqa: S311 -- not a secret
    now = time.time()
    reason = None if spike == "all" else spike
    wave = Spike(reason, spike_factor, now + spike_after, now + spike_after + spike_for) if spike else None
    simulation = Simulation(
        target,
        Traffic(failures_per_day, seed=seed, spike=wave).requests(now - past),
        clock=Clock(now, speed),
        end=float("inf") if run_for is None else now + run_for,
        form=form,
        signer=signer,
        say=lambda line: click.echo(line, err=True),
    )
    click.echo(f"sending {failures_per_day:,.0f} failures a day to {url}, seed {seed}; Ctrl-C stops", err=True)
    simulation.run()
    click.echo(simulation.tally)
    if simulation.problem:
        raise ExporterError(simulation.problem)
    if simulation.tally.uncounted:
        sys.exit(1)
