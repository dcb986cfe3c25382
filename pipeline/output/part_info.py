"""What the footer of a part says about it: enough to resume and to report, without its rows."""

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct, field
from msgspec.structs import asdict

from pipeline.storage.location import Location

METADATA_KEY = b"rerank"
GROUPS_FOLDER = "_groups"
REJECTS_FOLDER = "_rejects"

_FORMAT = 1
_PART_NAME = re.compile(r"part-(\d{5,})\.parquet")
_FOOTERS_AT_ONCE = 8


class PartInfo(Struct, frozen=True, kw_only=True):
    """A written part: which input it covers and what it took.

    Attributes:
        index: The part's number.
        fingerprint: Of the settings and the input that it belongs to.
        first_group: Index of its first group in the dataset.
        first_row: The input row where it begins, counted over all files from 0.
        num_rows: Input rows that it covers, those included whose candidates are dropped.
        num_candidates: Candidates ranked; the part has fewer rows where top-n cuts.
        merge_status: Groups by how their scores were joined.
        groups_bytes: Size of its file in `_groups`.
        rejects_bytes: Size of its file in `_rejects`; 0 where there is none.
    """

    index: int
    fingerprint: str
    first_group: int
    num_groups: int
    first_row: int
    num_rows: int
    num_candidates: int = 0
    num_rejected: int = 0
    num_skipped: int = 0
    requests: int = 0
    total_tokens: int = 0
    merge_status: Mapping[str, int] = field(default_factory=dict)
    groups_bytes: int = 0
    rejects_bytes: int = 0

    @property
    def stop_group(self) -> int:
        """Index of the first group after the part."""
        return self.first_group + self.num_groups

    @property
    def stop_row(self) -> int:
        """The first input row after the part."""
        return self.first_row + self.num_rows

    @property
    def has_rejects(self) -> bool:
        """A file in `_rejects` belongs to the part."""
        return self.num_rejected + self.num_skipped > 0

    def to_json(self) -> bytes:
        """The footer's entry; the same bytes for the same facts."""
        facts = {"format": _FORMAT, **asdict(self)}
        facts["part"] = facts.pop("index")
        return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, entry: bytes) -> Self:
        """Read a footer's entry.

        Raises:
            ValueError, TypeError, KeyError: if it is not one of this format.
        """
        facts = dict(json.loads(entry))
        if facts.pop("format") != _FORMAT:
            raise ValueError("another format")
        return cls(index=facts.pop("part"), **facts)


def part_name(index: int) -> str:
    """The file name of a part, of its groups and of its rejects."""
    return f"part-{index:05d}.parquet"


def part_sizes(folder: Location) -> dict[int, int]:
    """The parts for which there is a file in a folder, by index in ascending order; bytes."""
    infos = ((_PART_NAME.fullmatch(info.base_name), info.size) for info in folder.children())
    return dict(sorted((int(match[1]), size) for match, size in infos if match))


def read_part_infos(output: Location, fingerprint: str) -> dict[int, PartInfo]:
    """The parts that are committed, by index in ascending order.

    A part of another fingerprint, an unreadable one, and one whose groups or rejects are gone, cut
    short or of another part counts as absent: it will be written again.
    """
    indices = list(part_sizes(output))
    groups = part_sizes(output.child(GROUPS_FOLDER))
    rejects = part_sizes(output.child(REJECTS_FOLDER))
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as threads:
        infos = threads.map(lambda index: _read_info(output.child(part_name(index))), indices)
        return {
            index: info
            for index, info in zip(indices, infos, strict=True)
            if info is not None
            and info.index == index
            and info.fingerprint == fingerprint
            and groups.get(index) == info.groups_bytes
            and rejects.get(index, 0) == info.rejects_bytes
        }


def _read_info(part: Location) -> PartInfo | None:
    try:
        footer = pq.read_metadata(part.path, filesystem=part.filesystem)
        return PartInfo.from_json((footer.metadata or {})[METADATA_KEY])
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError):
        return None
