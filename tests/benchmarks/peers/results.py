"""What a contestant left behind, and the table of all of them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
from peers.contestants import Contestant

COLUMNS = {
    "requests_per_s": ("speed", "requests/s", ",.0f"),
    "cpu_ms": ("speed", "CPU ms a request", ".2f"),
    "start_up_cpu_s": ("speed", "CPU s to start", ".1f"),
    "took_s": ("speed", "took s", ".1f"),
    "most_in_flight": ("speed", "in flight", ",d"),
    "peak_mb": ("speed", "peak MB", ",.0f"),
    "lost": ("quota", "lost at quota", ",d"),
    "throttled": ("quota", "429s", ",d"),
    "active_s": ("quota", "active s", ".1f"),
    "paid_at_kill": ("kill", "paid at kill", ",d"),
    "paid_again": ("kill", "paid again", ",d"),
}
"""Figure: the test it is of, its heading, its format."""

LEGEND = """\
Speed: from the first request to the last answer; the CPU to start is that of 64 groups, and CPU a
request is what further ones add; 'took' is the whole process. At quota: 100 requests a second, in
bursts of up to 100. Of what is paid again, up to 64 were in flight at the kill: no client can save
those."""


@dataclass
class Row:
    """What was measured of one contestant; why something was not stands in the notes, by test."""

    contestant: Contestant
    figures: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        who = self.contestant
        return {
            "name": who.name,
            "built_for": who.built_for,
            "packages": who.packages,
            **dict.fromkeys(COLUMNS),
            **self.figures,
            "notes": self.notes,
        }


def num_scored(output: Path, num_documents: int) -> int:
    """How many groups have a score for each document in the result, whatever its form.

    Lines of `query_id` and a list of scores, Parquet of the same, or Parquet with a row for each
    candidate. Files and folders whose names begin with `_` are no result.
    """
    scored: set[str] = set()
    for path in _results(output):
        if path.suffix == ".jsonl":
            scored |= {group for group, scores in _lines(path) if len(scores) == num_documents}
            continue
        table = pl.read_parquet(path)
        if "scores" in table.columns:
            whole = table.filter(pl.col("scores").list.len() == num_documents)
        elif "relevance_score" in table.columns:
            counts = table.group_by("query_id").agg(pl.col("relevance_score").count())
            whole = counts.filter(pl.col("relevance_score") == num_documents)
        else:
            continue  # a part of failures alone
        scored |= set(whole["query_id"])
    return len(scored)


def _lines(path: Path) -> Iterator[tuple[str, list[object]]]:
    for text in path.read_text().splitlines():
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # torn by a kill: whoever reads the result has nothing of it
            continue
        if isinstance(line, list):
            yield line[0], line[1]
        elif "scores" in line:  # the others tell how the run went
            yield line["query_id"], line["scores"]


def _results(output: Path) -> Iterator[Path]:
    for path in sorted(output.rglob("*")):
        names = path.relative_to(output).parts
        if path.suffix in (".jsonl", ".parquet") and not any(n.startswith("_") for n in names):
            yield path


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a table, `-` where there is no figure, and the notes below it."""
    notes: dict[str, int] = {}
    lines = [
        _line(["", "built for", *(heading for _, heading, _ in COLUMNS.values())]),
        "|---|---|" + "---:|" * len(COLUMNS),
    ]
    for row in rows:
        marks = {
            test: f" [{notes.setdefault(note, len(notes) + 1)}]" for test, note in row.notes.items()
        }
        cells = [row.contestant.name, row.contestant.built_for]
        for name, (test, _, form) in COLUMNS.items():
            cell = format(row.figures[name], form) if name in row.figures else "-"
            cells.append(
                cell + marks.pop(test, "")
            )  # a note stands at the first figure of its test
        lines.append(_line(cells))
    return "\n".join([*lines, "", LEGEND, "", *(f"{n}. {note}" for note, n in notes.items())])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def document(settings: Mapping[str, object], rows: Sequence[Row]) -> str:
    """Return the rows as one JSON object."""
    return json.dumps({"schema_version": 1, **settings, "rows": [row.as_json() for row in rows]})
