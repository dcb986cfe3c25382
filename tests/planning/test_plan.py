"""Plans of images and videos: requests and keys as for texts, if the service accepts them."""

from collections.abc import Sequence

import numpy as np
import pytest
from msgspec.structs import replace
from support.group_world import make_group, make_planner

from pipeline.core.content import TEXT_ONLY, Content, ContentKind, Image, Video, content_hash
from pipeline.core.errors import SettingsError
from pipeline.core.records import Request
from pipeline.planning.plan import PackedUnits, Plan, request_key, sending_order

ANYTHING: frozenset[ContentKind] = frozenset({"text", "image", "video"})
IMAGE = Image(url="https://example.org/cat.png")
CONTENTS = ["a text", IMAGE, Image(data=b"...", media_type="image/png"), Video("v.mp4")]


def plan_of(
    contents: Sequence[Content],
    *,
    query: Content = "what is it",
    accepts: frozenset[ContentKind] = ANYTHING,
) -> Plan:
    """Return the plan of a group with other contents in place of its texts."""
    planner = make_planner()
    plan = planner.plan(make_group([f"text {number}" for number in range(len(contents))]))
    units = replace(
        plan.units,
        own_contents=dict(enumerate(contents)),
        content_hashes=np.array([content_hash(content) for content in contents], np.uint64),
    )
    packed = PackedUnits(units, plan.document_of_row, plan.packing)
    return replace(plan, packed=packed, query=query, scope=planner.scope(query), accepts=accepts)


def request_of(contents: Sequence[Content], **how: object) -> Request:
    (request,) = plan_of(contents, **how).requests()
    return request


def test_units_yield_contents_in_the_order_asked() -> None:
    units = plan_of(CONTENTS).units

    assert units.contents(np.array([3, 0, 1])) == [CONTENTS[3], CONTENTS[0], CONTENTS[1]]
    assert units.take(np.array([2, 1])).contents(np.arange(2)) == [CONTENTS[2], CONTENTS[1]]


def test_a_request_holds_every_content_and_is_named_by_all_of_them() -> None:
    plan = plan_of(CONTENTS)
    (request,) = plan.requests()

    assert sorted(map(repr, request.documents)) == sorted(map(repr, CONTENTS))
    assert request.key == request_key(plan.scope, request.documents)
    assert request.key == request_of(CONTENTS[::-1]).key


@pytest.mark.parametrize(
    "other",
    [
        ["a text", IMAGE.url],
        ["a text", Video(IMAGE.url or "")],
        ["a text", Image(url="https://example.org/dog.png")],
    ],
)
def test_another_content_has_another_request_key(other: list[Content]) -> None:
    assert request_of(other).key != request_of(["a text", IMAGE]).key


def test_an_image_as_the_query_has_its_own_request_key() -> None:
    by_image, by_text = (request_of(["a text"], query=one) for one in (IMAGE, IMAGE.url))

    assert by_image.query == IMAGE
    assert by_image.key != by_text.key


@pytest.mark.parametrize(
    "how", [{"contents": ["a text", IMAGE]}, {"contents": ["a text"], "query": IMAGE}]
)
def test_a_service_of_texts_is_sent_no_other_content(how: dict[str, object]) -> None:
    plan = plan_of(**how, accepts=TEXT_ONLY)

    why = r"--model qwen3-rerank: .*does not accept this kind of content.*found image"
    with pytest.raises(SettingsError, match=why):
        plan.requests()


def test_documents_of_equal_hashes_are_sent_in_key_order() -> None:
    hashes = np.tile(np.array([5, 3], np.uint64), 500)

    order = sending_order(hashes, order_salt=0)

    assert order.tolist() == [*range(1, 1_000, 2), *range(0, 1_000, 2)]
