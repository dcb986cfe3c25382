"""Quality gates: values that a ranking must reach before a pipeline may load it."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, to_builtins

from pipeline.core.errors import GateFailed, InputError, SettingsError, shorten
from pipeline.evaluation.paired import ROUNDING, SIGNIFICANT_P, PairedMeasure
from pipeline.output.reader import WrittenOutput

UNDER, WORSE = "--fail-under", "--fail-if-worse"


class Gate(Struct, frozen=True):
    """The values that a ranking must reach.

    Attributes:
        least: The minimum of each named value.
        refuse_worse: Whether a significant loss of any measure fails.
    """

    least: Mapping[str, float]
    refuse_worse: bool = False

    @property
    def is_set(self) -> bool:
        """Whether the gate checks anything."""
        return bool(self.least) or self.refuse_worse

    def facts(self, misses: Sequence["Miss"]) -> dict[str, Any]:
        """Return the outcome for JSON; nothing if the gate checks nothing."""
        if not self.is_set:
            return {}
        return {"gate": {"passed": not misses, "missed": to_builtins(misses)}}


class Miss(Struct, frozen=True):
    """A value that failed the gate."""

    name: str
    found: str
    expected: str


def parse_least(pairs: Iterable[str], named: Callable[[str], str]) -> dict[str, float]:
    """Parse `NAME=NUMBER` pairs.

    Args:
        pairs: As given with `--fail-under`.
        named: Returns the canonical name of a value, or raises SettingsError.

    Raises:
        SettingsError: for anything else than such a pair, and for a repeated name.
    """
    least: dict[str, float] = {}
    for pair in pairs:
        name, equals, number = pair.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not (equals and name.strip() and math.isfinite(value)):
            raise SettingsError(
                "cannot be used",
                which=UNDER,
                found=shorten(repr(pair), 60),
                expected="MEASURE=NUMBER as nDCG@10=0.02",
            )
        proper = named(name.strip())
        if proper in least:
            raise SettingsError("given twice", which=UNDER, found=proper)
        least[proper] = value
    return least


def missed(gate: Gate, measures: Mapping[str, PairedMeasure]) -> list[Miss]:
    """Return the measures that fail the gate.

    With `refuse_worse` a measure fails if its change is negative with a p-value below
    `SIGNIFICANT_P`, or if all of several queries lost the same amount (no p-value).
    """
    changes = {name: measure.change for name, measure in measures.items()}
    misses = [
        Miss(name, f"{changes[name] or 0:+.4f}", f"a change of at least {least:+g}")
        for name, least in gate.least.items()
        if (changes[name] or 0) < least - ROUNDING
    ]
    for name, measure in measures.items() if gate.refuse_worse else ():
        if measure.change is None or measure.change >= 0:
            continue
        p_value = measure.p_value
        if p_value is None and (measure.degraded or 0) > 1:
            misses.append(Miss(name, f"{measure.change:+.4f} for every query", "no loss"))
        elif p_value is not None and p_value < SIGNIFICANT_P:
            found = f"{measure.change:+.4f} with p = {p_value:.2g}"
            misses.append(Miss(name, found, f"no loss with p < {SIGNIFICANT_P}"))
    return misses


def below(gate: Gate, figures: Mapping[str, float | None]) -> list[Miss]:
    """Return the values below their minimum; an unknown value fails."""
    misses = []
    for name, least in gate.least.items():
        value = figures[name]
        if value is None or value < least - ROUNDING:
            found = "unknown" if value is None else f"{value:.4f}"
            misses.append(Miss(name, found, f"at least {least:g}"))
    return misses


def refuse_unfinished(gate: Gate, *outputs: WrittenOutput) -> None:
    """Refuse to gate an output that is not finished.

    Raises:
        InputError: if `_SUCCESS` or a part is missing.
    """
    for output in outputs if gate.is_set else ():
        if not output.is_finished:
            raise InputError(
                "a gate needs a finished output: it has no _SUCCESS, or a part is missing",
                which=output.location.name,
                cure="run the same command again to finish it",
            )


def refuse_unknown(gate: Gate, which: str, reason: str | None) -> None:
    """Refuse to gate an output whose order before is not known.

    Raises:
        InputError: if a reason is given why it is not known.
    """
    if gate.is_set and reason is not None:
        raise InputError(f"a gate needs the order before: {reason}", which=which)


def raise_missed(misses: Sequence[Miss]) -> None:
    """Raise one error for everything that failed.

    Raises:
        GateFailed: if anything failed.
    """
    if misses:
        raise GateFailed(
            "the gate failed",
            which=", ".join(miss.name for miss in misses),
            found=", ".join(miss.found for miss in misses),
            expected=", ".join(miss.expected for miss in misses),
        )
