"""Charts of the ranking: movement, scores, certificates, rejects, agreement, measures, gains."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from pipeline.report.chart import (
    BAD,
    GOOD,
    INK,
    SERIES,
    Chart,
    Spec,
    axis,
    draw,
    quantity,
    values,
)
from pipeline.report.judged import Judged, JudgedMeasure
from pipeline.report.ranking_facts import RankingFacts

_BAR_PX: Final = 26
_LABEL_PX: Final = 130
_TENTHS: Final = 10


def ranking_charts(facts: RankingFacts) -> Iterator[Chart]:
    """Yield the charts of the parts; none without a candidate."""
    if not facts.candidates:
        return
    if facts.moved.sum():
        yield _movement(facts)
        yield _scores(facts)
    yield bars("How the requests of a query were joined", "queries", facts.merge_status)
    yield _proved(facts.proved)
    if facts.rejects:
        yield bars("Candidates without a score, by reason", "candidates", facts.rejects)
    if facts.by_query is not None and facts.by_query.height:
        shares = facts.by_query["overlap@10"].drop_nulls().to_list()
        yield overlaps("First ten places shared with the first stage", shares)


def judged_charts(judged: Judged) -> Iterator[Chart]:
    """Yield the charts of the judgements."""
    yield _measures(judged.measures)
    if judged.gains:
        yield _gains(judged.gains, judged.measures[0].name)


def bars(title: str, noun: str, counts: Mapping[str, int]) -> Chart:
    """Return a horizontal bar for each name, the longest first."""
    total = max(sum(counts.values()), 1)
    rows = [
        {"name": name.replace("_", " "), "count": n, "label": f"{n:,} ({n / total:.1%})"}
        for name, n in counts.items()
    ]
    y = {
        "field": "name",
        "type": "nominal",
        "sort": None,
        "axis": axis(None, labelLimit=_LABEL_PX, ticks=False, domain=False),
    }
    most = max(counts.values(), default=1)
    # Room at the right for the label of the longest bar.
    x = quantity("count", None, axis=None, scale={"domain": [0, 1.6 * most]})
    layers = [
        {"mark": {"type": "bar", "size": 16}, "encoding": {"x": x, "y": y}},
        {
            "mark": {"type": "text", "align": "left", "dx": 4},
            "encoding": {"x": x, "y": y, "text": {"field": "label"}},
        },
    ]
    summary = ", ".join(f"{row['name']} {row['label']}" for row in rows)
    height = max(90, 30 + _BAR_PX * len(rows))
    return draw(title, f"{noun.capitalize()}: {summary}.", layers, data=values(rows), height=height)


def overlaps(title: str, shares: Sequence[float]) -> Chart:
    """Return a histogram of overlap@10."""
    counts = np.bincount(np.rint(_TENTHS * np.array(shares)).astype(int), minlength=_TENTHS + 1)
    rows = [{"x": str(at), "y": int(n)} for at, n in enumerate(counts.tolist())]
    mean = float(np.mean(shares)) if shares else 0.0
    summary = f"{_TENTHS * mean:.1f} of ten on average; all ten in {int(counts[-1]):,} queries."
    return draw(title, summary, _columns("of the first ten, shared"), data=values(rows))


def _columns(title: str) -> list[Spec]:
    x = {
        "field": "x",
        "type": "ordinal",
        "sort": None,
        "axis": axis(title, labelAngle=0, labelOverlap=True),
    }
    return [{"mark": "bar", "encoding": {"x": x, "y": quantity("y", "queries")}}]


def _movement(facts: RankingFacts) -> Chart:
    moved, edges = facts.moved, facts.edges
    rows = []
    totals = np.maximum(moved.sum(axis=1), 1)
    names = [_bucket(edges, at) for at in range(len(moved))]
    for old, new in np.argwhere(moved > 0).tolist():
        share = float(moved[old, new] / totals[old])
        rows.append({"old": names[old], "new": names[new], "share": round(share, 4)})
    kept = float(np.trace(moved) / moved.sum())
    head = sum(start < 11 for start in edges[:-1])
    from_below = moved[head:, :head].sum() / max(moved[:, :head].sum(), 1)
    summary = (
        f"Each row shows where the candidates of a first-stage rank went. {kept:.0%} stayed in"
        f" their bucket of ranks; {from_below:.0%} of the first ten places came from below ten."
    )

    def ordinal(field: str, title: str, **how: Any) -> Spec:
        looks = axis(title, labelOverlap=True, grid=False, **how)
        return {"field": field, "type": "ordinal", "sort": names, "scale": {"domain": names},
                "axis": looks}  # fmt: skip

    encoding = {
        "x": ordinal("new", "new rank", labelAngle=0),
        "y": ordinal("old", "first-stage rank"),
        "opacity": {
            "field": "share",
            "type": "quantitative",
            "scale": {"type": "sqrt", "range": [0.06, 1], "domain": [0, 1]},
            "legend": None,
        },
    }
    layers = [{"data": values(rows), "mark": {"type": "rect"}, "encoding": encoding}]
    return draw("How far documents moved", summary, layers, height=260)


def _scores(facts: RankingFacts) -> Chart:
    rows = [
        {
            "x": (one.first * one.last) ** 0.5,
            "low": one.low,
            "median": one.median,
            "high": one.high,
        }
        for one in facts.scores
    ]
    x = quantity("x", "rank", scale={"type": "log", "nice": False})
    y = quantity("median", "relevance score", scale={"zero": False})
    layers: list[Spec] = [
        {
            "mark": {"type": "area", "opacity": 0.25},
            "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
        },
        {"mark": {"type": "line", "point": True}, "encoding": {"x": x, "y": y}},
    ]
    first, last = facts.scores[0], facts.scores[-1]
    summary = (
        f"Median {first.median:.3g} at rank 1, {last.median:.3g} at rank {last.last:,}; the band"
        " holds eight tenths of the queries."
    )
    return draw("Scores by rank", summary, layers, data=values(rows))


def _proved(proved: Sequence[int]) -> Chart:
    names = ["<10 %", *(f"≥{10 * at} %" for at in range(1, _TENTHS)), "all"]
    rows = [{"x": name, "y": n} for name, n in zip(names, proved, strict=True)]
    total = max(sum(proved), 1)
    summary = (
        f"In {proved[-1] / total:.1%} of the queries every place is proved, in"
        f" {proved[0] / total:.1%} less than a tenth of the places."
    )
    return draw("Certified depth: places proved", summary, _columns("of a query's places"),
                data=values(rows))  # fmt: skip


def _measures(measures: Sequence[JudgedMeasure]) -> Chart:
    rows = []
    for one in measures:
        for order, found in (("before", one.before), ("after", one.after)):
            if found is not None:
                facts = {"low": found.low, "mean": found.mean, "high": found.high}
                rows.append({"measure": one.name, "order": order, **facts})
    y = {
        "field": "measure",
        "type": "nominal",
        "sort": None,
        "axis": axis(None, ticks=False, domain=False, labelLimit=_LABEL_PX),
    }
    colour = {
        "field": "order",
        "type": "nominal",
        "scale": {"domain": ["before", "after"], "range": [SERIES[6], SERIES[0]]},
    }
    offset = {"field": "order", "type": "nominal", "sort": ["before", "after"]}
    x = quantity("mean", None, scale={"zero": False})
    layers: list[Spec] = [
        {
            "mark": {"type": "rule", "strokeWidth": 3, "opacity": 0.5},
            "encoding": {
                "x": {**x, "field": "low"},
                "x2": {"field": "high"},
                "y": y,
                "yOffset": offset,
                "color": colour,
            },
        },
        {
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {"x": x, "y": y, "yOffset": offset, "color": colour},
        },
    ]
    summary = ", ".join(
        f"{one.name} {'' if one.before is None else f'{one.before.mean:.4f} to '}"
        f"{one.after.mean:.4f}"
        for one in measures
    )
    height = 60 + 44 * len(measures)
    return draw("Measures before and after, with 95 % confidence", f"{summary}.", layers,
                data=values(rows), height=height)  # fmt: skip


def _gains(gains: Sequence[float], name: str) -> Chart:
    rows = [{"x": at, "y": round(gain, 4)} for at, gain in enumerate(gains)]
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    x = {"field": "x", "type": "ordinal", "axis": None, "scale": {"paddingInner": 0.05}}
    colour = {"condition": {"test": "datum.y < 0", "value": BAD}, "value": GOOD}
    zero = {"data": values([{"y": 0}]), "mark": {"type": "rule", "color": INK},
            "encoding": {"y": quantity("y", None)}}  # fmt: skip
    bar = {
        "data": values(rows),
        "mark": {"type": "bar"},
        "encoding": {"x": x, "y": quantity("y", f"change of {name}"), "color": colour},
    }
    total = len(gains)
    summary = (
        f"{better / total:.0%} of the queries gained, {worse / total:.0%} lost; from"
        f" {max(gains):+.3f} to {min(gains):+.3f}."
    )
    return draw("Gain of each query, sorted", summary, [bar, zero])


def _bucket(edges: Sequence[int], at: int) -> str:
    first, last = edges[at], edges[at + 1] - 1
    return f"{first:,}" if first == last else f"{first:,}–{last:,}"
