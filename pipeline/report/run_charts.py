"""Charts of the runs over time: what they did, what limited them, and what they cost."""

from collections.abc import Iterator, Mapping, Sequence
from math import floor, log
from typing import Any, Final

from pipeline.output.ticks import Stretch
from pipeline.report.chart import (
    BAD,
    SERIES,
    Chart,
    Spec,
    axis,
    draw,
    limit_line,
    quantity,
    values,
)
from pipeline.report.time_axis import TimeAxis
from pipeline.report.tries import Story
from pipeline.report.words import CAUSES, number, short_time

_FAR: Final = 4.0
"""A limit this many times the highest value would flatten the chart: only its number is given."""

_BINS_JOINED: Final = 4
"""Buckets of latencies that are joined; they then differ by 41 %."""
_BUCKET_RATIO: Final = 2 ** (1 / 8)


def run_charts(story: Story) -> Iterator[Chart]:
    """Yield the charts of all tries; none where no request was sent."""
    time = TimeAxis(story)
    if not any(one.sent for one in time.all):
        return
    limits = story.tries[-1].record.limits
    yield _requests(time, limits.get("requests_per_minute"))
    yield _in_flight(time, limits.get("max_in_flight"))
    if any(one.bound_s for one in time.all):
        yield _bound(time)
    if story.total("throttled") or story.total("requests_failed"):
        yield _refusals(time)
    if any(one.tokens for one in time.all):
        yield _tokens(time, limits.get("tokens_per_minute"))
    if any(one.p95_ms for one in time.all):
        yield _latency_over_time(time)
    if latencies := story.latencies():
        yield _latencies(latencies)


def _area(time: TimeAxis, rows: Sequence[Mapping[str, Any]], title: str) -> list[Spec]:
    encoding = {
        "x": time.x,
        "y": quantity("y", title, stack=None),
        "detail": {"field": "try", "type": "nominal"},
    }
    area = {
        "type": "area",
        "interpolate": "step-after",
        "opacity": 0.25,
        "line": {"strokeWidth": 1.5},
    }
    return [*time.borders(), {"data": values(rows), "mark": area, "encoding": encoding}]


def _with_limit(
    layers: list[Spec], most: float, limit: float | None, label: str
) -> tuple[list[Spec], str]:
    """Add a limit where it can be drawn; return a sentence about it too."""
    if limit is None:
        return layers, "No quota is known."
    said = f"The {label} is {number(limit)}."
    if limit > _FAR * max(most, 1e-9):
        return layers, f"{said} It is too far above to be drawn."
    return [*layers, *limit_line(limit, f"{label} {number(limit)}")], said


def _requests(time: TimeAxis, per_minute: float | None) -> Chart:
    rates = [one.requests_per_s for one in time.all]
    layers = _area(time, time.steps(lambda one: one.requests_per_s), "requests per second")
    quota = None if per_minute is None else per_minute / 60
    layers, said = _with_limit(layers, max(rates), quota, "quota")
    requests, seconds = sum(one.requests for one in time.all), max(time.seconds, 1e-9)
    summary = f"{requests / seconds:,.1f} on average, {max(rates):,.1f} at most. {said}"
    return draw("Requests per second", summary, layers)


def _in_flight(time: TimeAxis, most: float | None) -> Chart:
    figures = [one.in_flight for one in time.all]
    layers = _area(time, time.steps(lambda one: one.in_flight), "requests in flight")
    layers, said = _with_limit(layers, max(figures), most, "limit")
    return draw("Requests in flight", f"{max(figures):,.0f} at most. {said}", layers)


def _bound(time: TimeAxis) -> Chart:
    rows: list[dict[str, Any]] = []
    open_rows: dict[str, dict[str, Any]] = {}  # the last one of each cause, which may go on
    seconds: dict[str, float] = {}
    for begin, end, _, stretch in time.rows():
        total, below = sum(stretch.bound_s.values()), 0.0
        for cause, amount in sorted(stretch.bound_s.items()):
            name, share = CAUSES.get(cause, cause), amount / total
            seconds[name] = seconds.get(name, 0.0) + amount
            row = {"cause": name, "y": round(below, 4), "y2": round(below + share, 4)}
            before = open_rows.get(name, {})
            if before.get("x2") == begin and row.items() <= before.items():
                before["x2"] = end
            else:
                open_rows[name] = {"x": begin, "x2": end, **row}
                rows.append(open_rows[name])
            below += share
    causes = sorted(seconds, key=lambda name: -seconds[name])
    encoding = {
        "x": time.x,
        "x2": {"field": "x2"},
        "y": quantity("y", None, axis=axis(None, format="%", tickCount=3)),
        "y2": {"field": "y2"},
        "color": {
            "field": "cause",
            "type": "nominal",
            "scale": {"domain": causes, "range": list(SERIES)},
            "sort": causes,
        },
    }
    total_s = max(sum(seconds.values()), 1e-9)
    summary = ", ".join(f"{name} {seconds[name] / total_s:.0%}" for name in causes)
    layers = [{"data": values(rows), "mark": {"type": "rect"}, "encoding": encoding}]
    return draw("What held the run back", f"Share of the time: {summary}.", layers)


def _refusals(time: TimeAxis) -> Chart:
    rows = []
    for name, field in (("429", "throttled"), ("failed", "failed")):
        for begin, end, _, stretch in time.rows():
            count = getattr(stretch, field)
            if count:
                y = round(count / max(stretch.seconds, 1e-9), 4)
                rows.append({"x": begin, "x2": end, "y": y, "what": name})
    encoding = {
        "x": time.x,
        "x2": {"field": "x2"},
        "y": quantity("y", "attempts per second", stack=None),
        "y2": {"datum": 0},
        "color": {
            "field": "what",
            "type": "nominal",
            "scale": {"domain": ["429", "failed"], "range": [SERIES[7], BAD]},
        },
    }
    throttled, failed = (sum(getattr(one, n) for one in time.all) for n in ("throttled", "failed"))
    mark = {"type": "rect", "opacity": 0.75}
    layers = [*time.borders(), {"data": values(rows), "mark": mark, "encoding": encoding}]
    summary = f"{throttled:,} attempts were refused by 429, {failed:,} failed."
    return draw("429s and failures", summary, layers)


def _tokens(time: TimeAxis, per_minute: float | None) -> Chart:
    def per_s(one: Stretch) -> float:
        return one.tokens / max(one.seconds, 1e-9)

    most = max(map(per_s, time.all))
    layers = _area(time, time.steps(per_s), "tokens per second")
    quota = None if per_minute is None else per_minute / 60
    layers, said = _with_limit(layers, most, quota, "quota")
    tokens = sum(one.tokens for one in time.all)
    return draw("Tokens per second", f"{tokens:,} in all, {most:,.0f} at most. {said}", layers)


def _latency_over_time(time: TimeAxis) -> Chart:
    rows = [row for row in time.steps(lambda one: one.p95_ms) if row["y"] > 0]
    layers = _area(time, rows, "milliseconds")
    most = max((row["y"] for row in rows), default=0.0)
    summary = f"95th percentile, by the time of the answer: {short_time(most / 1_000)} at most."
    return draw("Latency over time, 95th percentile", summary, layers)


def _latencies(latencies: Sequence[tuple[float, int]]) -> Chart:
    bins: dict[int, int] = {}
    ratio = _BUCKET_RATIO**_BINS_JOINED
    for upper_ms, count in latencies:
        place = floor(log(upper_ms / _BUCKET_RATIO * 1.001) / log(ratio))
        bins[place] = bins.get(place, 0) + count
    rows = [
        {"x": round(ratio**place, 4), "x2": round(ratio ** (place + 1), 4), "y": count}
        for place, count in sorted(bins.items())
    ]
    encoding = {
        "x": quantity("x", "milliseconds", scale={"type": "log", "nice": False}),
        "x2": {"field": "x2"},
        "y": quantity("y", "requests"),
        "y2": {"datum": 0},
    }
    p50, p95, p99 = (_quantile(latencies, share) for share in (0.5, 0.95, 0.99))
    summary = f"median {p50:,.0f} ms, 95 % within {p95:,.0f} ms, 99 % within {p99:,.0f} ms"
    mark = {"type": "rect", "opacity": 0.8}
    layers = [{"data": values(rows), "mark": mark, "encoding": encoding}]
    return draw("Latency of answered requests", f"{summary[0].upper()}{summary[1:]}.", layers)


def _quantile(latencies: Sequence[tuple[float, int]], share: float) -> float:
    wanted, seen = share * sum(count for _, count in latencies), 0
    for upper_ms, count in latencies:
        seen += count
        if seen >= wanted:
            return upper_ms
    return 0.0
