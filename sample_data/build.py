"""Builds the sample Parquet files from the JSON Lines beside this script.

Run it as `python sample_data/build.py`. The same inputs always give the same rows in the
same order, and the same bytes under the same version of pyarrow.
"""

import json
import math
import re
import struct
import sys
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
FIRST_RANK = 1
MIN_CANDIDATES = 30
MAX_CANDIDATES = 100

CANDIDATES_COLUMNS: dict[str, pa.DataType] = {
    "query_id": pa.string(),
    "query": pa.string(),
    "doc_id": pa.string(),
    "text": pa.string(),
    "first_stage_rank": pa.int32(),
    "first_stage_score": pa.float64(),
    "language": pa.string(),
    "topic": pa.string(),
}
PICTURES_COLUMNS: dict[str, pa.DataType] = {
    "query_id": pa.string(),
    "query": pa.string(),
    "query_image_bytes": pa.binary(),
    "doc_id": pa.string(),
    "text": pa.string(),
    "image_bytes": pa.binary(),
}
QRELS_COLUMNS: dict[str, pa.DataType] = {
    "query_id": pa.string(),
    "doc_id": pa.string(),
    "relevance": pa.int32(),
}

PICTURE_QUERIES = {
    "p1": "a red tent",
    "p2": "something that gives light",
    "p3": "boot-brown",  # a picture
}
"""The queries of the multimodal sample, texts and a picture."""

PICTURE_TEXTS = {
    "note-tent": "How to pitch a red tent on a slope.",
    "note-lantern": "A lantern gives light for some twenty hours.",
    "note-boot": "Grease a brown hiking boot before it is worn in the snow.",
}
"""Documents of the multimodal sample that are texts."""

_WORDS = re.compile(r"[\u4e00-\u9fff]+|[^\W_\u4e00-\u9fff]+")


class Document(NamedTuple):
    """One text that can be found."""

    doc_id: str
    language: str
    topic: str
    text: str


class Query(NamedTuple):
    """One search, in one language."""

    query_id: str
    language: str
    query: str


class Qrel(NamedTuple):
    """One judgement: 0 not relevant, 1 touches on it, 2 helps, 3 answers the query."""

    query_id: str
    doc_id: str
    relevance: int


class Picture(NamedTuple):
    """A drawing of one colour on white, a string for each line, and what it shows in words."""

    doc_id: str
    words: str
    colour: list[int]
    points: list[str]


class Scored(NamedTuple):
    """A document with its first-stage score for one query."""

    document: Document
    score: float


def terms(text: str) -> list[str]:
    """Split a text into lower-case words, runs of Chinese characters into overlapping pairs."""
    found: list[str] = []
    for word in _WORDS.findall(text.casefold()):
        if "\u4e00" <= word[0] <= "\u9fff" and len(word) > 1:
            found.extend(word[start : start + 2] for start in range(len(word) - 1))
        else:
            found.append(word)
    return found


def match(query: Query, document: Document, counts: Counter[str]) -> Scored:
    """Count matches: the sum of log(1 + occurrences) over the query's different terms.

    Every term weighs the same however common it is, and long documents have no handicap. That
    is what makes this a weak first stage. Rounded to six decimals, so that every machine agrees.
    """
    different = dict.fromkeys(terms(query.query))
    return Scored(document, round(sum(math.log1p(counts[term]) for term in different), 6))


def choose(query: Query, scored: list[Scored], judged: set[str]) -> list[Scored]:
    """Choose one query's group of 30 to 100 candidates, best first, equal scores by doc_id.

    Chosen are the documents that share a term with the query, the best hundred at most, and
    everything judged for it. A group that is still small is filled up, in the order of doc_id,
    with documents in the query's own language that share nothing with it.
    """

    def best_first(candidate: Scored) -> tuple[float, str]:
        return -candidate.score, candidate.document.doc_id

    pooled = [s for s in scored if s.document.doc_id in judged]
    others = sorted((s for s in scored if s.document.doc_id not in judged), key=best_first)
    matching = [s for s in others if s.score > 0]
    spare = [s for s in others if s.score == 0 and s.document.language == query.language]

    group = pooled + matching[: MAX_CANDIDATES - len(pooled)]
    group += spare[: max(0, MIN_CANDIDATES - len(group))]
    return sorted(group, key=best_first)


def candidates_table(
    documents: list[Document], queries: list[Query], qrels: list[Qrel]
) -> pa.Table:
    """Return a row per candidate: queries in their order, candidates best first."""
    counts = [Counter(terms(document.text)) for document in documents]
    rows: list[dict[str, str | int | float]] = []
    for query in queries:
        judged = {qrel.doc_id for qrel in qrels if qrel.query_id == query.query_id}
        scored = [match(query, *pair) for pair in zip(documents, counts, strict=True)]
        for rank, candidate in enumerate(choose(query, scored, judged), FIRST_RANK):
            document = candidate.document
            rows.append(
                {
                    "query_id": query.query_id,
                    "query": query.query,
                    "doc_id": document.doc_id,
                    "text": document.text,
                    "first_stage_rank": rank,
                    "first_stage_score": candidate.score,
                    "language": document.language,
                    "topic": document.topic,
                }
            )
    return pa.Table.from_pylist(rows, schema=pa.schema(CANDIDATES_COLUMNS))


def png(picture: Picture) -> bytes:
    """Return the drawing at twice its size as a PNG file.

    The bytes are the same everywhere, since nothing in it is compressed. Its description in words
    is what the offline service reads in place of looking.
    """
    bits = ["".join("10"[point == "."] * 2 for point in line) for line in picture.points]
    size, width = 2 * len(bits), len(bits[0])
    lines = b"".join(2 * (b"\0" + int(line, 2).to_bytes(width // 8, "big")) for line in bits)
    header = struct.pack(">IIBBBBB", width, size, 1, 3, 0, 0, 0)  # a bit a point, two colours
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", bytes((255, 255, 255, *picture.colour))),
            _chunk(b"tEXt", b"Description\0" + picture.words.encode("latin-1")),
            _chunk(b"IDAT", zlib.compress(lines, 0)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pictures_table(pictures: list[Picture]) -> pa.Table:
    """Return a row per candidate of the multimodal sample: texts and pictures for each query."""
    files = {picture.doc_id: png(picture) for picture in pictures}
    rows: list[dict[str, str | bytes]] = []
    for query_id, asked in PICTURE_QUERIES.items():
        query: dict[str, str | bytes] = (
            {"query_image_bytes": files[asked]} if asked in files else {"query": asked}
        )
        rows += (
            {"query_id": query_id, **query, "doc_id": name, "image_bytes": file}
            for name, file in files.items()
        )
        rows += (
            {"query_id": query_id, **query, "doc_id": name, "text": text}
            for name, text in PICTURE_TEXTS.items()
        )
    return pa.Table.from_pylist(rows, schema=pa.schema(PICTURES_COLUMNS))


def build(output: Path) -> list[Path]:
    """Write the Parquet files into `output` and return their paths."""
    documents = [Document(**json.loads(line)) for line in _lines("documents.jsonl")]
    queries = [Query(**json.loads(line)) for line in _lines("queries.jsonl")]
    qrels = [Qrel(**json.loads(line)) for line in _lines("qrels.jsonl")]
    pictures = [Picture(**json.loads(line)) for line in _lines("pictures.jsonl")]

    judgements = [qrel._asdict() for qrel in qrels]
    tables = {
        "candidates.parquet": candidates_table(documents, queries, qrels),
        "pictures.parquet": pictures_table(pictures),
        "qrels.parquet": pa.Table.from_pylist(judgements, schema=pa.schema(QRELS_COLUMNS)),
    }
    for name, table in tables.items():
        pq.write_table(table, output / name, compression="zstd", compression_level=9)
    return [output / name for name in tables]


def _lines(name: str) -> list[str]:
    # Not splitlines(): U+2028 and its kin are line ends to it, but not to JSON Lines.
    return (HERE / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")


def main() -> None:
    """Rebuild the files of this folder and name them."""
    for path in build(HERE):
        sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
