"""Sums over the last seconds."""

from jobs.emulator.sliding_window import SlidingWindow


def test_a_window_drops_amounts_as_old_as_itself() -> None:
    window = SlidingWindow(10)
    window.add(0, 3)
    window.add(4, 2)

    assert [window.total(9.9), window.total(10), window.total(14)] == [5, 2, 0]
    assert window.peak == 5
