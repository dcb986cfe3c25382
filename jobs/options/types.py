"""Types of options beside those of Click."""

import math
from typing import Any, Final

import click


class FiniteNumber(click.FloatRange):
    """A range of numbers without NaN and infinities, which no comparison refuses."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Utf8Text(click.types.StringParamType):
    """A text that can be written as UTF-8; bytes of the command line or environment may not be."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the text, or fail."""
        text = super().convert(value, param, ctx)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail(f"{text!a} is not valid UTF-8.", param, ctx)
        return text


POSITIVE_NUMBER: Final = FiniteNumber(min=0, min_open=True)
NOT_NEGATIVE: Final = FiniteNumber(min=0)
