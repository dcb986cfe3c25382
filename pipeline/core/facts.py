"""Show the numbers of a value, as lines of text or as a table in a notebook."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any


def as_text(facts: Mapping[str, Any]) -> str:
    """Return one line for each fact that is not empty, the values in one column."""
    shown = list(_shown(facts))
    width = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name:{width}}  {value}" for name, value in shown)


def as_html(title: str, facts: Mapping[str, Any]) -> str:
    """Return the same as a table of HTML, for notebooks."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in _shown(facts)
    )
    return f"<table><caption>{escape(title)}</caption>{rows}</table>"


def _shown(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the facts that are not empty, with their values formatted for reading."""
    for name, value in facts.items():
        if value is None or value in ("", [], {}):
            continue
        yield name.replace("_", " "), _value(value)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
