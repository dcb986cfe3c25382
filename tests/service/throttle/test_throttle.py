"""The pace: no window is exceeded, nothing overtakes, and the whole quota is used."""

import asyncio
import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.virtual_clock import run
from support.windows import most_in_a_window

from pipeline.core.settings import Pace
from pipeline.service.metrics import QuotaUse
from pipeline.service.throttle.throttle import Throttle


async def admit_all(
    throttle: Throttle, requests: list[tuple[float, int, int]], *, latency_s: float = 0.05
) -> tuple[list[float], list[int]]:
    """Admit requests (arrival, documents, tokens); the admissions' times and order."""
    loop, times, order = asyncio.get_running_loop(), [], []

    async def one(number: int, arrival_s: float, documents: int, tokens: int) -> None:
        await asyncio.sleep(arrival_s)
        with await throttle.admit(documents, tokens) as permit:
            times.append(loop.time())
            order.append(number)
            await asyncio.sleep(latency_s)
            permit.answered(None)

    async with asyncio.TaskGroup() as tasks:
        for number, request in enumerate(requests):
            tasks.create_task(one(number, *request))
    return times, order


def backlog(count: int, documents: int = 1, tokens: int = 0) -> list[tuple[float, int, int]]:
    return [(0.0, documents, tokens)] * count


@settings(deadline=None, max_examples=60)
@given(
    per_s=st.sampled_from([0.5, 2.0, 7.3, 20.0, 33.0, 90.0, 250.0]),
    gaps=st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.3, 2.0]), min_size=1, max_size=150),
    seed=st.integers(0, 1_000),
)
def test_no_window_of_requests_is_ever_exceeded(per_s, gaps, seed) -> None:
    late = random.Random(seed)
    arrivals = [sum(gaps[: number + 1]) for number in range(len(gaps))]

    times, order = run(
        admit_all(Throttle(Pace(requests_per_minute=60 * per_s)), [(at, 1, 0) for at in arrivals]),
        lateness_s=lambda: late.choice([0.0, 0.001, 0.001, 0.05]),
    )

    ones = [1.0] * len(times)
    assert most_in_a_window(times, ones, 1) <= max(math.ceil(per_s), 1.05 * per_s)
    assert most_in_a_window(times, ones, 10) <= math.ceil(10 * per_s)
    assert most_in_a_window(times, ones, 60) <= math.ceil(60 * per_s)
    assert order == sorted(order, key=lambda number: arrivals[number])


@settings(deadline=None, max_examples=60)
@given(
    tokens=st.lists(st.integers(1, 4_000), min_size=1, max_size=150),
    ratio=st.sampled_from([0.5, 0.9, 1.0]),
    seed=st.integers(0, 1_000),
)
def test_no_window_of_tokens_is_ever_exceeded(tokens, ratio, seed) -> None:
    """Sizes up to the quota of a second; the service counts less than the bound, but never 0."""
    per_s, late = 4_000, random.Random(seed)
    throttle = Throttle(Pace(tokens_per_minute=60 * per_s))
    counted: list[tuple[float, int]] = []

    async def main() -> None:
        async def one(amount: int) -> None:
            with await throttle.admit(1, amount) as permit:
                at = asyncio.get_running_loop().time()
                await asyncio.sleep(0.05)
                total_tokens = math.ceil(ratio * amount)
                permit.answered(total_tokens)
                counted.append((at, total_tokens))

        async with asyncio.TaskGroup() as tasks:
            for amount in tokens:
                tasks.create_task(one(amount))

    run(main(), lateness_s=lambda: late.choice([0.0, 0.001, 0.02]))

    times, amounts = [at for at, _ in counted], [float(amount) for _, amount in counted]
    assert most_in_a_window(times, amounts, 1) <= 1.05 * per_s
    assert most_in_a_window(times, amounts, 60) <= 60 * per_s


@pytest.mark.parametrize("per_s", [1.0, 10.0, 90.0, 400.0])
def test_the_whole_quota_is_used_though_every_wake_up_is_late(per_s) -> None:
    late = random.Random(1)
    count = max(int(20 * per_s), 60)

    times, _ = run(
        admit_all(Throttle(Pace(requests_per_minute=60 * per_s)), backlog(count), latency_s=0.03),
        lateness_s=lambda: late.uniform(0, 0.002),
    )

    assert (count - 1) / (times[-1] - times[0]) >= 0.98 * per_s


@pytest.mark.parametrize("size", [50, 400, 1_000])
def test_the_whole_quota_of_tokens_is_used(size) -> None:
    late, per_s = random.Random(1), 10_000
    count = 20 * per_s // size

    times, _ = run(
        admit_all(Throttle(Pace(tokens_per_minute=60 * per_s)), backlog(count, tokens=size)),
        lateness_s=lambda: late.uniform(0, 0.002),
    )

    assert (count - 1) * size / (times[-1] - times[0]) >= 0.97 * per_s


def test_a_start_is_no_burst() -> None:
    times, _ = run(admit_all(Throttle(Pace(requests_per_minute=600)), backlog(20)))

    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert min(gaps) >= 0.09


def test_many_small_requests_do_not_starve_a_large_one() -> None:
    requests = [*backlog(50, tokens=10), (0.0, 1, 5_000), *backlog(50, tokens=10)]

    _, order = run(admit_all(Throttle(Pace(tokens_per_minute=60_000)), requests))

    assert order == list(range(101))


def test_a_request_larger_than_the_quota_of_a_second_goes_alone() -> None:
    times, _ = run(admit_all(Throttle(Pace(tokens_per_minute=60_000)), backlog(3, tokens=3_000)))

    assert times[1] - times[0] >= 2.9


def test_requests_and_documents_in_flight_are_bounded() -> None:
    throttle = Throttle(Pace(max_in_flight=5, max_documents_in_flight=10))
    most = [0, 0]

    async def main() -> None:
        async def one(documents: int) -> None:
            with await throttle.admit(documents, 0) as permit:
                most[0] = max(most[0], throttle.in_flight)
                most[1] = max(most[1], throttle.documents_in_flight)
                await asyncio.sleep(0.1)
                permit.answered(None)

        async with asyncio.TaskGroup() as tasks:
            for documents in [1, 4, 3, 2, 10, 1, 1, 1, 1, 1, 1, 1] * 5:
                tasks.create_task(one(documents))

    run(main())

    assert most == [5, 10]


def test_a_request_with_too_many_documents_goes_alone() -> None:
    times, _ = run(
        admit_all(Throttle(Pace(max_documents_in_flight=10)), backlog(3, documents=50), latency_s=1)
    )

    assert times == pytest.approx([0, 1, 2], abs=0.01)


def test_the_window_starts_small_and_doubles_with_each_round_trip() -> None:
    times, _ = run(
        admit_all(Throttle(Pace(max_in_flight=1_000)), backlog(16 + 32 + 64), latency_s=1)
    )

    counts = [sum(1 for time in times if round(time) == second) for second in range(3)]
    assert counts == [16, 32, 64]


def test_usage_below_the_estimate_makes_room_for_more() -> None:
    throttle = Throttle(Pace(tokens_per_minute=600_000))

    async def main() -> float:
        async def one() -> None:
            with await throttle.admit(1, 1_000) as permit:
                await asyncio.sleep(0.05)
                permit.answered(250)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(400):
                tasks.create_task(one())
        return asyncio.get_running_loop().time()

    took_s = run(main())

    assert 400 * 250 / 10_000 <= took_s <= 1.1 * 400 * 250 / 10_000


def test_a_new_pace_holds_at_once() -> None:
    throttle = Throttle(Pace(requests_per_minute=600))

    async def main() -> list[float]:
        asyncio.get_running_loop().call_later(
            1, throttle.set_pace, Pace(requests_per_minute=60_000)
        )
        times, _ = await admit_all(throttle, backlog(200))
        return times

    times = run(main())

    assert sum(time < 1 for time in times) <= 11
    assert times[-1] < 2


def test_the_use_of_the_quota_tells_what_bound_the_run() -> None:
    def bound_by(pace: Pace, requests: list[tuple[float, int, int]]) -> str:
        use = QuotaUse()
        run(admit_all(Throttle(pace, use), requests))
        return use.bound_by

    seldom = [(float(number), 1, 1) for number in range(5)]
    assert bound_by(Pace(requests_per_minute=600), backlog(50)) == "requests_per_minute"
    assert bound_by(Pace(tokens_per_minute=600), backlog(5, tokens=10)) == "tokens_per_minute"
    assert bound_by(Pace(max_in_flight=1), backlog(50)) == "max_in_flight"
    documents_bound = Pace(max_documents_in_flight=1)
    assert bound_by(documents_bound, backlog(50)) == "max_documents_in_flight"
    assert bound_by(Pace(requests_per_minute=600), seldom) == "source"


def test_the_use_of_the_quota_tells_its_share() -> None:
    use = QuotaUse()

    run(admit_all(Throttle(Pace(requests_per_minute=600), use), backlog(100)))

    assert use.share == pytest.approx(0.995, abs=0.005)


def test_the_repr_shows_what_is_in_flight_and_the_rates() -> None:
    throttle = Throttle(Pace(requests_per_minute=5_400, max_in_flight=2))

    async def main() -> None:
        await throttle.admit(30, 1)
        second = await throttle.admit(12, 1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(throttle.admit(1, 1))
            await asyncio.sleep(1)
            assert repr(throttle) == (
                "<Throttle in_flight=2/2 documents=42 waiting=1"
                " requests=<Quota per_s=90.0 configured_per_s=90.0>"
                " tokens=<Quota per_s=None configured_per_s=None>>"
            )
            with second:
                pass

    run(main())

    assert repr(throttle).startswith("<Throttle in_flight=2/2 documents=31 waiting=0 requests=<")


@pytest.mark.parametrize(
    ("pace", "name"),
    [
        (Pace(requests_per_minute=0.1), "requests_s"),
        (Pace(tokens_per_minute=3), "tokens_s"),
        (Pace(max_in_flight=1), "in_flight_s"),
        (Pace(max_documents_in_flight=1), "documents_in_flight_s"),
    ],
)
def test_a_wait_is_counted_while_it_goes_on(pace: Pace, name: str) -> None:
    throttle = Throttle(pace)

    async def main() -> list[float]:
        await throttle.admit(1, 1)
        before = getattr(throttle.quota_use_now().waits, name)
        second = asyncio.create_task(throttle.admit(1, 1))
        counted = []
        for _ in range(3):
            await asyncio.sleep(5)
            counted.append(getattr(throttle.quota_use_now().waits, name) - before)
        second.cancel()
        return counted

    assert run(main()) == pytest.approx([5, 10, 15], abs=0.1)


def test_requests_of_many_minutes_quota_pass_one_by_one_and_are_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    times, _ = run(admit_all(Throttle(Pace(tokens_per_minute=10)), backlog(3, tokens=50)))

    assert times == pytest.approx([301, 603, 905], abs=4)
    assert [record.getMessage() for record in caplog.records] == [
        "pace.long_wait tokens=50 tokens_per_minute=10.0 wait_s=300"
    ]


def test_a_request_of_a_minutes_quota_is_no_long_wait(caplog: pytest.LogCaptureFixture) -> None:
    run(admit_all(Throttle(Pace(tokens_per_minute=5_000)), backlog(3, tokens=5_000)))

    assert not caplog.records


def test_a_wait_that_was_looked_at_is_counted_once() -> None:
    use = QuotaUse()
    throttle = Throttle(Pace(requests_per_minute=60), use)

    async def main() -> None:
        async def look() -> None:
            for _ in range(300):
                await asyncio.sleep(0.1)
                throttle.quota_use_now()

        looking = asyncio.create_task(look())
        await admit_all(throttle, backlog(20))
        looking.cancel()

    run(main())

    assert use.waits.requests_s == pytest.approx(use.admitted_s, rel=0.02)
