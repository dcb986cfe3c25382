"""Types of options in addition to Click's, with messages that say what they expected."""

import math
from difflib import get_close_matches
from typing import Any, Final

import click
from click.shell_completion import CompletionItem


class Number(click.FloatRange):
    """A finite number: range checks do not catch NaN and infinities.

    Args:
        expected: Valid values, in words.
        limits: Those of `click.FloatRange`.
    """

    name = "n"

    def __init__(self, expected: str, **limits: Any) -> None:
        super().__init__(**limits)
        self.expected = expected

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail."""
        try:
            number = float(value)
        except ValueError:
            self.fail(_refusal("not a number", value, self.expected), param, ctx)
        try:
            if math.isfinite(number):
                return super().convert(number, param, ctx)
        except click.BadParameter:
            pass
        self.fail(_refusal("impossible", value, self.expected), param, ctx)


class Count(click.IntRange):
    """A whole number.

    Args:
        expected: Valid values, in words.
        limits: Those of `click.IntRange`.
    """

    name = "n"

    def __init__(self, expected: str, **limits: Any) -> None:
        super().__init__(**limits)
        self.expected = expected

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or fail."""
        try:
            number = int(value)
        except ValueError:
            plain = str(value).replace(",", "").replace("_", "")
            cure = f"; write it {plain}" if plain.isdecimal() else ""
            self.fail(_refusal("not a whole number", value, self.expected) + cure, param, ctx)
        try:
            return super().convert(number, param, ctx)
        except click.BadParameter:
            self.fail(_refusal("impossible", value, self.expected), param, ctx)


class OneOf(click.Choice[str]):
    """One of a few words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the word, or fail and name the nearest one."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            nearest = get_close_matches(str(value).lower(), self.choices, n=1)
            cure = f"; did you mean {nearest[0]}?" if nearest else ""
            expected = " or ".join(filter(None, (", ".join(self.choices[:-1]), self.choices[-1])))
            self.fail(_refusal("no such choice", value, expected) + cure, param, ctx)


class YesNo(click.types.BoolParamType):
    """The value of a flag that a variable or a file sets."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bool:
        """Return the truth value, or fail."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            self.fail(_refusal("neither true nor false", value, "true or false"), param, ctx)


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


class Place(Utf8Text):
    """A path or an address; shells complete it as a path."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Ask the shell for its own completion of paths."""
        return [CompletionItem(incomplete, type="file")]


def _refusal(what: str, value: object, expected: str) -> str:
    return f"{what} (found {value}, expected {expected})"


POSITIVE_NUMBER: Final = Number("a number above 0", min=0, min_open=True)
NOT_NEGATIVE: Final = Number("a number from 0", min=0)
SECONDS: Final = Number("seconds above 0, such as 30 or 0.5", min=0, min_open=True)
SECONDS_OR_NONE: Final = Number("seconds from 0, such as 30 or 0.5", min=0)
MINUTES: Final = Number("minutes above 0, such as 10 or 0.5", min=0, min_open=True)
DAYS: Final = Number("days from 0, such as 90", min=0)
USD: Final = Number("US dollars above 0, such as 20 or 0.5", min=0, min_open=True)
POSITIVE_COUNT: Final = Count("1 or more", min=1)
COUNT: Final = Count("0 or more", min=0)
