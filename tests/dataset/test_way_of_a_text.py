"""The way of one text from the input to the output is short, and written down as it is.

A run over one group is traced (`support.text_trace` says what counts). `pipeline/README.md` lists
the functions that the text passes, one item for each stay in a room; if the way has changed, this
test shows the items as they are now.
"""

import random
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from support.fake_reranker import FakeReranker, Reply, served
from support.group_world import make_settings
from support.tables import candidates, write
from support.text_trace import LIBRARY, Step, TextTrace

from pipeline.dataset.rerank import rerank_dataset
from pipeline.dataset.session import Session

TEXT = "the text that is followed"
ROOMS_ON_THE_WAY = ("source", "tokens", "planning", "ranking", "service", "score_store", "storage")
MAX_FUNCTIONS, MAX_ROOM_CHANGES = 80, 30


@pytest.fixture
async def way(tmp_path: Path) -> list[Step]:
    """Return the functions that one text passes in a run whose output holds the texts."""
    # The text is not in the file's footer, which holds the least and the greatest text, nor is it
    # read together with the footer: a large column comes between.
    padding = [random.Random(row).randbytes(200_000).hex() for row in range(3)]
    table = candidates([3], text=[TEXT, "a lesser text", "zzz"], padding=padding)
    given, trace = write(table, tmp_path / "in.parquet"), TextTrace(TEXT)
    async with FakeReranker(answer_with_id) as fake:
        settings = make_settings(url=fake.url, with_text=True)
        async with Session(settings, "key") as session:
            with trace.following():
                await rerank_dataset(session, str(given), str(tmp_path / "out"))
    return trace.steps()


def answer_with_id(body: dict[str, Any]) -> Reply:
    """Answer as services do: with the id of a log entry, which holds no words."""
    return Reply(200, served(body) | {"request_id": "4f1c0a3e-7d52-4b0e-9d1f-2a6c8e5b7f90"})


def stays(way: list[Step]) -> list[tuple[str, list[str]]]:
    """Return the rooms in the order in which they are entered, each with its functions."""
    return [
        (room, [step.function for step in steps])
        for room, steps in groupby(way, key=lambda step: step.room)
    ]


async def test_the_way_is_short(way: list[Step]) -> None:
    assert len(way) <= MAX_FUNCTIONS
    assert len(stays(way)) - 1 <= MAX_ROOM_CHANGES


async def test_the_way_leads_from_the_source_to_the_disk(way: list[Step]) -> None:
    """So that nothing is missing because the trace has lost the text."""
    rooms = [room for room, _ in stays(way)]

    order = [rooms.index(room) for room in ROOMS_ON_THE_WAY]
    assert order == sorted(order)
    assert {step.function for step in way} >= {
        *("RowDecoder.decode", "plan_batch", "HttpTransport.send", "ScoreStore.save"),
        *("rank_single_request", "PartEncoding.encode", "Sink.publish"),
    }


async def test_the_readme_lists_the_way(way: list[Step]) -> None:
    page = (LIBRARY / "README.md").read_text(encoding="utf-8")
    section = page.partition("\n## The way of one text\n")[2].partition("\n## ")[0]

    items = re.split(r"^\d+\. ", section, flags=re.MULTILINE)[1:]
    listed = [(item.split("**")[1], re.findall(r"`([^`]+)`", item)) for item in items]

    assert listed == stays(way), "the items should be:\n" + "\n".join(
        f"{number}. **{room}**: {', '.join(f'`{name}`' for name in functions)}"
        for number, (room, functions) in enumerate(stays(way), 1)
    )
