"""An input is decoded in pieces that bound the memory."""

import gc
from collections.abc import Iterator

import pyarrow as pa
import pytest
from support.tables import candidates, open_source, write

from pipeline.source.batch_reader import BatchLimits


@pytest.fixture
def without_garbage_collector() -> Iterator[None]:
    """Free only what nothing refers to any more."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_long_texts_make_smaller_batches(tmp_path):
    texts = pa.array([character * 10_000 for character in "abcd" * 100])
    source = open_source(
        write(candidates([1] * 400, text=texts), tmp_path / "in.parquet"),
        limits=BatchLimits(max_bytes=200_000),
    )

    sizes = [batch.texts.nbytes for batch in source.iter_batches()]

    assert max(sizes) < 400_000
    assert sum(sizes) > 4_000_000


@pytest.mark.usefixtures("without_garbage_collector")
def test_the_memory_of_a_piece_is_free_as_soon_as_its_groups_are(tmp_path):
    texts = pa.array([f"{number:>1000}" for number in range(10_000)])
    source = open_source(
        write(candidates([10] * 1_000, text=texts), tmp_path / "in.parquet", row_group_size=500),
        limits=BatchLimits(max_bytes=100_000),
    )
    before = pa.total_allocated_bytes()

    most = max(pa.total_allocated_bytes() - before for _ in source.iter_batches())

    assert most < texts.nbytes / 4
    assert pa.total_allocated_bytes() - before < texts.nbytes / 20
