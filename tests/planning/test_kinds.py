"""Requests of texts, images and videos hold no more of any kind than a service takes."""

import io
import zlib
from collections import Counter
from dataclasses import asdict, dataclass

import imagesize
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.group_cases import unhurried
from support.group_world import batch_of, make_planner
from support.pictures import png

from pipeline.core.content import Content, Image, Video, content_hash, json_bytes, kind_of
from pipeline.core.groups import Group
from pipeline.core.records import Request
from pipeline.core.settings import MAX_REQUEST_BYTES
from pipeline.planning.media_measures import image_size, image_tokens, media_tokens
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.planning.units import NOT_SENT

URL = "https://pictures.example/{}"


def group_of(planner: Planner, contents: list[Content], query: Content = "red tent") -> Group:
    batch = batch_of(contents, query)
    (group,) = batch.iter_groups(planner.measure(batch))
    return group


def plan_of(contents: list[Content], query: Content = "red tent", **how: object) -> Plan:
    planner = make_planner(model="qwen3-vl-rerank", **how)
    return planner.plan(group_of(planner, contents, query))


texts = st.sampled_from(["a tent", "a lamp by the river", "words " * 50])
images = st.builds(lambda n: Image(url=URL.format(n)), st.integers(0, 30))
files = st.builds(
    lambda n: Image(data=png(f"{n}", shade=n), media_type="image/png"), st.integers(0, 30)
)
videos = st.builds(lambda n: Video(URL.format(n)), st.integers(0, 9))
everything = st.lists(st.one_of(texts, images, files, videos), min_size=1, max_size=60)


@dataclass(frozen=True)
class Limits:
    max_documents: int
    max_images: int
    max_videos: int


limits = st.builds(Limits, st.integers(1, 12), st.integers(1, 7), st.integers(1, 3))


@unhurried
@given(everything, limits, st.sampled_from(["auto", "trust"]))
def test_no_request_holds_more_of_a_kind_than_allowed(
    contents: list[Content], limits: Limits, merge: str
) -> None:
    requests = plan_of(contents, merge=merge, **asdict(limits)).requests()

    for request in requests:
        kinds = Counter(map(kind_of, request.documents))
        assert len(request.documents) <= limits.max_documents
        assert kinds["image"] <= limits.max_images
        assert kinds["video"] <= limits.max_videos


@unhurried
@given(everything, limits)
def test_every_content_has_one_home(contents: list[Content], limits: Limits) -> None:
    plan = plan_of(contents, merge="trust", **asdict(limits))

    sent = [one for request in plan.requests() for one in request.documents]
    assert Counter(sent) == Counter(set(contents))
    assert (plan.document_of_row != NOT_SENT).all()


@unhurried
@given(everything, st.integers(2_000, 30_000))
def test_no_request_exceeds_the_tokens(contents: list[Content], max_tokens: int) -> None:
    plan = plan_of(contents, max_tokens_per_request=max_tokens)

    for request in plan.requests():
        media = sum(media_tokens(one) for one in request.documents if not isinstance(one, str))
        assert media == request.image_tokens <= request.tokens <= max_tokens


def test_a_repack_halves_what_a_request_holds_of_each_kind() -> None:
    contents: list[Content] = [Image(url=URL.format(n)) for n in range(40)]
    planner = make_planner(model="qwen3-vl-rerank", merge="trust")
    plan = planner.plan(group_of(planner, contents))

    sizes = []
    for _ in range(5):
        sizes.append(max(len(request.documents) for request in plan.requests()))
        plan = planner.repack(plan)

    assert sizes == [40, 20, 10, 5, 2]


def test_repacking_goes_down_to_single_documents_of_every_kind() -> None:
    contents: list[Content] = [Image(url=URL.format(n)) for n in range(20)]
    contents += [Video(URL.format(n)) for n in range(2)]
    planner = make_planner(model="qwen3-vl-rerank", merge="trust")
    plan = planner.plan(group_of(planner, contents))
    assert len(plan.requests()) == 1

    while max(request.num_documents for request in plan.requests()) > 1:
        plan = planner.repack(plan)

    assert Counter(request.documents[0] for request in plan.requests()) == Counter(contents)


def test_a_repack_keeps_what_an_image_as_the_query_counts() -> None:
    query = Image(data=png(size=(320, 320)), media_type="image/png")
    planner = make_planner(model="qwen3-vl-rerank", merge="trust")
    plan = planner.plan(group_of(planner, ["a tent", "a lamp"], query))

    requests = planner.repack(plan).requests()

    assert [request.image_tokens for request in requests] == [100, 100]


def test_bodies_hold_files_in_base64_within_the_limit() -> None:
    files: list[Content] = [
        Image(data=png(f"{n}") + bytes(3_000_000), media_type="image/png") for n in range(9)
    ]

    requests = plan_of(files, merge="trust").requests()

    for request in requests:
        assert sum(map(json_bytes, request.documents)) < MAX_REQUEST_BYTES
    assert len(requests) == 3


def test_a_query_that_is_an_image_counts_for_every_document() -> None:
    query = Image(data=png(size=(320, 320)), media_type="image/png")

    (request,) = plan_of(["a tent", "a lamp"], query).requests()

    assert request.query == query
    assert request.image_tokens == 2 * 100
    assert request.tokens - request.image_tokens <= len("a tent" + "a lamp")


def test_equal_hashes_are_told_apart() -> None:
    planner = make_planner(model="qwen3-vl-rerank")
    contents: list[Content] = [Image(url="https://a"), Image(url="https://b"), Video("https://a")]
    batch = batch_of([*contents, contents[0]])
    measures = planner.measure(batch)
    measures.content_hashes[:] = 7

    (request,) = planner.plan(next(batch.iter_groups(measures))).requests()

    assert {*request.documents} == {*contents}


def test_measures_are_those_of_the_contents() -> None:
    file = Image(data=png(size=(64, 96)), media_type="image/png")
    contents: list[Content] = ["a tent", file, Image(url="https://a"), Video("https://b")]

    measures = make_planner(model="qwen3-vl-rerank").measure(batch_of(contents))

    assert measures.content_hashes.tolist() == [content_hash(one) for one in contents]
    assert measures.token_bounds.tolist()[1:] == [6, 1_800, 7_680]
    assert measures.sizes.tolist()[1:] == [json_bytes(one) for one in contents[1:]]
    assert not measures.blank.any()


def test_a_lower_limit_of_an_item_holds_for_images_too() -> None:
    planner = make_planner(model="qwen3-vl-rerank", max_tokens_per_document=500)

    assert planner.measure(batch_of([Video("https://a")])).token_bounds.tolist() == [500]


@pytest.mark.parametrize(
    ("size", "tokens"),
    [
        ((1, 1), 4),
        ((64, 64), 4),
        ((96, 96), 9),
        ((640, 480), 300),
        ((9_000, 9_000), 1_800),
        ((1, 3_200), 100),
        ((3_200, 1), 100),
        ((0, 64), 1_800),
        ((64, 0), 1_800),
    ],
)
def test_an_image_has_a_token_for_32_pixels_squared(size: tuple[int, int], tokens: int) -> None:
    assert image_tokens(*size) == tokens


@pytest.mark.parametrize(
    "data", [png()[:20], b"\xff\xd8\xff", b"BM", b"II*\0", b"RIFF\0\0\0\0WEBPVP8X", b"MM\0*" * 9]
)
def test_a_damaged_image_counts_as_a_large_one(data: bytes) -> None:
    assert media_tokens(Image(data=data, media_type="image/png")) == 1_800


def test_an_image_of_a_format_whose_size_is_not_read_counts_as_a_large_one() -> None:
    assert media_tokens(Image(data=png(), media_type="image/png")) == 4
    assert media_tokens(Image(data=png(), media_type="image/avif")) == 1_800


@unhurried
@given(st.binary(max_size=80), st.sampled_from([png()[:30], b"\xff\xd8\xff\xe0", b"BM", b"II*\0"]))
def test_no_file_makes_the_reader_of_sizes_fail(rest: bytes, start: bytes) -> None:
    width, height = image_size(start + rest)

    assert image_tokens(width, height) in range(4, 1_801)


def test_sizes_are_read_from_headers_alone() -> None:
    data = png(size=(300, 200))
    header = data[: data.index(b"IDAT")]

    assert image_size(header) == (300, 200) == imagesize.get(io.BytesIO(data))
    assert zlib.crc32(data)  # the pixels are there, and are not looked at


def test_texts_alone_are_planned_as_ever() -> None:
    made = make_planner(model="qwen3-vl-rerank")
    plan = made.plan(group_of(made, ["a tent", "a lamp"]))

    assert plan.packing.own_places is None
    (request,) = plan.requests()
    assert isinstance(request, Request)
    assert request.image_tokens == 0
