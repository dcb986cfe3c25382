"""Common runs of characters are found, and told from shorter ones."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.service.wire.common_runs import have_common_run

LENGTH = 11


def simply(short: str, long: str) -> bool:
    return any(short[at : at + LENGTH] in long for at in range(len(short) - LENGTH + 1))


@given(
    st.text("ab", max_size=40),
    st.text("ab", max_size=200),
    st.text("abü数", max_size=30),
)
def test_a_run_is_found_if_there_is_one(short: str, long: str, shared: str) -> None:
    short, long = short + shared + short[::-1], long[:37] + shared + long[37:]

    assert have_common_run([short], long, length=LENGTH) is simply(short, long)


def test_any_of_the_short_texts_counts() -> None:
    assert have_common_run(["other", "0123456789abc"], "-0123456789a-", length=LENGTH)
    assert not have_common_run(["other", "0123456789abc"], "-0123456789-", length=LENGTH)


def test_nothing_is_found_in_nothing() -> None:
    assert not have_common_run([], "a text", length=LENGTH)
    assert not have_common_run(["a text of some length"], "", length=LENGTH)
