"""Lists: closing documents to prefixes, witnesses, and lists that are known in part."""

import numpy as np
from support.merging_world import packing_of

from pipeline.planning.packing import NO_HOME
from pipeline.ranking.merging.first_round import collect_first_round
from pipeline.ranking.merging.lists import Lists

UNKNOWN = 9


def two_lists() -> Lists:
    """Return a list 0 > 2 > 4 > 6, wholly known, and a list 1 > 3 > 5, of which 7 is not known."""
    return Lists(
        list_of=np.array([0, 1, 0, 1, 0, 1, 0, 1, NO_HOME]),
        place=np.array([0, 0, 1, 1, 2, 2, 3, UNKNOWN, UNKNOWN]),
        known=np.array([4, 3]),
        size=np.array([4, 4]),
    )


def closed(lists: Lists, *documents: int) -> tuple[list[int], list[int]]:
    top, witnesses = lists.close(np.array(documents, dtype=np.int64))
    return top.tolist(), witnesses.tolist()


def test_documents_are_extended_without_a_gap_and_the_next_ones_are_witnesses():
    assert closed(two_lists(), 4) == ([0, 2, 4], [1, 6])
    assert closed(two_lists(), 2, 1) == ([0, 1, 2], [3, 4])
    assert closed(two_lists()) == ([], [0, 1])


def test_a_list_that_is_sent_whole_needs_no_witness():
    assert closed(two_lists(), 6) == ([0, 2, 4, 6], [1])


def test_the_last_known_document_of_a_list_that_goes_on_is_its_witness():
    assert closed(two_lists(), 5) == ([1, 3], [0, 5])


def test_lists_taken_alone_leave_the_documents_of_others_without_one():
    alone = two_lists().take(np.array([1]))

    assert alone.list_of.tolist() == [-1, 0, -1, 0, -1, 0, -1, 0, -1]
    assert alone.num_lists == 1
    assert np.flatnonzero(alone.is_known).tolist() == [1, 3, 5]
    assert closed(alone, 3) == ([1, 3], [5])


def test_a_request_whose_home_documents_have_no_score_is_an_empty_list():
    group = packing_of([0, 1], [2], anchors=[0])

    lists = Lists.of(collect_first_round(group, [np.array([0.5, 0.4]), np.array([np.nan, 0.6])]))

    assert lists.num_lists == 2
    assert lists.size.tolist() == [2, 0]
    assert closed(lists, 0) == ([0], [1])
