"""Measures by their names in ir-measures, validated before anything is computed.

Only providers that run inside this process are used, so that a measure has the same value on every
machine. Parameters are validated here because trec_eval aborts the process at a cutoff of 0.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import SettingsError, shorten
from pipeline.evaluation.measure_names import nearest_names, split_name

if TYPE_CHECKING:
    from ir_measures import Measure

DEFAULT_MEASURES = ("nDCG@10", "RR@10", "R@100")

MAX_CUTOFF = 1_000_000
MAX_GRADE = 100_000
_EXAMPLES = "a name like nDCG@10, RR@10, R@100 or AP(rel=2)"
_OTHER_PROGRAMS = {"gdeval": "perl", "cwl_eval": "cwl-eval", "pyndeval": "pyndeval"}
_INSTEAD = {
    "ERR": "nDCG@20",
    "RBP": "Compat(p=0.8)",
    "nDCG": "nDCG(gains={1: 1, 2: 3, 3: 7})@10 for exponential gains",
}


def parse_measures(names: Iterable[str]) -> list["Measure"]:
    """Return the measures of these names, each once, in their order.

    Raises:
        SettingsError: as `parse_measure` does.
    """
    measures = {str(measure): measure for measure in map(parse_measure, names)}
    return list(measures.values())


def parse_measure(name: str, option: str = "--measure") -> "Measure":
    """Return the measure of this name, `Name(parameter=value, ...)@cutoff`.

    Args:
        name: The name.
        option: Where it was given, for messages.

    Raises:
        SettingsError: for an unknown name, an impossible parameter, or a measure that only another
            program computes; also if ir-measures is not installed.
    """
    registry = _registry()
    shown = shorten(repr(name), 60)
    try:
        base, parameters, at = split_name(name)
    except ValueError as error:
        raise SettingsError(
            "not a measure", which=option, found=shown, expected=_EXAMPLES
        ) from error
    if base not in registry:
        proper = [*registry, *(measure.NAME for measure in registry.values())]
        nearest = " or ".join(nearest_names(name, base, proper))
        raise SettingsError(
            "unknown measure", which=option, found=shown, expected=nearest or _EXAMPLES
        )
    measure = registry[base]
    if at is not None:
        if measure.AT_PARAM in parameters:
            raise SettingsError(f"{measure.AT_PARAM} is given twice", which=option, found=shown)
        parameters[measure.AT_PARAM] = at
    if fault := _fault(measure, parameters):
        what, found, expected = fault
        raise SettingsError(f"{shown}: {what}", which=option, found=found, expected=expected)
    made: Measure = measure(**parameters)
    _refuse_other_programs(made, option)
    return made


def local_provider() -> Any:
    """Return a provider that combines all that run inside this process."""
    import ir_measures
    from ir_measures.providers import FallbackProvider

    local = (ir_measures.pytrec_eval, ir_measures.compat, ir_measures.judged, ir_measures.msmarco)
    return FallbackProvider(local)  # type: ignore[no-untyped-call]


def _registry() -> dict[str, Any]:
    try:
        from ir_measures import measures
    except ImportError as error:
        raise SettingsError(
            "judging needs the extra `evaluate`", cure="pip install 'rerank-pipeline[evaluate]'"
        ) from error
    registry: dict[str, Any] = measures.registry
    return registry


def _fault(measure: Any, parameters: dict[str, Any]) -> tuple[str, str | None, str] | None:
    """Return the problem of the first invalid parameter, the value found and the one expected."""
    known = measure.SUPPORTED_PARAMS
    for parameter, value in parameters.items():
        if parameter not in known:
            return "unknown parameter", repr(parameter), f"one of {', '.join(known) or 'none'}"
        expected = _expected(parameter, value, known[parameter])
        if expected is not None:
            return f"impossible {parameter}", shorten(repr(value), 60), expected
    for parameter, info in known.items():
        if info.required and parameter not in parameters:
            at = f"{measure.NAME}@{0.5 if parameter == 'recall' else 10}"
            return f"{parameter} is missing", None, at if parameter == measure.AT_PARAM else "one"
    return None


def _expected(parameter: str, value: Any, info: Any) -> str | None:
    """Return a description of the valid values; None if this value is valid."""
    whole = type(value) is int
    real = type(value) is float
    match parameter:
        case "cutoff":
            fits, expected = whole and 1 <= value <= MAX_CUTOFF, f"1 to {MAX_CUTOFF:,}"
        case "rel":
            fits, expected = whole and 1 <= value <= MAX_GRADE, f"1 to {MAX_GRADE:,}"
        case "recall":  # trec_eval reads two digits
            fits = real and 0 <= value <= 1 and round(value, 2) == value
            expected = "0.0 to 1.0 in steps of 0.01"
        case "p":
            fits, expected = real and 0 < value < 1, "a number between 0.0 and 1.0"
        case "beta":
            fits, expected = real and 0.001 <= value <= 1000, "0.001 to 1000.0"
        case "gains":
            fits, expected = _are_gains(value), "{grade: gain, ...}, whole numbers, gains from 0"
        case _:
            choices = info.choices if isinstance(info.choices, list) else None
            fits = info.validate(value)
            kind = getattr(info.dtype, "__name__", "any")
            expected = " or ".join(map(repr, choices)) if choices else f"a {kind}"
    return None if fits else expected


def _are_gains(value: Any) -> bool:
    return isinstance(value, dict) and all(
        type(grade) is int and type(gain) is int and 0 <= gain <= MAX_GRADE
        for grade, gain in value.items()
    )


def _refuse_other_programs(measure: "Measure", option: str) -> None:
    import ir_measures

    if local_provider().supports(measure):
        return
    others = (p.NAME for p in ir_measures.DefaultPipeline.providers if p.supports(measure))
    programs = sorted(_OTHER_PROGRAMS[name] for name in others if name in _OTHER_PROGRAMS)
    raise SettingsError(
        f"needs another program: {', '.join(programs)}" if programs else "is not supported",
        which=f"{option} {measure}",
        cure=f"try {_INSTEAD.get(measure.NAME or '', 'nDCG@10, AP, RR@10, R@100 or P@10')}",
    )
