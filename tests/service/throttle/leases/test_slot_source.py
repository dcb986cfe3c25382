"""What a taker reports on its slots."""

import pytest

from pipeline.service.throttle.leases.messages import Grant, Refused, Report, Served, Slot
from pipeline.service.throttle.leases.slot_source import SlotSource


def a_source(number: int = 3) -> SlotSource:
    return SlotSource(number, Grant(0.0, requests_version=7, tokens_version=8), Report(1))


def test_versions_of_two_sources_differ() -> None:
    assert a_source(1).version("requests") != a_source(2).version("requests")
    assert a_source().version("requests") != a_source().version("tokens")


def test_what_was_served_under_one_version_is_one_entry() -> None:
    source = a_source()

    source.served("requests", 1, source.version("requests"))
    source.served("tokens", 200, source.version("tokens"))
    source.served("requests", 1, source.version("requests"))
    source.grant = Grant(1.0, requests_version=8)
    source.served("requests", 5, source.version("requests"))

    assert source.report.served == [
        Served("requests", 7, 2),
        Served("tokens", 8, 200),
        Served("requests", 8, 5),
    ]


def test_a_source_that_is_gone_is_told_nothing_of_its_slots() -> None:
    source = a_source(2)

    source.served("requests", 1, a_source(1).version("requests"))
    is_news = source.refused("requests", a_source(1).version("requests"), 1.0)

    assert (is_news, source.report.is_empty) == (False, True)


def test_a_refusal_is_news_once_a_version() -> None:
    source = a_source()
    first = source.refused("requests", source.version("requests"), 1.5)

    again = source.refused("requests", source.version("requests"), 1.5)
    of_another_limit = source.refused("tokens", source.version("tokens"), 2.5)
    source.grant = Grant(1.0, requests_version=9)
    of_another_version = source.refused("requests", source.version("requests"), 3.5)

    assert (first, again, of_another_limit, of_another_version) == (True, False, True, True)
    assert source.report.refused == [
        Refused("requests", 7, 1.5),
        Refused("tokens", 8, 2.5),
        Refused("requests", 9, 3.5),
    ]


@pytest.mark.parametrize(("difference", "told"), [(0.0, []), (-30.0, [(12.5, -30.0)])])
def test_a_count_is_reported_where_it_differs(difference, told) -> None:
    source = a_source()

    source.correct(Slot(12.5, 100.0), difference)

    assert source.report.corrections == told
