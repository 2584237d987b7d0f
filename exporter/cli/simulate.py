"""``simulate``: the command that posts a stream of simulated events to a URL, as SMTPeter would."""

import random
import sys
import time
from pathlib import Path
from typing import Final

import click

from exporter.classification.loops import FAILURES, LOOPS
from exporter.classification.reason import REASONS
from exporter.cli.posting import signer_of, with_request_options
from exporter.errors import ExporterError
from exporter.settings.values import parse_duration
from exporter.simulator.mailings import BLOCK_REPLIES, Block, Mailing
from exporter.simulator.simulation import Clock, Simulation, target_of
from exporter.simulator.traffic import DAY, Spike, Traffic

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


def _loops(_ctx: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the loops that are named, in the order of the table."""
    words = {word.strip() for text in texts for word in text.split(",")}
    if not words <= LOOPS.keys():
        raise click.BadParameter(f"{','.join(texts)!r}: expected one or more of {', '.join(LOOPS)}")
    return tuple(loop for loop in LOOPS if loop in words)


@click.command("simulate")
@click.argument("url")
@click.option(
    "--loops",
    multiple=True,
    default=(FAILURES.name,),
    callback=_loops,
    show_default=True,
    metavar="LOOP,...",
    help=f"Loops to send: {', '.join(LOOPS)}. URL is that of failures, and the others are beside it. With other loops "
    "than failures, there are one to three mailings a week.",
)
@click.option(
    "--failures-per-day",
    type=click.FloatRange(1, 10_000_000),
    callback=_number,
    default=1_000,
    show_default=True,
    help="Average over a week, with more in the morning and fewer at night and at weekends.",
)
@click.option(
    "--deliveries-per-failure",
    type=click.FloatRange(0, 10_000),
    callback=_number,
    default=50,
    show_default=True,
    help="Deliveries for each failure, if other loops than failures are sent.",
)
@click.option(
    "--mailing-after",
    type=_seconds,
    metavar="DURATION",
    help="Add a mailing that begins after this time. For half an hour, there are 20 times as many messages, of which "
    "with a failure ratio of their own.",
)
@click.option(
    "--block",
    type=click.Choice(sorted(BLOCK_REPLIES)),
    metavar="PROVIDER",
    help=f"Let a provider ({', '.join(sorted(BLOCK_REPLIES))}) reject nine in ten messages, from --spike-after for the "
    "duration of --spike-for.",
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
@with_request_options
def simulate_command(  # noqa: PLR0913, PLR0917 -- click passes arguments by name
    url: str,
    loops: tuple[str, ...],
    failures_per_day: float,
    deliveries_per_failure: float,
    mailing_after: float | None,
    block: str | None,
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

    With --loops, also posts deliveries, bounces and complaints, and finally prints how many events each provider had.

    Gives up if URL accepts no connection at the start, or does not answer for a minute later on. Exits with 1 unless
    all requests were answered 200.

    Use it to try out dashboards and alerts. The exporter counts these failures permanently, as it counts any other, so
    never send them to an exporter in production.
    """
    target = target_of(url)
    others = loops != (FAILURES.name,)
    if not others and (block or mailing_after is not None):
        raise click.UsageError("--block and --mailing-after need --loops with more than failures")
    signer = signer_of(sign_key, sign_key_id, sign_account)
    seed = random.randrange(1_000_000) if seed is None else seed  # noqa: S311 -- not a secret
    now = time.time()
    reason = None if spike == "all" else spike
    begin, end = now + spike_after, now + spike_after + spike_for
    traffic = Traffic(
        failures_per_day,
        seed=seed,
        spike=Spike(reason, spike_factor, begin, end) if spike else None,
        loops=loops,
        deliveries_per_failure=deliveries_per_failure,
        mailing=None if mailing_after is None else Mailing.on_demand(now + mailing_after, seed),
        block=Block(block, begin, end) if block else None,
    )
    simulation = Simulation(
        target,
        traffic.requests(now - past),
        clock=Clock(now, speed),
        end=float("inf") if run_for is None else now + run_for,
        form=form,
        signer=signer,
        say=lambda line: click.echo(line, err=True),
        loops=loops,
    )
    click.echo(f"sending {failures_per_day:,.0f} failures a day to {url}, seed {seed}; Ctrl-C stops", err=True)
    simulation.run()
    click.echo(simulation.tally)
    if others:
        click.echo(simulation.truth)
    if simulation.problem:
        raise ExporterError(simulation.problem)
    if simulation.tally.uncounted:
        sys.exit(1)
