"""Only what is certain to be refused again is predicted, and little is remembered."""

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.ranking.refused_sizes import MAX_REMEMBERED, RefusedSizes, RequestSize

unhurried = settings(deadline=None)

sizes = st.builds(RequestSize, *[st.integers(0, 9)] * 3)


@unhurried
@given(st.lists(sizes, max_size=30), sizes)
def test_what_is_predicted_is_not_smaller_than_some_refused_size(refused, asked):
    memory = RefusedSizes()
    for size in refused:
        memory.learn(size)

    reaching = [size for size in refused if all(a >= b for a, b in zip(asked, size, strict=True))]

    assert memory.cover(asked) == bool(reaching)


def test_the_newest_sizes_are_remembered():
    memory = RefusedSizes()
    for number in range(10 * MAX_REMEMBERED):
        memory.learn(RequestSize(number, 10_000 - number, 0))

    assert len(memory) == MAX_REMEMBERED
    newest = [RequestSize(number, 10_000 - number, 0) for number in range(576, 640)]
    assert all(memory.cover(size) for size in newest)
    assert not memory.cover(RequestSize(575, 10_000 - 575, 0))


def test_nothing_is_predicted_before_the_first_refusal():
    assert not RefusedSizes()
    assert not RefusedSizes().cover(RequestSize(500, 120_000, 10**7))
