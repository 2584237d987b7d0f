"""The commands that post failures to a URL, as SMTPeter would: ``send`` one, ``simulate`` a stream of them."""

import random
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from exporter.classification.reason import REASONS
from exporter.settings.values import duration
from exporter.simulator.client import FORMS, Signing, send, signing
from exporter.simulator.simulation import Clock, Simulation, target_of
from exporter.simulator.traffic import DAY, Spike, Traffic


def _signer(key: Path | None, key_id: str | None, account: str | None) -> Signing | None:
    if key and key_id and account:
        return signing(key, key_id, account)
    if key or key_id or account:
        raise click.UsageError("--sign-key, --sign-key-id and --sign-account go together")
    return None


def _how_to_send(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--sign-account", help="Account to sign for, such as environment-1234."),
        click.option("--sign-key-id", help="Name in DNS at which the public key is found."),
        click.option(
            "--sign-key", type=click.Path(path_type=Path), help="PEM file of an RSA private key to sign with."
        ),
        click.option("--format", "form", type=click.Choice(FORMS), default=FORMS[0], show_default=True),
    ):
        command = option(command)
    return command


_ANSWER: Final = (
    "5.1.1 The email account that you tried to reach does not exist. Please check the address for typing mistakes. "
    "- gsmtp"
)


@click.command("send")
@click.argument("url")
@click.option("--id", "message_id", help="Id of the message. Default: a new one, so that it counts.")
@click.option("--recipient", default="no.such.user@gmail.com", show_default=True, help="Address that failed.")
@click.option("--state", default="rcptto", show_default=True, help="Where in the conversation it failed.")
@click.option("--code", default="550", show_default=True, help="SMTP reply code.")
@click.option("--extended", default="5.1.1", show_default=True, help="Enhanced status code.")
@click.option("--description", default=_ANSWER, show_default=True, help="The server's text.")
@_how_to_send
def send_command(  # noqa: PLR0913, PLR0917 -- click calls it, by name
    url: str,
    message_id: str | None,
    form: str,
    sign_key: Path | None,
    sign_key_id: str | None,
    sign_account: str | None,
    **fields: str,
) -> None:
    """Post one failure to URL as SMTPeter would and say what came back; exit with 1 unless it was 200."""
    signer = _signer(sign_key, sign_key_id, sign_account)
    answer = send(url, {"id": message_id or uuid.uuid4().hex, **fields}, form=form, signer=signer)
    click.echo(f"{answer.status} {answer.phrase}: {answer.body}".rstrip(": "))
    if answer.status != 200:
        sys.exit(1)


_LONGEST_DAYS: Final = 3_660


def _seconds(text: str) -> float:
    """What a duration such as 2m means; ten years at most, so that each time in it has a date."""
    try:
        seconds = duration(text)
    except ValueError:
        raise click.BadParameter(f"{text!r}: expected a duration such as 90s, 2m or 1d12h") from None
    if seconds > _LONGEST_DAYS * DAY:
        raise click.BadParameter(f"{text!r}: expected a duration of at most {_LONGEST_DAYS}d")
    return seconds


def _number(_ctx: click.Context, _option: click.Parameter, value: float) -> float:
    """Refuse nan, which lies in every range."""
    if value != value:  # noqa: PLR0124 -- that is what nan is
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
    help="How many, on the average of a week; more in the morning, fewer at night and at the weekend.",
)
@click.option(
    "--spike",
    type=click.Choice([*REASONS, "all"]),
    metavar="REASON",
    help="Send many more of this reason for a while, or of all.",
)
@click.option(
    "--spike-factor",
    type=click.FloatRange(1, 1_000),
    callback=_number,
    default=10,
    show_default=True,
    help="How many times as many; of a rare reason at least as many as there are failures in all.",
)
@click.option(
    "--spike-after", type=_seconds, metavar="DURATION", default="2m", show_default=True, help="When the spike begins."
)
@click.option(
    "--spike-for", type=_seconds, metavar="DURATION", default="15m", show_default=True, help="How long the spike lasts."
)
@click.option(
    "--past",
    type=_seconds,
    metavar="DURATION",
    default="0s",
    show_default=True,
    help="So much of the past is sent first, as fast as it goes; the exporter counts it now, not then.",
)
@click.option("--for", "lasting", type=_seconds, metavar="DURATION", help="When to stop. Default: not by itself.")
@click.option(
    "--speed",
    type=click.FloatRange(0.01, 100_000),
    callback=_number,
    default=1,
    show_default=True,
    help="How many times faster than real time; all durations are of the simulated time.",
)
@click.option("--seed", type=int, help="The same seed sends the same. Default: another one each time.")
@_how_to_send
def simulate_command(  # noqa: PLR0913, PLR0917 -- click calls it, by name
    url: str,
    failures_per_day: float,
    spike: str | None,
    spike_factor: float,
    spike_after: float,
    spike_for: float,
    past: float,
    lasting: float | None,
    speed: float,
    seed: int | None,
    form: str,
    sign_key: Path | None,
    sign_key_id: str | None,
    sign_account: str | None,
) -> None:
    """Post a believable stream of failures to URL, as SMTPeter would, until interrupted.

    For trying out dashboards and alerts. The exporter counts what is sent as it counts any failure, and for ever: point
    it at one that is there for trying, not at the one that you work with.
    """
    target = target_of(url)
    signer = _signer(sign_key, sign_key_id, sign_account)
    seed = random.randrange(1_000_000) if seed is None else seed  # noqa: S311 -- nothing to guess
    now = time.time()
    reason = None if spike == "all" else spike
    wave = Spike(reason, spike_factor, now + spike_after, now + spike_after + spike_for) if spike else None
    simulation = Simulation(
        target,
        Traffic(failures_per_day, seed=seed, spike=wave).requests(now - past),
        clock=Clock(now, speed),
        end=float("inf") if lasting is None else now + lasting,
        form=form,
        signer=signer,
        say=lambda line: click.echo(line, err=True),
    )
    click.echo(f"sending {failures_per_day:,.0f} failures a day to {url}, seed {seed}; Ctrl-C stops", err=True)
    simulation.run()
    click.echo(str(simulation.tally))
