"""A chart: a Vega-Lite specification rendered to SVG, which needs no script to be read.

Colours are CSS variables of the page, so that one drawing serves light and dark. Every chart is of
the same width, about that of a telephone, and is never scaled down: its letters stay readable.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from msgspec import Struct

from pipeline.core.errors import SettingsError

Spec: TypeAlias = Mapping[str, Any]
"""A specification, or a part of one (vega.github.io/vega-lite/docs, version 5)."""

WIDTH: Final = 380
HEIGHT: Final = 210

INK, MUTED, GRID = "var(--ink)", "var(--muted)", "var(--grid)"
GOOD, BAD, LIMIT = "var(--good)", "var(--bad)", "var(--limit)"
SERIES: Final = tuple(f"var(--c{number})" for number in (1, 2, 5, 6, 7, 8, 3, 4))

_CONFIG: Final[Spec] = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "titleFontSize": 11,
        "labelFontSize": 11,
        "gridColor": GRID,
        "domainColor": GRID,
        "tickColor": GRID,
    },
    "axisY": {"titlePadding": 12},
    "legend": {
        "labelColor": INK,
        "titleColor": MUTED,
        "labelFontSize": 11,
        "orient": "top",
        "title": None,
        "symbolType": "square",
        "columns": 3,
        "columnPadding": 24,
        "labelLimit": 150,
    },
    "text": {"fill": INK, "fontSize": 11},
    "mark": {"color": SERIES[0]},
}
_NAMESPACES: Final = re.compile(r' xmlns(:\w+)?="[^"]*"')
_ARIA: Final = re.compile(r' (aria-\w+|role)="[^"]*"')
"""The page names the whole chart; its single marks are not read out."""


class Chart(Struct, frozen=True, kw_only=True):
    """A chart as the page shows it.

    Attributes:
        title: What it shows.
        summary: The same in a sentence, with its main figures, for those who cannot see it.
        svg: The drawing.
    """

    title: str
    summary: str
    svg: str


def draw(
    title: str, summary: str, layers: Sequence[Spec], *, height: int = HEIGHT, **spec: Any
) -> Chart:
    """Return a chart.

    Args:
        title: What it shows.
        summary: The same in a sentence, with its main figures.
        layers: What is drawn, one above the other.
        height: In pixels.
        spec: Further parts of the specification, such as `encoding` for all layers.

    Raises:
        SettingsError: without the extra `report`.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise missing_extra() from error
    svg = vl_convert.vegalite_to_svg(
        {
            "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
            "width": WIDTH,
            "height": height,
            "autosize": {"type": "fit", "contains": "padding"},
            "padding": {"left": 12, "right": 10, "top": 4, "bottom": 4},
            "config": _CONFIG,
            "layer": [dict(layer) for layer in layers],
            **spec,
        }
    )
    return Chart(title=title, summary=summary, svg=_for_page(svg))


def missing_extra() -> SettingsError:
    """Return the error that names the extra of the report."""
    return SettingsError(
        "a report needs the extra `report`", cure="pip install 'rerank-pipeline[report]'"
    )


def values(rows: Sequence[Mapping[str, Any]]) -> Spec:
    """Return data for a layer."""
    return {"values": [dict(row) for row in rows]}


def axis(title: str | None, **how: Any) -> Spec:
    """Return an axis with a title."""
    return {"title": title, **how}


def quantity(field: str, title: str | None, **how: Any) -> Spec:
    """Return the encoding of a number."""
    return {"field": field, "type": "quantitative", "axis": axis(title, tickCount=5)} | how


def limit_line(value: float, label: str) -> list[Spec]:
    """Return a dashed line across the chart, and its label."""
    data = values([{"limit": value, "label": label}])
    at = {"field": "limit", "type": "quantitative"}
    return [
        {
            "data": data,
            "mark": {"type": "rule", "color": LIMIT, "strokeDash": [5, 3], "strokeWidth": 1.5},
            "encoding": {"y": at},
        },
        {
            "data": data,
            "mark": {
                "type": "text",
                "align": "right",
                "baseline": "bottom",
                "dy": -3,
                "fill": LIMIT,
                "fontWeight": "bold",
            },
            "encoding": {"y": at, "x": {"value": {"expr": "width"}}, "text": {"field": "label"}},
        },
    ]


def _for_page(svg: str) -> str:
    """Return a drawing without what a page does not need: namespaces, size, names of marks."""
    head, mark, rest = svg.partition(">")
    plain = _NAMESPACES.sub("", head).replace(' version="1.1"', "")
    plain = plain.replace(' class="marks"', ' aria-hidden="true" focusable="false"')
    return plain + mark + _ARIA.sub("", rest)
