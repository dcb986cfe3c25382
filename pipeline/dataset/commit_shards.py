"""The end of an output that shards wrote: checked as a whole, and marked as finished."""

from collections import Counter
from typing import Final

import pyarrow as pa
from msgspec import Struct

from pipeline.core.errors import InputError, TooManyRejects
from pipeline.dataset.offload import run_to_end
from pipeline.dataset.prepared_input import PREPARED_NAME
from pipeline.output.layout import PREPARED_FOLDER, REJECTS_FOLDER, SHARDS_NAME, SUCCESS_NAME
from pipeline.output.lock.lock import hold_output
from pipeline.output.manifest import read_manifest, remove_unfinished
from pipeline.output.part_info import PartInfo, read_part_infos
from pipeline.output.shard_plan import ShardPlan, read_shard_plan
from pipeline.output.sink import Sink
from pipeline.output.validation import locate_output
from pipeline.storage.location import Location

_SHOWN: Final = 8


class Committed(Struct, frozen=True):
    """The contents of a finished output; counts."""

    parts: int
    groups: int
    candidates: int
    rejected: int
    skipped: int


async def commit_output(
    output_name: str, *, max_rejects: int = 0, lock_wait_s: float = 0.0
) -> Committed:
    """Check that all parts of all shards are there, and mark the output as finished.

    The fingerprint of a part names its settings and input; parts of others count as missing.

    Args:
        output_name: A folder or an object-store URI.
        max_rejects: How many candidates may be without a score.
        lock_wait_s: How long to wait for shards that still run, in seconds.

    Raises:
        InputError: if it is not an output, or if parts are missing; names their shards.
        OutputMismatch: if the manifest is damaged or of another format.
        OutputBusy: if a run holds the output or a shard of it.
        OutputFailed: if it cannot be read or written.
        TooManyRejects: if more candidates than allowed have no score.
    """
    output = locate_output("OUTPUT", output_name)
    if await run_to_end(lambda: read_manifest(output)) is None:
        raise InputError(
            "not an output of `rerank run`: it has no _manifest.json",
            which=output.name,
            cure="name the OUTPUT of the shards",
        )
    async with hold_output(output, wait_s=lock_wait_s) as held:
        await held.wait()
        return await run_to_end(lambda: _commit(output, max_rejects))


def _commit(output: Location, max_rejects: int) -> Committed:
    manifest = read_manifest(output)
    assert manifest is not None, "checked before"
    parts = list(read_part_infos(output, manifest.fingerprint).values())
    sink = Sink(output, pa.schema([]), fingerprint=manifest.fingerprint)
    plan = read_shard_plan(output, manifest.fingerprint)
    if plan is None and not sink.is_finished():
        raise _unplanned(output, has_parts=bool(parts))
    if plan is not None:
        parts = _planned(output, plan, parts)
    rejected = sum(part.num_rejected for part in parts)
    if rejected > max_rejects:
        raise TooManyRejects(
            "candidates without a score",
            which=output.child(REJECTS_FOLDER).name,
            found=rejected,
            expected=f"at most {max_rejects}",
            cure="the shards' commands ask again for them alone",
        )
    if plan is not None:
        remove_unfinished(output)
        sink.finish(len(parts))
        output.child(PREPARED_FOLDER, PREPARED_NAME).remove()
        output.child(SHARDS_NAME).remove()
    return Committed(
        parts=len(parts),
        groups=sum(part.num_groups for part in parts),
        candidates=sum(part.num_candidates for part in parts),
        rejected=rejected,
        skipped=sum(part.num_skipped for part in parts),
    )


def _planned(output: Location, plan: ShardPlan, parts: list[PartInfo]) -> list[PartInfo]:
    """Return the parts that the shards planned; raise if one is missing."""
    if not plan.parts:
        empty = [part for part in parts if part.index == 0 and not part.num_groups]
        if not empty:
            raise _unfinished(output, f"1/{plan.count} (its only part)")
        return empty
    missing = plan.missing(parts)
    if missing:
        counts = Counter(str(plan.owner(index, plan.count)) for index in missing)
        shown = ", ".join(f"{shard} ({count} parts)" for shard, count in [*counts.items()][:_SHOWN])
        more = len(counts) - _SHOWN
        raise _unfinished(output, shown + (f" and {more} more" if more > 0 else ""))
    return [part for part in parts if part.index < len(plan.parts)]


def _unplanned(output: Location, *, has_parts: bool) -> InputError:
    command = "rerank run INPUT OUTPUT --shard I/N"
    if not has_parts:
        cure = f"run every shard: {command}"
        return InputError("no shard has begun", which=output.name, cure=cure)
    return InputError(
        f"has parts, but neither {SUCCESS_NAME} nor {SHARDS_NAME}, which tells where parts end",
        which=output.name,
        cure=f"run one shard again, which writes it and sends only what is missing: {command};"
        " then commit",
    )


def _unfinished(output: Location, shards: str) -> InputError:
    return InputError(
        f"parts of these shards are missing: {shards}",
        which=output.name,
        cure="run these shards again, then commit",
    )
