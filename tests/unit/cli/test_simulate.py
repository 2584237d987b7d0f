"""``simulate``: its arguments. tests/e2e has what it sends."""

from typing import Final

import pytest

from exporter.cli.simulate import simulate_command
from exporter.errors import SettingError
from tests.support.command_line import invoke
from tests.support.texts import Texts

URL: Final = "http://127.0.0.1:10125/failures"


@pytest.mark.parametrize(
    "flags",
    [
        ("--failures-per-day", "0"),
        ("--failures-per-day", "nan"),
        ("--spike", "nonsense"),
        ("--spike-factor", "nan"),
        ("--spike-after", "2"),
        ("--spike-for", "-1s"),
        ("--past", "3661d"),
        ("--for", "soon"),
        ("--speed", "0"),
        ("--speed", "nan"),
        ("--seed", "x"),
        ("--loops", "clicks"),
        ("--loops", "failures,"),
        ("--deliveries-per-failure", "nan"),
        ("--mailing-after", "2"),
        ("--block", "kpn"),
        ("--format", "xml"),
    ],
    ids=" ".join,
)
def test_simulate_checks_its_options(flags: tuple[str, str]) -> None:
    """The last line names the option; nothing is sent."""
    outcome = invoke("simulate", URL, *flags)
    last = outcome.err.splitlines()[-1]
    assert (outcome.code, outcome.out, last.startswith("Error: "), f"'{flags[0]}'" in last) == (2, "", True, True)


def test_errors_about_durations_are_kept(texts: Texts) -> None:
    """The error has the value and what was expected."""
    for text in ("2", "3661d"):
        texts.check(invoke("simulate", URL, "--past", text).err.splitlines()[-1].partition("'--past': ")[2])


def test_simulate_can_stop_at_once() -> None:
    """With a length of 0 s it sends nothing, and prints a summary."""
    outcome = invoke("simulate", URL, "--for", "0s", "--seed", "7", "--failures-per-day", "2000")
    assert (outcome.code, outcome.out.startswith("0 "), outcome.out.count("\n")) == (0, True, 1)
    assert (URL in outcome.err, "2,000" in outcome.err, "seed 7" in outcome.err) == (True, True, True)


def test_simulate_prints_its_seed() -> None:
    """Without ``--seed`` there is another seed each time, which is printed so that a run can be repeated."""
    seeds = {invoke("simulate", URL, "--for", "0s").err.partition("seed ")[2] for _ in range(5)}
    assert len(seeds) > 1


def test_each_option_is_described(texts: Texts) -> None:
    """Each option of ``simulate``, some of which ``send`` has, too, has a help text."""
    for option in simulate_command.params:
        if text := getattr(option, "help", None):
            texts.check(f"{option.opts[0]}: {text}")


def test_the_url_must_be_one() -> None:
    """Anything else is an error, and so is the URL of no loop if there are several."""
    assert isinstance(invoke("simulate", "nonsense").error, SettingError)
    assert isinstance(invoke("simulate", "http://127.0.0.1/", "--loops", "failures,bounces").error, SettingError)


@pytest.mark.parametrize(
    "flags", [("--loops", "abuses,failures,deliveries"), ("--loops", "abuses", "--loops", "failures, deliveries")]
)
def test_loops_are_separated_by_commas_or_repeated(flags: tuple[str, ...]) -> None:
    """The table at the end has a column for each, in the order of the loops."""
    outcome = invoke("simulate", URL, "--for", "0s", *flags)
    assert outcome.out.splitlines()[1].split() == ["provider", "failures", "after_delivery", "deliveries", "abuses"]
    assert outcome.out.splitlines()[2:] == ["all              0               0           0       0"]


@pytest.mark.parametrize("flags", [("--block", "gmail"), ("--mailing-after", "1m")])
def test_mailings_and_blocks_need_deliveries(flags: tuple[str, str]) -> None:
    """If only failures are sent, the option is an error that names the other one."""
    outcome = invoke("simulate", URL, "--for", "0s", *flags)
    assert (outcome.code, flags[0] in outcome.err, "--loops" in outcome.err) == (2, True, True)
    assert invoke("simulate", URL, "--for", "0s", "--loops", "deliveries", *flags).code == 0
