"""Seconds waited, and the use of the quota."""

from pipeline.service.metrics import QuotaUse
from pipeline.service.throttle.quota_meter import QuotaMeter


def test_a_wait_is_counted_once_however_often_it_is_booked() -> None:
    meter = QuotaMeter(QuotaUse())

    meter.begin_wait("tokens_s", 10.0)
    for now in (11.0, 11.0, 13.0):
        meter.book_wait(now)
    meter.end_wait()
    meter.book_wait(20.0)

    assert meter.use.waits.tokens_s == 3.0


def test_before_the_first_wait_there_is_nothing_to_count() -> None:
    meter = QuotaMeter(QuotaUse())

    assert meter.book_wait(5.0) == 5.0
    assert meter.use == QuotaUse()


def test_each_second_has_one_cause() -> None:
    meter = QuotaMeter(QuotaUse())

    meter.begin_wait("requests_s", 0.0)
    meter.begin_wait("tokens_s", meter.book_wait(1.0))
    meter.begin_wait("pause_s", meter.book_wait(3.0))
    meter.book_wait(7.0)

    waits = meter.use.waits
    assert (waits.requests_s, waits.tokens_s, waits.pause_s) == (1.0, 2.0, 4.0)


def test_a_computation_is_no_wait() -> None:
    meter = QuotaMeter(QuotaUse())

    meter.begin_wait("requests_s", 0.0)
    meter.book_wait(0.000_09)

    assert meter.use.waits.requests_s == 0.0


def test_the_time_in_which_all_places_are_taken_is_counted_while_it_goes_on() -> None:
    meter = QuotaMeter(QuotaUse())

    meter.book_full(1.0)
    meter.full_since = 2.0
    meter.book_full(5.0)
    meter.book_full(6.0)

    assert meter.use.waits.in_flight_s == 4.0


def test_the_quota_is_offered_from_the_first_admission_on() -> None:
    meter = QuotaMeter(QuotaUse())

    for now in (100.0, 101.0, 104.0):
        meter.count_admission(now, 2.0, 30.0)

    use = meter.use
    assert (use.admitted_s, use.requests_used, use.requests_offered) == (4.0, 2, 8.0)
    assert use.tokens_offered == 120.0


def test_a_limit_that_is_not_known_offers_nothing() -> None:
    meter = QuotaMeter(QuotaUse())

    for now in (0.0, 9.0):
        meter.count_admission(now, None, None)

    use = meter.use
    assert (use.admitted_s, use.requests_used, use.requests_offered) == (9.0, 0, 0)
    assert use.tokens_offered == 0


def test_the_quota_is_not_offered_in_a_pause() -> None:
    meter = QuotaMeter(QuotaUse())

    meter.count_admission(0.0, 1.0, None)
    meter.forget_last_admission()
    meter.count_admission(500.0, 1.0, None)
    meter.count_admission(501.0, 1.0, None)

    assert (meter.use.admitted_s, meter.use.requests_offered) == (1.0, 1.0)
