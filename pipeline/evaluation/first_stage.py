"""The first-stage order of an output that `--top-n` cut, read from its input."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import polars as pl
from msgspec.structs import replace

from pipeline.core.errors import InputError, RerankError
from pipeline.core.providers import PROVIDERS
from pipeline.output.differences import FileFacts
from pipeline.output.prepared_record import read_prepared_record
from pipeline.output.reader import WrittenOutput
from pipeline.output.run_records import read_run_records
from pipeline.source.listing import list_input
from pipeline.source.prepare.named_files import format_of
from pipeline.source.source import Source

_JOINED = {"query": "--queries/", "text": "--corpus/"}
"""Prefixes, in the manifest, of the paths of files that supplied a role's values."""
_PIECE_ROWS = 200_000
"""Rows scored at once: bounds memory, and keeps the overhead per call small."""


def find_input(output: WrittenOutput, input_name: str | None, *, ids_only: bool = False) -> Source:
    """Open the input that an output was made from; check that it has not changed.

    Args:
        output: The output.
        input_name: Its input; None: where the last run found it.
        ids_only: The texts are not wanted, so those that the run has joined may be missing.

    Raises:
        InputError: if it cannot be read or has changed since, or if the run converted, joined or
            sorted it and `input_name` does not name the prepared file.
    """
    settings = output.manifest.settings
    if input_name is not None and (prepared := _find_prepared(output, input_name)) is not None:
        return prepared
    name = input_name or _recorded_input(output)
    if name is None:
        raise InputError("no record says where the input is", which=output.location.name)
    files = output.manifest.input_files
    own = [file for file in files if not file.path.startswith("--")]
    joined = [
        role
        for role, prefix in _JOINED.items()
        if any(file.path.startswith(prefix) for file in files)
    ]
    is_converted = any(format_of(file.path)[0] not in (None, "parquet") for file in own)
    if is_converted or (joined and not ids_only) or "sort_input" in settings:
        raise InputError(
            "the run converted, joined or sorted its input, which is not done again here",
            which=name,
            cure="make the same file with `rerank prepare`, and name it with --input",
        )
    listing = list_input(name)
    if not _are_same(msgspec.convert(listing.facts(), list[FileFacts]), own):
        raise InputError(
            "not the input that the output was made from, or changed since",
            which=name,
            cure="name that input with --input",
        )
    return Source(
        listing,
        columns=settings["columns"],
        layout=settings["layout"],
        duplicates=settings["duplicates"],
        elsewhere=joined,
        max_queries=settings.get("limit"),
        media=_scores_media(settings),
        with_media=bool(joined),
    )


def _find_prepared(output: WrittenOutput, name: str) -> Source | None:
    """Open a file of `rerank prepare` equal to the run's prepared input; None for other files.

    Raises:
        InputError: if it cannot be read.
    """
    record = read_prepared_record(output.location)
    if record is None or format_of(name)[0] not in (None, "parquet"):
        return None
    listing = list_input(name)
    if not _are_same(msgspec.convert(listing.facts(), list[FileFacts]), [record.facts]):
        return None
    return Source(
        listing,
        columns=record.columns,
        layout=record.layout,
        duplicates=output.manifest.settings["duplicates"],
        max_queries=output.manifest.settings.get("limit"),
        media=_scores_media(output.manifest.settings),
    )


def _scores_media(settings: Mapping[str, Any]) -> bool:
    """Return whether the model of an output scores images and videos."""
    provider = PROVIDERS.get(settings.get("provider", ""))
    model = settings.get("model")
    return provider is not None and model is not None and provider.profile(model).is_multimodal


def iter_first_stage(source: Source) -> Iterator[pl.DataFrame]:
    """Yield `query_id` and `doc_id` (strings) and `rank` of all candidates, in whole queries.

    Raises:
        InputError: if the input cannot be read or understood.
    """
    pieces: list[pl.DataFrame] = []
    for batch in source.iter_batches():
        ids = pl.from_arrow(batch.candidates.select(["query_id", "doc_id"]))
        assert isinstance(ids, pl.DataFrame)
        ranks = pl.Series("rank", batch.first_stage_rank)
        pieces.append(ids.select(pl.all().cast(pl.String), ranks))
        if sum(piece.height for piece in pieces) >= _PIECE_ROWS:
            yield pl.concat(pieces)
            pieces = []
    if pieces:
        yield pl.concat(pieces)


def _are_same(found: Sequence[FileFacts], expected: Sequence[FileFacts]) -> bool:
    """Return whether the files are the same; a single file may have been renamed."""
    if len(found) == len(expected) == 1:
        found = [replace(found[0], path=expected[0].path)]
    if len(found) != len(expected):
        return False
    return all(one.is_same(other) for one, other in zip(found, expected, strict=True))


def _recorded_input(output: WrittenOutput) -> str | None:
    try:
        records = read_run_records(output.location)
    except RerankError as error:
        raise InputError(error.what, which=error.which) from error
    names = [record.input for record in records if record.input]
    return names[-1] if names else None
