"""A cancelled wait or request should leave the throttle in a consistent state."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.virtual_clock import run

from pipeline.core.settings import Pace
from pipeline.service.throttle.throttle import Throttle

TIGHT = Pace(
    requests_per_minute=1_200, tokens_per_minute=120_000, max_in_flight=4, max_documents_in_flight=6
)


async def hold(throttle: Throttle, documents: int, tokens: int) -> None:
    with await throttle.admit(documents, tokens) as permit:
        await asyncio.sleep(0.2)
        permit.answered(tokens)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(
        st.tuples(st.integers(1, 6), st.integers(0, 500), st.floats(0, 3)), min_size=1, max_size=30
    )
)
def test_cancelling_anywhere_leaves_nothing_in_flight_and_the_throttle_usable(requests) -> None:
    throttle = Throttle(TIGHT)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            for documents, tokens, cancel_at in requests:
                task = tasks.create_task(hold(throttle, documents, tokens))
                loop.call_later(cancel_at, task.cancel)
        assert throttle.in_flight == 0
        assert throttle.documents_in_flight == 0
        before = loop.time()
        await hold(throttle, 6, 500)
        assert loop.time() - before < 1

    run(main())


@pytest.mark.parametrize(
    ("pace", "tokens"),
    [
        (Pace(max_in_flight=1), 1),
        (Pace(max_documents_in_flight=1), 1),
        (Pace(requests_per_minute=1), 1),
        (Pace(tokens_per_minute=60), 60),
    ],
)
def test_cancelling_the_first_in_line_lets_the_next_one_go(pace, tokens) -> None:
    throttle = Throttle(pace)

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(hold(throttle, 1, tokens))
            first, second = (tasks.create_task(hold(throttle, 1, tokens)) for _ in range(2))
            await asyncio.sleep(0.1)
            first.cancel()
        assert first.cancelled()
        assert second.exception() is None

    run(main())


def test_a_failing_request_gives_its_place_back() -> None:
    throttle = Throttle(Pace(max_in_flight=1))

    async def main() -> None:
        with pytest.raises(ValueError, match="boom"):
            with await throttle.admit(3, 1):
                raise ValueError("boom")
        assert throttle.in_flight == 0

    run(main())
