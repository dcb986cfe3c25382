"""When large blocks are mapped and when they are kept: what page faults say."""

from jobs.process.allocator import CHEAP_FAULTS_PER_S, MOST_FAULTS_AT_ONCE, Faults

LOOK_S = 0.1
CHEAP_IN_A_LOOK = int(CHEAP_FAULTS_PER_S * LOOK_S)


def looks(counts: list[int]) -> list[bool]:
    """Return the verdict at each look, for the faults since the one before."""
    faults, so_far, said = Faults(1_000_000), 1_000_000, []
    for count in counts:
        so_far += count
        said.append(faults.are_cheap(so_far, LOOK_S))
    return said


def test_few_faults_are_cheap_for_ever():
    assert all(looks([CHEAP_IN_A_LOOK] * 10_000))


def test_a_burst_is_cheap_and_forgotten_in_time():
    burst = CHEAP_IN_A_LOOK + MOST_FAULTS_AT_ONCE
    rest = [0] * (MOST_FAULTS_AT_ONCE // CHEAP_IN_A_LOOK + 1)
    assert all(looks([burst, *rest] * 10))


def test_burst_upon_burst_is_not():
    burst = CHEAP_IN_A_LOOK + MOST_FAULTS_AT_ONCE
    assert looks([burst, burst]) == [True, False]


def test_four_times_as_many_as_are_cheap_are_told_within_half_a_second():
    assert False in looks([4 * CHEAP_IN_A_LOOK] * 5)
