"""The window of requests in flight grows with answers while it binds, and is cut once."""

import pytest

from pipeline.service.throttle.concurrency import ConcurrencyWindow


def fill(window: ConcurrencyWindow) -> int:
    """Take every place; how many were free."""
    taken = 0
    while window.has_room():
        window.acquire(1)
        taken += 1
    return taken


def width(window: ConcurrencyWindow) -> int:
    return window.in_flight + window.room


def answer(window: ConcurrencyWindow, count: int) -> None:
    for _ in range(count):
        window.release(1)
        window.grow()


def test_a_full_window_doubles_with_each_round_of_answers() -> None:
    window = ConcurrencyWindow(100, None)

    rounds = []
    for _ in range(5):
        rounds.append(fill(window))
        answer(window, rounds[-1])

    assert rounds == [16, 32, 64, 100, 100]


def test_a_window_that_is_hardly_used_does_not_grow() -> None:
    window = ConcurrencyWindow(100, None)

    for _ in range(50):
        window.acquire(1)
        answer(window, 1)

    assert fill(window) == 16


def test_a_window_that_never_was_full_does_not_grow() -> None:
    window = ConcurrencyWindow(100, None)
    for _ in range(15):
        assert window.has_room()
        window.acquire(1)

    assert window.has_room()
    window.grow()

    assert width(window) == 16


@pytest.mark.parametrize(("still_in_flight", "grown"), [(8, 17), (7, 16)])
def test_a_window_that_was_full_grows_until_less_than_half_of_it_is_in_use(
    still_in_flight: int, grown: int
) -> None:
    window = ConcurrencyWindow(100, None)
    for _ in range(fill(window) - still_in_flight):
        window.release(1)

    window.acquire(1)
    window.grow()

    assert width(window) == grown


def test_an_overload_narrows_the_window_once() -> None:
    window = ConcurrencyWindow(100, None)
    version, in_flight = window.version, fill(window)

    assert window.cut(version)
    assert not window.cut(version)
    answer(window, in_flight)

    assert in_flight == 16
    assert 11 <= fill(window) <= 13  # 0.7 of 16, and a little for the answers


def test_each_overload_narrows_the_window_once() -> None:
    window = ConcurrencyWindow(100, None)
    fill(window)

    for _ in range(4):
        version = window.version
        assert [window.cut(version) for _ in range(3)] == [True, False, False]


def test_after_an_overload_a_round_of_answers_widens_the_window_by_one() -> None:
    window = ConcurrencyWindow(100, None)
    in_flight = fill(window)
    window.cut(window.version)
    for _ in range(in_flight):
        window.release(1)

    rounds = []
    for _ in range(5):
        rounds.append(fill(window))
        answer(window, rounds[-1])

    assert rounds == [11, 12, 13, 14, 15]


def test_a_wide_window_is_narrowed_to_less_than_was_in_flight_at_the_overload() -> None:
    window = ConcurrencyWindow(100, None)
    while (in_flight := fill(window)) < 100:
        answer(window, in_flight)
    for _ in range(98):
        window.release(1)

    window.cut(window.version)
    window.release(1)
    window.release(1)

    assert fill(window) == 1  # 0.7 of 2


def test_documents_are_bounded_but_any_number_may_go_alone() -> None:
    window = ConcurrencyWindow(100, 10)

    assert window.has_room_for_documents(50)
    window.acquire(8)
    assert window.has_room_for_documents(2)
    assert not window.has_room_for_documents(3)


def test_documents_are_counted_until_their_request_ends() -> None:
    window = ConcurrencyWindow(100, 10)
    window.acquire(5)
    window.acquire(3)
    assert not window.has_room_for_documents(3)

    window.release(5)

    assert window.documents == 3
    assert window.has_room_for_documents(7)
    assert not window.has_room_for_documents(8)


@pytest.mark.parametrize(("max_in_flight", "reopened"), [(100, 11), (101, 16)])
def test_a_higher_bound_opens_a_narrowed_window_anew(max_in_flight: int, reopened: int) -> None:
    window = ConcurrencyWindow(100, None)
    fill(window)
    window.cut(window.version)
    for _ in range(16):
        window.release(1)

    window.set_limits(max_in_flight, None)

    assert width(window) == reopened


def test_a_higher_bound_leaves_a_window_that_is_wider_as_it_is() -> None:
    window = ConcurrencyWindow(100, None)
    answer(window, fill(window))

    window.set_limits(101, None)

    assert width(window) == 32


def test_new_limits_hold_for_what_comes_next() -> None:
    window = ConcurrencyWindow(100, None)
    fill(window)

    window.set_limits(4, 2)

    assert window.in_flight == 16
    assert not window.has_room()
    answer(window, 16)
    assert fill(window) == 4
