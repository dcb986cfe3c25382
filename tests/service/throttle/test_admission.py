"""All limits together: which of them a refusal cuts."""

import asyncio
import logging

import pytest
from support.virtual_clock import on_virtual_clock

from pipeline.core.errors import Throttled
from pipeline.core.settings import Pace
from pipeline.service.metrics import QuotaUse
from pipeline.service.throttle.admission import AdmissionControl
from pipeline.service.throttle.permit import ThrottlePermit
from pipeline.service.throttle.text_kind import UNKNOWN_KIND


def control() -> AdmissionControl:
    pace = Pace(requests_per_minute=6_000, tokens_per_minute=6_000)
    return AdmissionControl(pace, QuotaUse(), lambda: None)


@on_virtual_clock
async def test_the_kind_of_texts_matters_once_a_tenth_of_the_quota_of_tokens_is_used() -> None:
    limits = AdmissionControl(Pace(tokens_per_minute=60_000_000), QuotaUse(), lambda: None)
    await limits.grant(1, 1, UNKNOWN_KIND)

    before = limits.try_grant_of_any_kind(1, 60)
    limits.tokens.enter(limits.now(), 103_000)
    after = limits.try_grant_of_any_kind(1, 60)

    assert (before is not None, after is not None) == (True, False)


@on_virtual_clock
async def test_the_kind_of_texts_matters_while_a_refusal_holds_the_rate_down() -> None:
    limits = AdmissionControl(Pace(tokens_per_minute=60_000), QuotaUse(), lambda: None)
    permit = await limits.grant(1, 1, UNKNOWN_KIND)
    permit.throttled(Throttled("Throttling", limit="tokens"))
    await asyncio.sleep(60)

    assert limits.try_grant_of_any_kind(1, 1) is None


@pytest.mark.parametrize(
    ("limit", "cut"),
    [
        ("requests", (True, False, False)),
        ("growth", (True, False, False)),
        ("tokens", (False, True, False)),
        ("capacity", (False, False, True)),
    ],
)
@on_virtual_clock
async def test_the_limit_that_the_refusal_names_is_cut(limit, cut) -> None:
    limits = control()
    permit = await limits.grant(1, 1, UNKNOWN_KIND)

    permit.throttled(Throttled("Throttling", limit=limit))

    requests, tokens = limits.requests.rate.current, limits.tokens.rate.current
    assert requests is not None
    assert tokens is not None
    assert (requests < 100, tokens < 100, limits.concurrency.version > 0) == cut


@on_virtual_clock
async def test_a_cut_is_logged_with_the_new_rates(caplog) -> None:
    permit = await control().grant(1, 1, UNKNOWN_KIND)

    with caplog.at_level(logging.WARNING):
        permit.throttled(Throttled("Throttling.RateQuota", limit="requests", retry_after_s=7))

    (record,) = caplog.records
    assert record.event == "pace.cut"
    assert record.fields == {
        "limit": "requests",
        "code": "Throttling.RateQuota",
        "refused": 1,
        "granted_per_s": 0.0,
        "requests_per_s": 85.0,
        "tokens_per_s": 100.0,
        "pause_s": 7,
    }


@on_virtual_clock
async def test_the_tokens_of_a_refused_request_are_given_back() -> None:
    """Each takes two thirds of a minute's tokens; the even pace alone is 40 s."""
    limits = AdmissionControl(Pace(tokens_per_minute=60_000), QuotaUse(), lambda: None)
    clock = asyncio.get_running_loop().time
    permit = await limits.grant(1, 40_000, UNKNOWN_KIND)
    refused_at = clock()
    permit.throttled(Throttled("Throttling", limit="capacity", retry_after_s=1))

    await limits.grant(1, 40_000, UNKNOWN_KIND)

    assert clock() - refused_at == pytest.approx(40, abs=1)


@on_virtual_clock
async def test_a_retry_after_beyond_reason_is_waited_for_ten_minutes() -> None:
    limits = control()
    permit = await limits.grant(1, 1, UNKNOWN_KIND)
    permit.throttled(Throttled("Throttling", retry_after_s=1e9))

    await limits.grant(1, 1, UNKNOWN_KIND)

    assert asyncio.get_running_loop().time() == pytest.approx(600, abs=1)


# --- Waits --------------------------------------------------------------------------------------


def limits_of(pace: Pace, use: QuotaUse | None = None) -> AdmissionControl:
    return AdmissionControl(pace, use or QuotaUse(), lambda: None)


async def granted(limits: AdmissionControl, documents: int = 1, tokens: int = 1) -> ThrottlePermit:
    return await limits.grant(documents, tokens, UNKNOWN_KIND)


def clock() -> float:
    return asyncio.get_running_loop().time()


@on_virtual_clock
async def test_each_wait_is_counted_by_its_cause() -> None:
    use = QuotaUse()
    limits = limits_of(Pace(requests_per_minute=60, tokens_per_minute=60_000), use)
    permit = await granted(limits, tokens=3_000)
    permit.throttled(Throttled("Throttling", limit="capacity", retry_after_s=10))

    refused_at = clock()
    await granted(limits, tokens=3_000)
    limits.book_waits()

    assert refused_at == pytest.approx(3, abs=0.1)  # of tokens
    assert use.waits.requests_s == pytest.approx(0, abs=0.01)  # passed meanwhile
    assert use.waits.tokens_s == pytest.approx(refused_at + 3, abs=0.1)
    assert use.waits.pause_s == pytest.approx(10 - 3, abs=0.1)


@on_virtual_clock
async def test_a_wait_is_counted_while_it_goes_on_and_not_after_it() -> None:
    use = QuotaUse()
    limits = limits_of(Pace(requests_per_minute=60), use)
    await granted(limits)
    waiting = asyncio.create_task(granted(limits))
    await asyncio.sleep(0.5)
    limits.book_waits()
    halfway = use.waits.requests_s
    await waiting
    await asyncio.sleep(7)
    limits.book_waits()

    assert halfway == pytest.approx(0.5, abs=0.01)
    assert use.waits.requests_s == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("limit", ["requests", "tokens"])
@on_virtual_clock
async def test_a_rate_that_was_cut_grows_only_if_requests_waited_for_it(limit: str) -> None:
    limits = limits_of(Pace(requests_per_minute=60_000, tokens_per_minute=6_000_000))
    tokens = 500 if limit == "tokens" else 1
    rate = limits.tokens.rate if limit == "tokens" else limits.requests.rate

    async def serve(count: int) -> None:
        for permit in [await granted(limits, tokens=tokens) for _ in range(count)]:
            permit.answered(tokens)

    await serve(8)
    (await granted(limits, tokens=tokens)).throttled(Throttled("Throttling", limit=limit))
    await asyncio.sleep(1)
    await serve(1)
    cut_to = rate.current
    for _ in range(4):
        await asyncio.sleep(20)
        await serve(1)
    assert rate.current == cut_to
    await serve(60)

    assert cut_to is not None
    assert rate.current is not None
    assert rate.current > cut_to
    other = limits.requests if limit == "tokens" else limits.tokens
    assert other.rate.current == other.configured


@pytest.mark.parametrize(
    ("pace", "tokens"),
    [(Pace(requests_per_minute=60), 1), (Pace(tokens_per_minute=6_000), 100)],
)
@on_virtual_clock
async def test_whoever_is_cancelled_in_a_pause_gives_back_what_it_had(
    pace: Pace, tokens: int
) -> None:
    limits = limits_of(pace)
    first = await granted(limits, tokens=tokens)
    begun = clock()
    first.answered(tokens)
    first.throttled(Throttled("Throttling", limit="capacity", retry_after_s=1.5))
    second = asyncio.create_task(granted(limits, tokens=tokens))
    await asyncio.sleep(1.2)  # it has waited for the pace, and waits for the end of the pause
    second.cancel()
    await asyncio.sleep(0)

    third = await granted(limits, tokens=tokens)

    assert clock() - begun == pytest.approx(1.5, abs=0.1)
    assert third.tokens == tokens
    assert limits.concurrency.in_flight == 2
    await granted(limits, tokens=tokens)
    assert clock() - begun >= 1.9  # no more than it had is given back


@on_virtual_clock
async def test_whoever_is_cancelled_in_the_wait_for_tokens_gives_its_request_back() -> None:
    limits = limits_of(Pace(requests_per_minute=60, tokens_per_minute=60_000))
    await granted(limits, tokens=0)
    waiting = asyncio.create_task(granted(limits, tokens=60_000))
    await asyncio.sleep(1.1)  # for a second it has waited for its request
    waiting.cancel()
    await asyncio.sleep(0)

    await granted(limits, tokens=0)

    assert clock() == pytest.approx(1.1, abs=0.02)
    await granted(limits, tokens=0)
    assert clock() >= 1.9  # no more than it had is given back


@on_virtual_clock
async def test_the_window_of_a_second_holds_a_large_request_back_though_its_pace_is_over() -> None:
    limits = limits_of(Pace(tokens_per_minute=60_000))
    await granted(limits, tokens=900)
    begun = clock()
    assert begun == pytest.approx(0.86, abs=0.01)
    waiting = asyncio.create_task(granted(limits, tokens=500))
    await asyncio.sleep(0.9)  # its pace is over after half a second
    assert not waiting.done()
    waiting.cancel()
    await asyncio.sleep(0)

    await granted(limits, tokens=500)

    assert clock() - begun == pytest.approx(1.0, abs=0.02)


# --- Without waiting ----------------------------------------------------------------------------


@on_virtual_clock
async def test_without_limits_every_request_is_granted_at_once() -> None:
    limits = limits_of(Pace())

    permits = [limits.try_grant(3, 100, UNKNOWN_KIND) for _ in range(4)]

    assert None not in permits
    assert (limits.concurrency.in_flight, limits.concurrency.documents) == (4, 12)


@on_virtual_clock
async def test_nothing_is_granted_at_once_where_something_must_be_waited_for() -> None:
    def tried(limits: AdmissionControl, documents: int = 1, tokens: int = 1) -> bool:
        return limits.try_grant(documents, tokens, UNKNOWN_KIND) is not None

    place, documents = limits_of(Pace(max_in_flight=1)), limits_of(Pace(max_documents_in_flight=5))
    paused, refused = limits_of(Pace()), limits_of(Pace())
    pace = limits_of(Pace(requests_per_minute=60))
    window = limits_of(Pace(tokens_per_minute=60_000))
    for limits in (place, documents, refused, pace):
        await granted(limits, documents=3)
    await granted(window, tokens=1_000)
    paused.set(Pace(is_paused=True))
    permit = await granted(refused)
    permit.throttled(Throttled("Throttling", limit="capacity", retry_after_s=1))
    for _ in range(2):
        refused.concurrency.release(1)

    assert not tried(place)
    assert not tried(documents, 3)
    assert tried(documents, 2)
    assert not tried(paused)
    assert not tried(refused)
    assert not tried(pace)
    assert not tried(window, tokens=20)
    await asyncio.sleep(1.01)
    assert tried(refused)


@on_virtual_clock
async def test_a_request_without_tokens_in_hand_leaves_the_pace_of_requests_as_it_was() -> None:
    """A piece of five requests is in hand; tokens must be waited for."""
    limits = limits_of(Pace(requests_per_minute=60_000, tokens_per_minute=6_000_000))
    await granted(limits, tokens=1_990)

    assert [limits.try_grant(1, 2_000, UNKNOWN_KIND) for _ in range(1_000)] == [None] * 1_000

    await granted(limits, tokens=1)
    assert limits.try_grant(1, 1, UNKNOWN_KIND) is not None
    assert clock() < 0.03
    for _ in range(1_000):
        await granted(limits, tokens=0)
    assert clock() > 0.95


@on_virtual_clock
async def test_a_request_that_need_not_wait_takes_the_tokens_of_its_kind() -> None:
    limits = limits_of(Pace(tokens_per_minute=6_000_000))
    (await limits.grant(1, 100, b"digits")).answered(100)
    (await limits.grant(1, 100, b"english")).answered(20)

    permit = limits.try_grant(1, 100, b"english")

    assert permit is not None
    assert permit.estimate == pytest.approx(100 * 0.2 * 1.1)


# --- Probes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", ["requests", "tokens"])
@on_virtual_clock
async def test_while_a_rate_is_measured_one_request_at_a_time_is_sent(limit: str) -> None:
    limits = limits_of(Pace(requests_per_minute=60_000, tokens_per_minute=60_000_000))
    permit = await granted(limits)
    permit.throttled(Throttled("Throttling", limit=limit))
    limits.released(permit)

    probe = await granted(limits)
    probed_at = clock()
    assert limits.try_grant(1, 1, UNKNOWN_KIND) is None
    waiting = asyncio.create_task(granted(limits))
    await asyncio.sleep(5)
    assert not waiting.done()
    probe.answered(1)
    limits.released(probe)
    await waiting

    assert probed_at == pytest.approx(0.25, abs=0.01)
    assert clock() == pytest.approx(5.25, abs=0.01)
    assert limits.try_grant(1, 1, UNKNOWN_KIND) is not None or limits.requests.rate.current


@on_virtual_clock
async def test_a_request_that_is_no_probe_does_not_end_one() -> None:
    limits = limits_of(Pace(requests_per_minute=60_000))
    permit, other = await granted(limits), await granted(limits)
    permit.throttled(Throttled("Throttling"))
    await granted(limits)

    limits.released(other)

    assert limits.try_grant(1, 1, UNKNOWN_KIND) is None


# --- Outcomes -----------------------------------------------------------------------------------


@on_virtual_clock
async def test_the_use_of_the_quota_is_what_was_served() -> None:
    use = QuotaUse()
    limits = limits_of(Pace(requests_per_minute=6_000, tokens_per_minute=600_000), use)
    await granted(limits)
    for total_tokens in (60, None, 30):
        (await granted(limits, tokens=100)).answered(total_tokens)
    (await granted(limits, tokens=100)).throttled(Throttled("Throttling"))

    assert use.tokens_used == 60 + 100 * 0.6 * 1.1 + 30
    assert use.requests_used == 3
    assert use.requests_offered == pytest.approx(100 * use.admitted_s)
    assert use.tokens_offered == pytest.approx(10_000 * use.admitted_s)


@on_virtual_clock
async def test_without_a_quota_of_requests_or_tokens_none_is_used() -> None:
    use = QuotaUse()
    limits = limits_of(Pace(), use)

    for _ in range(3):
        (await granted(limits, tokens=100)).answered(60)
    (await granted(limits)).throttled(Throttled("Throttling"))

    assert (use.tokens_used, use.requests_used) == (0, 0)


@on_virtual_clock
async def test_an_answer_ends_the_doubling_of_pauses() -> None:
    limits, gaps = limits_of(Pace(requests_per_minute=60_000)), []
    for outcome in ("refused", "refused", "answered", "refused", "refused"):
        begun = clock()
        permit = await granted(limits)
        gaps.append(clock() - begun)
        if outcome == "answered":
            permit.answered(1)
        else:
            permit.throttled(Throttled("Throttling"))
        limits.released(permit)

    assert gaps == pytest.approx([0, 0.25, 0.5, 0, 0.25], abs=0.03)


@on_virtual_clock
async def test_answers_widen_the_window_in_flight() -> None:
    limits = limits_of(Pace(max_in_flight=100))
    permits = [await granted(limits) for _ in range(16)]
    assert not limits.concurrency.has_room()

    for permit in permits:
        limits.released(permit)
        permit.answered(1)

    assert limits.concurrency.room == 32


@on_virtual_clock
async def test_the_time_in_which_all_places_are_taken_is_counted_until_one_is_free() -> None:
    use, freed = QuotaUse(), []
    limits = AdmissionControl(Pace(max_in_flight=2), use, lambda: freed.append(clock()))
    first, _ = await granted(limits), await granted(limits)
    await asyncio.sleep(3)
    limits.book_waits()
    assert use.waits.in_flight_s == pytest.approx(3, abs=0.01)
    await asyncio.sleep(1)
    limits.released(first)
    await asyncio.sleep(10)
    limits.book_waits()

    assert use.waits.in_flight_s == pytest.approx(4, abs=0.01)
    assert freed == [pytest.approx(4, abs=0.01)]


@pytest.mark.parametrize(
    ("limit", "rates"), [("requests", (3.2, None)), ("tokens", (None, 3.2 * 50))]
)
@on_virtual_clock
async def test_an_unknown_limit_is_four_fifths_of_four_such_requests_a_second(limit, rates) -> None:
    limits = limits_of(Pace())

    (await granted(limits, tokens=50)).throttled(Throttled("Throttling", limit=limit))

    assert (limits.requests.rate.current, limits.tokens.rate.current) == rates


@on_virtual_clock
async def test_answers_are_granted_requests_and_tokens() -> None:
    limits = limits_of(Pace(requests_per_minute=6_000, tokens_per_minute=600_000))
    for _ in range(3):
        (await granted(limits, tokens=100)).answered(40)

    assert limits.requests.rate.granted_per_s(clock()) == 3
    assert limits.tokens.rate.granted_per_s(clock()) == 120


@pytest.mark.parametrize(("limit", "per_s"), [("growth", 20.0), ("requests", 48.0)])
@on_virtual_clock
async def test_a_refusal_for_growth_is_told_from_one_of_the_rate(limit: str, per_s: float) -> None:
    limits = limits_of(Pace(requests_per_minute=6_000))
    permits = [await granted(limits) for _ in range(26)]
    for permit in permits[:25]:
        permit.answered(1)

    permits[25].throttled(Throttled("Throttling", limit=limit))

    assert limits.requests.rate.current == pytest.approx(per_s)


# --- The operator -------------------------------------------------------------------------------


@on_virtual_clock
async def test_the_operators_pauses_are_counted_together() -> None:
    limits = limits_of(Pace())
    assert limits.paused_s == 0
    for pause in (True, True, False, False, True):
        limits.set(Pace(is_paused=pause))
        await asyncio.sleep(10)

    assert limits.paused_s == pytest.approx(30, abs=0.01)
    limits.set(Pace())
    await asyncio.sleep(10)
    assert limits.paused_s == pytest.approx(30, abs=0.01)


@on_virtual_clock
async def test_of_two_paces_set_at_once_a_request_that_waits_takes_the_second() -> None:
    limits = limits_of(Pace(requests_per_minute=1))
    await granted(limits)
    waiting = asyncio.create_task(granted(limits))
    await asyncio.sleep(1)

    limits.set(Pace(requests_per_minute=2))
    limits.set(Pace(requests_per_minute=60))

    await waiting
    assert clock() < 3


@on_virtual_clock
async def test_a_new_pace_holds_for_requests_tokens_and_places() -> None:
    limits = limits_of(Pace())

    limits.set(Pace(requests_per_minute=60, tokens_per_minute=120, max_in_flight=3))

    assert (limits.requests.configured, limits.tokens.configured) == (1, 2)
    assert limits.concurrency.room == 3
    assert limits.kind(["text"], 4) != UNKNOWN_KIND
    assert limits_of(Pace()).kind(["text"], 4) == UNKNOWN_KIND
    limits.set(Pace(max_documents_in_flight=3))
    limits.concurrency.acquire(2)
    assert limits.concurrency.has_room_for_documents(1)
    assert not limits.concurrency.has_room_for_documents(2)
