"""The window of requests in flight grows with answers while it binds, and is cut once."""

from pipeline.service.throttle.concurrency import ConcurrencyWindow


def fill(window: ConcurrencyWindow) -> int:
    """Take every place; how many were free."""
    taken = 0
    while window.has_room():
        window.acquire(1)
        taken += 1
    return taken


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


def test_an_overload_narrows_the_window_once() -> None:
    window = ConcurrencyWindow(100, None)
    version, in_flight = window.version, fill(window)

    assert window.cut(version)
    assert not window.cut(version)
    answer(window, in_flight)

    assert in_flight == 16
    assert 11 <= fill(window) <= 13  # 0.7 of 16, and a little for the answers


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


def test_new_limits_hold_for_what_comes_next() -> None:
    window = ConcurrencyWindow(100, None)
    fill(window)

    window.set_limits(4, 2)

    assert window.in_flight == 16
    assert not window.has_room()
    answer(window, 16)
    assert fill(window) == 4
