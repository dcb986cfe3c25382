"""The options that `evaluate` and `compare` share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jobs.console.printing import json_option
from jobs.options.config_file import config_option
from pipeline.core.errors import SettingsError
from pipeline.evaluation.measures import DEFAULT_MEASURES, parse_measure, parse_measures

if TYPE_CHECKING:
    from ir_measures import Measure

    from pipeline.evaluation.gate import Gate

Command = TypeVar("Command", bound=Callable[..., Any])

QRELS_HELP = "Judgements: Parquet, TREC, JSON lines, TSV or CSV, by the suffix; also .gz, .zst."

_UNDER, _WORSE = "--fail-under", "--fail-if-worse"
_OPTIONS = (
    click.option(
        "--measure",
        "measures",
        multiple=True,
        metavar="NAME",
        help="Measure by its ir-measures name; repeatable. The first one sorts the queries. "
        f"[default: {', '.join(DEFAULT_MEASURES)}]",
    ),
    click.option(
        "--per-query",
        metavar="FILE",
        help="Write the values of every query to FILE, .parquet or .csv.",
    ),
    click.option("--all", "show_all", is_flag=True, help="Show all queries, sorted by change."),
    click.option(
        _UNDER,
        multiple=True,
        metavar="MEASURE=CHANGE",
        help="Exit with code 10 if the change of MEASURE is below CHANGE; repeatable.",
    ),
    click.option(
        _WORSE,
        is_flag=True,
        help="Exit with code 10 if any measure fell with p < 0.05.",
    ),
    json_option,
    config_option,
)


def evaluation_options(command: Command) -> Command:
    """Add the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def judged_measures(
    names: tuple[str, ...], fail_under: tuple[str, ...], *, fail_if_worse: bool
) -> tuple[list["Measure"], "Gate"]:
    """Return the measures to compute, including those of the gate, and the gate.

    Raises:
        SettingsError: for a measure or a pair that cannot be used.
    """
    from pipeline.evaluation.gate import Gate, parse_least

    least = parse_least(fail_under, lambda name: str(parse_measure(name, _UNDER)))
    measures = parse_measures((*(names or DEFAULT_MEASURES), *least))
    return measures, Gate(least, fail_if_worse)


def agreement_gate(
    names: tuple[str, ...], fail_under: tuple[str, ...], *, fail_if_worse: bool
) -> "Gate":
    """Return the gate of a comparison without judgements: minimum means of its figures.

    Raises:
        SettingsError: for an option that needs judgements, and for another name.
    """
    from pipeline.evaluation.agreement import NAMES
    from pipeline.evaluation.gate import Gate, parse_least

    for option, is_given in (("--measure", bool(names)), (_WORSE, fail_if_worse)):
        if is_given:
            raise SettingsError("needs judgements", which=option, cure="give --qrels FILE")
    proper = {figure.lower(): figure for figure in NAMES}

    def named(name: str) -> str:
        if name.lower() not in proper:
            raise SettingsError(
                "not a figure of a comparison without judgements",
                which=_UNDER,
                found=repr(name),
                expected=" or ".join(NAMES),
                cure="for measures give --qrels FILE",
            )
        return proper[name.lower()]

    return Gate(parse_least(fail_under, named))
