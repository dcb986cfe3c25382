"""What the adapters share: their arguments, the groups of the input, the lines of the result.

An adapter is the least program that a user of the peer would write for this job. It is run with
`SOURCE OUTPUT URL IN_FLIGHT PER_MINUTE [OPTION...]` by the Python of the peer's own environment.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import pyarrow.parquet as pq

MODEL = "qwen3-rerank"
COLUMNS = ["query_id", "query", "text"]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What to do; `per_minute` is the quota for the peers that can be told one."""

    source: Path
    output: Path
    url: str
    in_flight: int
    per_minute: int
    options: list[str]

    @classmethod
    def read(cls) -> "Arguments":
        source, output, url, in_flight, per_minute, *options = sys.argv[1:]
        Path(output).mkdir(parents=True, exist_ok=True)
        return cls(Path(source), Path(output), url, int(in_flight), int(per_minute), options)


@dataclass(slots=True)
class Group:
    """One query and its documents."""

    query_id: str
    query: str
    documents: list[str] = field(default_factory=list)

    def question(self) -> dict[str, object]:
        """Return the body of a request in the flat format."""
        return {"model": MODEL, "query": self.query, "documents": self.documents}


def iter_groups(source: Path) -> Iterator[Group]:
    """Return the groups in input order; the rows of a query must be adjacent."""
    group: Group | None = None
    for batch in pq.ParquetFile(source).iter_batches(1_000, columns=COLUMNS):
        rows = batch.to_pydict()
        for query_id, query, text in zip(
            rows["query_id"], rows["query"], rows["text"], strict=True
        ):
            if group is None or query_id != group.query_id:
                if group is not None:
                    yield group
                group = Group(query_id, query)
            group.documents.append(text)
    if group is not None:
        yield group


def scores_in_order(results: list[dict[str, float]]) -> list[float]:
    """Return the scores of an answer in the order of the documents."""
    return [r["relevance_score"] for r in sorted(results, key=lambda r: r["index"])]


def write_line(sink: TextIO, query_id: str, scores: list[float]) -> None:
    """Append a group's scores and hand them to the system, so that a kill loses none written."""
    sink.write(json.dumps({"query_id": query_id, "scores": scores}) + "\n")
    sink.flush()
