"""Types of options: what they take, and how they refuse the rest."""

import click
import pytest

from jobs.options.types import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE_COUNT,
    POSITIVE_NUMBER,
    USD,
    OneOf,
    YesNo,
)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (POSITIVE_NUMBER, "2.5", 2.5),
        (NOT_NEGATIVE, "0", 0.0),
        (USD, "20", 20.0),
        (COUNT, "0", 0),
        (POSITIVE_COUNT, "1", 1),
        (OneOf(["auto", "trust"]), "trust", "trust"),
        (YesNo(), "true", True),
        (YesNo(), "0", False),
    ],
)
def test_a_value_is_taken(kind: click.ParamType, text: str, value: object) -> None:
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        (USD, "$20", "not a number (found $20, expected US dollars above 0, such as 20 or 0.5)"),
        (USD, "20,5", "not a number (found 20,5, expected US dollars above 0, such as 20 or 0.5)"),
        (USD, "0", "impossible (found 0, expected US dollars above 0, such as 20 or 0.5)"),
        (POSITIVE_NUMBER, "nan", "impossible (found nan, expected a number above 0)"),
        (POSITIVE_NUMBER, "inf", "impossible (found inf, expected a number above 0)"),
        (NOT_NEGATIVE, "-1", "impossible (found -1, expected a number from 0)"),
        (COUNT, "-1", "impossible (found -1, expected 0 or more)"),
        (POSITIVE_COUNT, "0", "impossible (found 0, expected 1 or more)"),
        (POSITIVE_COUNT, "many", "not a whole number (found many, expected 1 or more)"),
        (POSITIVE_COUNT, "2.5", "not a whole number (found 2.5, expected 1 or more)"),
        (
            OneOf(["auto", "trust"]),
            "trsut",
            "no such choice (found trsut, expected auto or trust); did you mean trust?",
        ),
        (OneOf(["a"]), "zzz", "no such choice (found zzz, expected a)"),
        (YesNo(), "perhaps", "neither true nor false (found perhaps, expected true or false)"),
    ],
)
def test_a_refusal_says_what_was_found_and_what_was_expected(
    kind: click.ParamType, text: str, message: str
) -> None:
    with pytest.raises(click.BadParameter) as refused:
        kind.convert(text, None, None)

    assert refused.value.message == message
