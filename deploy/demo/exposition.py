"""What an exporter exposes at the end of each minute of simulated traffic."""

from collections import Counter
from collections.abc import Callable, Iterator
from math import exp, sqrt
from random import Random
from typing import Final, NamedTuple

from exporter.classification.labels import OTHER, labels_of
from exporter.classification.loops import FAILURES
from exporter.classification.reason import REASONS
from exporter.classification.series import FAMILIES, Series
from exporter.simulator.answers import ACCEPTING_REPLIES
from exporter.simulator.consequences import COMPLAINTS
from exporter.simulator.requests import SimulatedRequest

MINUTE: Final = 60
UNSIGNED_PER_DAY: Final = 20

_LAST: Final = "smtpeter_last_failure_timestamp_seconds"
_ANSWERED: Final = "smtpeter_exporter_request_duration_seconds_count"
_UNSIGNED: Final = 'smtpeter_exporter_refused_total{reason="unsigned"}'

Exposition = dict[str, float]
"""The value of each series that an exporter exposes, by its name and labels in OpenMetrics."""

Rate = Callable[[float], float]
"""A number of events per second, at a time in Unix seconds."""


class Minute(NamedTuple):
    """The end of a minute in Unix seconds, what is exposed then, and the totals that the ledger has.

    The next minute changes both in place.
    """

    end: int
    exposed: Exposition
    totals: Counter[Series]


def minutes(
    traffic: Iterator[SimulatedRequest], begin: int, end: int, deliveries: Rate | None = None
) -> Iterator[Minute]:
    """Yield each minute. A new series is held at 0 for one minute.

    If ``deliveries`` is given, the loops besides failures are on, and deliveries come at this rate in addition to those
    in the traffic: counting them is far faster than making a request of each.
    """
    rng = Random(begin)
    loops = (FAILURES.name, "deliveries", "bounces", "abuses") if deliveries else (FAILURES.name,)
    exposed: Exposition = {
        **{text_of(("failures_by_reason", reason)): 0 for reason in REASONS},
        **{text_of((f"{loop}_by_tag", OTHER)): 0 for loop in loops[:2]},
        **{_accepted(loop): 0 for loop in loops},
        **({text_of(("deliveries",)): 0} if deliveries else {}),
        **dict.fromkeys(("smtpeter_exporter_ledger_writable", "up"), 1),
        **{_last(loop): 0 for loop in loops},
        **dict.fromkeys((_ANSWERED, _UNSIGNED), 0),
        'smtpeter_exporter_refused_total{reason="key_unavailable"}': 0,
        'smtpeter_exporter_keys{state="stale"}': 0,
        "smtpeter_exporter_label_overflow_total": 0,
    }
    totals: Counter[Series] = Counter()
    own: Counter[str] = Counter()
    request = next(traffic, None)
    for minute in range(begin, end, MINUTE):
        while request and request.at < minute:
            totals.update(_series_of(request))
            own.update((_ANSWERED, _accepted(request.loop)))
            exposed[_last(request.loop)] = round(request.at)
            request = next(traffic, None)
        if deliveries and minute > begin:
            added = _deliveries(deliveries(minute - MINUTE / 2) * MINUTE, rng)
            totals += added
            for series, loop in ((("deliveries",), "deliveries"), (("complaints",), "abuses")):
                number = sum(value for key, value in added.items() if key[0] == series[0])
                own += Counter({_ANSWERED: number, _accepted(loop): number})
                if number:
                    exposed[_last(loop)] = minute
        counted = {text_of(series): value for series, value in totals.items()} | own
        exposed |= {name: value if name in exposed else 0 for name, value in counted.items()}
        own[_UNSIGNED] += rng.random() < UNSIGNED_PER_DAY / 1_440
        yield Minute(minute, exposed, totals)


def text_of(series: Series) -> str:
    """Return the name and the labels of a series in OpenMetrics."""
    family, *values = series
    labels = ",".join(f'{name}="{value}"' for name, value in zip(FAMILIES[family][1], values, strict=True))
    return f"smtpeter_{family}_total{{{labels}}}" if labels else f"smtpeter_{family}_total"


def _last(loop: str) -> str:
    return _LAST if loop == FAILURES.name else f'smtpeter_last_event_timestamp_seconds{{loop="{loop}"}}'


def _accepted(loop: str) -> str:
    return f'smtpeter_exporter_accepted_total{{loop="{loop}"}}'


def _series_of(request: SimulatedRequest) -> tuple[Series, ...]:
    """Return the series that a request increments. A bounce must be the notification of a failure."""
    answer = request.answer
    if request.loop == "deliveries":
        return _delivery(answer.provider)
    if request.loop == "bounces":
        return ("bounces", "dsn"), ("bounces_by_reason", answer.reason)
    if request.loop == "abuses":
        return (("complaints", answer.provider),)
    labels = labels_of(answer.state, answer.code, answer.extended)
    return (
        ("failures", *labels),
        ("failures_by_reason", answer.reason),
        ("failures_by_provider", answer.provider, labels.code_class),
        ("failures_by_tag", OTHER),
        ("failures_by_reason_provider", answer.reason, answer.provider),
        *(
            (("failures_after_delivery_by_provider", answer.provider), ("failures_after_delivery_by_tag", OTHER))
            if request.after_delivery
            else ()
        ),
    )


def _delivery(provider: str) -> tuple[Series, ...]:
    return ("deliveries",), ("deliveries_by_provider", provider), ("deliveries_by_tag", OTHER)


def _deliveries(mean: float, rng: Random) -> Counter[Series]:
    """Draw the deliveries and complaints of a time in which ``mean`` deliveries are expected."""
    added: Counter[Series] = Counter()
    for provider, reply in ACCEPTING_REPLIES.items():
        number = _poisson(mean * reply.share, rng)
        added.update(dict.fromkeys(_delivery(provider), number))
        added["complaints", provider] += _poisson(number * COMPLAINTS.get(provider, 0), rng)
    return +added


def _poisson(mean: float, rng: Random) -> int:
    """Draw from a Poisson distribution; if the mean is large, from the normal one that approximates it."""
    if mean > 50:
        return max(0, round(rng.gauss(mean, sqrt(mean))))
    number, product, limit = 0, rng.random(), exp(-mean)
    while product > limit:
        number, product = number + 1, product * rng.random()
    return number
