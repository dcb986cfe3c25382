"""Plan what a backfill would do with each partition, without sending a request."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipeline.core.errors import RerankError
from pipeline.core.settings import RunSettings
from pipeline.dataset.plan import DatasetPlan, plan_dataset
from pipeline.dataset.run_input import opened_input
from pipeline.output.differences import FileFacts, file_differences, setting_differences
from pipeline.output.layout import SUCCESS_NAME
from pipeline.output.manifest import read_manifest
from pipeline.storage.location import Location
from pipeline.storage.partitions import Partition


class PartitionPlan(Struct, frozen=True, kw_only=True):
    """The plan of one partition.

    Attributes:
        name: Its folder, `KEY=VALUE`.
        state: `new`, `begun`, `done`, `changed` (its output belongs to other settings or input), or
            `failed` (it cannot be read).
        plan: What it would take, as if nothing was paid before; empty if it is done.
        error: Why it cannot be read.
    """

    name: str
    state: str
    plan: DatasetPlan
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        names = (
            "groups",
            "candidates",
            "requests",
            "requests_max",
            "tokens",
            "search_units",
            "cost_usd",
            "minutes",
        )
        facts = {name: getattr(self.plan, name) for name in names}
        return {"partition": self.name, "state": self.state, **facts, "error": self.error}


def plan_partition(partition: Partition, root: Location, settings: RunSettings) -> PartitionPlan:
    """Return the plan of a partition, whose output is `KEY=VALUE/` in `root`.

    Raises:
        OutputFailed: if the output cannot be read.
    """
    try:
        with opened_input(partition.location.name, settings) as (source, facts):
            state = _state(root.child(partition.folder), facts, settings)
            plan = plan_dataset(source, settings)
    except RerankError as error:
        return PartitionPlan(
            name=partition.folder, state="failed", plan=DatasetPlan(minutes=0.0), error=str(error)
        )
    if state == "done":
        nothing = {
            "requests": 0,
            "requests_max": 0,
            "tokens": 0,
            "search_units": 0,
            "cost_usd": 0.0,
            "minutes": 0.0,
        }
        plan = replace(plan, **nothing)
    return PartitionPlan(name=partition.folder, state=state, plan=plan)


def _state(
    output: Location, facts: Sequence[Mapping[str, str | int]], settings: RunSettings
) -> str:
    manifest = read_manifest(output)
    if manifest is None:
        return "new"
    wanted = msgspec.json.decode(msgspec.json.encode(settings.output_settings()))
    files = msgspec.convert(facts, list[FileFacts])
    if setting_differences(manifest.settings, wanted) or file_differences(
        manifest.input_files, files
    ):
        return "changed"
    return "done" if output.child(SUCCESS_NAME).exists() else "begun"
