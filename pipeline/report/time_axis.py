"""The time axis of the charts of runs: seconds of running, the tries one after the other."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from pipeline.output.ticks import Stretch
from pipeline.report.chart import GRID, Spec, quantity, values
from pipeline.report.tries import Story

_UNITS: Final = ((7_200.0, 3_600.0, "hours"), (180.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


class TimeAxis:
    """Where the stretches of all tries stand on the axis.

    Args:
        story: The runs on an output.

    Attributes:
        all: The stretches of all tries, in order.
        starts: When each try but the first begins, in seconds of running.
        seconds: How long all tries took.
        per_unit: Seconds in a unit of the axis.
        unit: Its name.
    """

    def __init__(self, story: Story) -> None:
        self.all = [stretch for one in story.tries for stretch in one.stretches]
        self.starts = [one.start_s for one in story.tries[1:]]
        self._story = story
        self.seconds = story.seconds
        _, self.per_unit, self.unit = next(u for u in _UNITS if story.seconds >= u[0])

    @property
    def x(self) -> Spec:
        """The encoding of the time axis."""
        many = len(self.starts) > 0
        title = f"{self.unit} of running" + (", tries one after the other" if many else "")
        return quantity("x", title, scale={"domain": [0, self.seconds / self.per_unit]})

    def at(self, seconds: float) -> float:
        """Return a place on the axis."""
        return round(seconds / self.per_unit, 4)

    def rows(self) -> Iterator[tuple[float, float, int, Stretch]]:
        """Yield begin and end on the axis, the number of the try, and each stretch."""
        for one in self._story.tries:
            for stretch in one.stretches:
                begin = one.start_s + stretch.start_s
                yield self.at(begin), self.at(begin + stretch.seconds), one.number, stretch

    def steps(self, figure: Callable[[Stretch], float]) -> list[dict[str, Any]]:
        """Return a step line of a figure of the stretches, each try by itself."""
        rows: list[dict[str, Any]] = []
        for begin, end, of_try, stretch in self.rows():
            value = round(float(figure(stretch)), 4)
            if rows and rows[-1]["try"] == of_try:
                rows.pop()  # the end of the one before, where this one begins
            rows += [{"x": x, "y": value, "try": of_try} for x in (begin, end)]
        return rows

    def borders(self) -> list[Spec]:
        """Return a line where each further try begins."""
        if not self.starts:
            return []
        data = values([{"x": self.at(start)} for start in self.starts])
        mark = {"type": "rule", "color": GRID, "strokeWidth": 2}
        return [{"data": data, "mark": mark, "encoding": {"x": self.x}}]
