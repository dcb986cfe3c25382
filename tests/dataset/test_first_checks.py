"""What is checked before anything is paid, and what becomes of what was paid before a fault."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.fake_reranker import FakeReranker
from support.group_world import make_settings
from support.tables import candidates, write

from pipeline.core.errors import InputError
from pipeline.core.settings import Pace
from pipeline.dataset.limits import RunLimits
from pipeline.dataset.rerank import rerank_dataset
from pipeline.dataset.session import Session
from pipeline.source.batch_reader import BatchLimits

SIZES = [2] * 50
NUM_ROWS = sum(SIZES)
FEW_AT_ONCE = RunLimits(batch=BatchLimits(max_rows=8))


def good_table() -> pa.Table:
    """Return candidates of other queries than those of the first file."""
    return candidates(
        SIZES,
        query_id=[f"z{row // 2}" for row in range(NUM_ROWS)],
        text=[f"another text {row}" for row in range(NUM_ROWS)],
    )


def last_value(column: str, value: Any, **options: Any) -> Callable[[Path], object]:
    """Return what writes a file with this value in its last row; bytes make the column binary."""

    def write_file(path: Path) -> None:
        table = good_table()
        values = [*table[column].to_pylist()[:-1], value]
        if isinstance(value, bytes):
            values = pa.array(values, pa.binary())
        write(table.set_column(table.column_names.index(column), column, [values]), path, **options)

    return write_file


FIRST: dict[str, Callable[[Path], object]] = {
    "not Parquet": lambda path: path.write_text("query_id,doc_id"),
    "a column is missing": lambda path: write(good_table().drop_columns(["text"]), path),
    "a column has another type": lambda path: write(candidates([1], query_id=[7]), path),
    "a null doc_id": last_value("doc_id", None),
    "a null doc_id without statistics": last_value("doc_id", None, write_statistics=False),
    "a doc_id that is not UTF-8": last_value("doc_id", b"\xff"),
    "a null query_id": last_value("query_id", None, write_statistics=False),
    "a query_id that is not UTF-8": last_value("query_id", b"\xff"),
    "rows of a query apart": last_value("query_id", "q0"),
}
LATE: dict[str, Callable[[Path], object]] = {
    "a text that is not UTF-8": last_value("text", b"\xff"),
    "two texts of a query": last_value("query", "another"),
}


class World:
    """An input of two files, of which the second may be at fault."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "in" / "b.parquet"
        write(candidates(SIZES), folder / "in" / "a.parquet")

    async def rerank(self) -> tuple[int, InputError | None]:
        """Run over the input; return how many requests were sent, and the error."""
        async with FakeReranker() as fake:
            settings = make_settings(
                url=fake.url,
                pace=Pace(max_in_flight=1),
                score_store=str(self.folder / "store"),
                restart=True,
            )
            error = None
            async with Session(settings, "key", limits=FEW_AT_ONCE) as session:
                try:
                    await rerank_dataset(session, str(self.folder / "in"), str(self.folder / "out"))
                except InputError as raised:
                    error = raised
            return len(fake.calls), error


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("fault", FIRST)
async def test_a_fault_is_found_before_anything_is_sent(world: World, fault: str) -> None:
    FIRST[fault](world.file)

    sent, error = await world.rerank()

    assert sent == 0
    assert error is not None
    assert str(error).startswith(f"{world.file}: ")


@pytest.mark.parametrize("fault", LATE)
async def test_what_was_paid_before_a_fault_was_found_serves_the_next_run(
    world: World, fault: str
) -> None:
    LATE[fault](world.file)

    sent, error = await world.rerank()
    write(good_table(), world.file)
    sent_then, no_error = await world.rerank()

    assert 0 < sent < 2 * len(SIZES)
    assert error is not None
    assert str(error).startswith(f"{world.file}: ")
    assert no_error is None
    assert sent + sent_then == 2 * len(SIZES)


@pytest.mark.parametrize("again", [0, 3])
async def test_repeated_ids_are_told_before_anything_is_sent(
    tmp_path: Path, again: int, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = [1] * 10 + [2] * again
    doc_ids = [f"d{query}" for query, size in enumerate(sizes) for _ in range(size)]
    given = write(candidates(sizes, doc_id=doc_ids), tmp_path / "in.parquet")
    async with FakeReranker() as fake:
        sent: list[int] = []
        caplog.handler.addFilter(_before_repeats(sent, fake))

        async with Session(make_settings(url=fake.url), "key") as session:
            await rerank_dataset(session, str(given), str(tmp_path / "out"))

    told = [
        getattr(record, "fields", None)
        for record in caplog.records
        if getattr(record, "event", None) == "input.ids_repeated"
    ]
    assert told == ([{"candidates": again, "duplicates": "keep"}] if again else [])
    assert sent == ([0] if again else [])


def _before_repeats(sent: list[int], fake: FakeReranker) -> Callable[[logging.LogRecord], bool]:
    """Return a filter of logs that notes how many requests came before repeated ids were told."""

    def note(record: logging.LogRecord) -> bool:
        if getattr(record, "event", None) == "input.ids_repeated":
            sent.append(len(fake.calls))
        return True

    return note
