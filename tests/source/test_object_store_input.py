"""The same input and output on an object store: a real client against a server on loopback."""

import pyarrow.parquet as pq
import pytest
from support.object_store import BUCKET, moto_store
from support.tables import candidates, facts, rank_by, read_groups, write

from pipeline.core.errors import InputError
from pipeline.output.sink import Sink
from pipeline.source.listing import list_input
from pipeline.source.source import Source
from pipeline.storage.location import locate


@pytest.fixture(scope="module")
def bucket():
    """Serve a bucket of an object store as long as the tests of this file run."""
    with moto_store():
        yield f"s3://{BUCKET}"


@pytest.fixture(scope="module")
def uploaded(bucket, tmp_path_factory):
    """Write a folder with two Hive folders, here and there."""
    here = tmp_path_factory.mktemp("in")
    for number, day in enumerate(("2024-01-01", "2024-01-02")):
        ids = [f"{number}-{place // 3}" for place in range(6)]
        write(candidates([6], query_id=ids, query=ids), here / f"dt={day}" / "x.parquet")
    (here / "_SUCCESS").write_bytes(b"")
    for path in here.rglob("*"):
        if path.is_file():
            locate(f"{bucket}/in/{path.relative_to(here)}").publish(path.read_bytes())
    return here


def test_an_object_store_is_read_like_a_folder(bucket, uploaded):
    there, here = (Source(list_input(name)) for name in (f"{bucket}/in", str(uploaded)))

    assert there.listing.facts() == here.listing.facts()
    assert [facts(group) for group in read_groups(there)] == [
        facts(group) for group in read_groups(here)
    ]


@pytest.mark.parametrize("pattern", ["in/*/x.parquet", "in/dt=2024-01-*", "in/**"])
def test_globs_work_there(bucket, uploaded, pattern):
    assert len(list_input(f"{bucket}/{pattern}").files) == 2


@pytest.mark.parametrize("name", ["nothing", "in/*.csv"])
def test_what_is_not_there_is_refused(bucket, uploaded, name):
    with pytest.raises(InputError):
        list_input(f"{bucket}/{name}")


def test_a_bucket_that_is_not_there_is_refused(bucket):
    with pytest.raises(InputError):
        list_input("s3://no-such-bucket/in")


def test_parts_are_the_same_bytes_there(bucket, uploaded, tmp_path):
    source = Source(list_input(str(uploaded)))
    rankings = [rank_by(group, [0.5, None, 0.7]) for group in read_groups(source)]
    contents = []
    for output in (locate(f"{bucket}/out"), locate(str(tmp_path / "out"))):
        sink = Sink(output, source.output_schema, fingerprint="f00d")
        sink.write_part(1, rankings)
        sink.write_part(0, rankings)
        sink.finish(1)
        assert list(sink.read_part_infos()) == [0]
        assert sink.is_finished()
        names = ("part-00000.parquet", "_groups/part-00000.parquet", "_rejects/part-00000.parquet")
        contents.append([output.child(name).read() for name in names])

    assert contents[0] == contents[1]
    assert pq.read_metadata(tmp_path / "out" / "part-00000.parquet").num_rows == 12
