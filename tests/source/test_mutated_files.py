"""A damaged Parquet file is refused in one line, or read; never a crash, never a hang.

Files are damaged byte by byte, by seeds: in the footer, in the headers and the bodies of pages, and
in the levels of nested columns. Each runs in a child process, since damage may end a process.
"""

import io
import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.tables import candidates, open_source

from pipeline.core.errors import InputError

NUM_FILES = 60
TIMEOUT_S = 10
READ, REFUSED, CRASHED = 0, 3, 1


def long_file(**how: Any) -> bytes:
    table = candidates([7] * 6, number=pa.array(range(42)), tags=[["a", None, "b"]] * 42)
    return written(table, **how)


def nested_file(**how: Any) -> bytes:
    hits = [[{"doc_id": f"d{at}", "text": f"text {at}"} for at in range(row)] for row in range(12)]
    rows = range(12)
    table = pa.table(
        {
            "query_id": pa.array(rows),
            "query": [f"query {at}" for at in rows],
            "documents": hits,
        }
    )
    return written(table, **how)


def written(table: pa.Table, **how: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, row_group_size=9, **how)
    return stream.getvalue()


FILES: dict[str, Callable[[], bytes]] = {
    "long": long_file,
    "plain": lambda: long_file(use_dictionary=False, compression="none"),
    "v2": lambda: long_file(data_page_version="2.0", write_page_index=True),
    "nested": lambda: nested_file(compression="none"),
    "nested, v2": lambda: nested_file(data_page_version="2.0"),
}


def damaged(content: bytes, seed: int) -> bytes:
    """Return the content with some bytes changed, added or gone: of the footer or of the pages."""
    chance, changed = random.Random(seed), bytearray(content)
    footer_bytes = int.from_bytes(content[-8:-4], "little") + 8
    if chance.random() < 0.5:
        first, last = len(content) - footer_bytes, len(content)
    else:
        first, last = 4, len(content) - footer_bytes
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at = chance.randrange(first, last)
        changed[at] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
    if chance.random() < 0.1:
        at = chance.randrange(first, last)
        changed[at:at] = bytes(chance.randrange(1, 9))
    if chance.random() < 0.1:
        del changed[chance.randrange(first, last) :][:3]
    return bytes(changed)


def read_all(path: Path) -> int:
    """Read all groups, and encode what passes through; return what a command would exit with."""
    try:
        source = open_source(path)
        source.check_ids()
        for batch in source.iter_batches():
            pq.write_table(batch.candidates, io.BytesIO())
    except InputError as error:
        return REFUSED if path.name in str(error) and "\n" not in str(error) else CRASHED
    return READ


def outcome(path: Path) -> int:
    """Read a file in a child process; return its exit code, or its signal as a negative number."""
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 2)
        signal.alarm(TIMEOUT_S)
        code = CRASHED
        try:
            code = read_all(path)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def outcomes(name: str, folder: Path) -> Iterator[tuple[int, int]]:
    content, path = FILES[name](), folder / "in.parquet"
    for seed in range(NUM_FILES):
        path.write_bytes(damaged(content, seed))
        yield seed, outcome(path)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork beside Arrow's idle threads
def test_a_damaged_file_is_read_or_refused(name: str, tmp_path: Path) -> None:
    found = dict(outcomes(name, tmp_path))

    assert {seed: code for seed, code in found.items() if code not in (READ, REFUSED)} == {}
    assert sum(code == REFUSED for code in found.values()) > NUM_FILES / 3
