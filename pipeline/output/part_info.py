"""The facts in the footer of a part: enough to resume and to report without its rows."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct, field

from pipeline.core.errors import OutputFailed
from pipeline.output.layout import GROUPS_FOLDER, REJECTS_FOLDER, part_index, part_name
from pipeline.storage.errors import StoreError, translate_errors
from pipeline.storage.location import Location

METADATA_KEY = b"rerank"

_FOOTERS_AT_ONCE = 8
# Sorted, so that equal facts give equal bytes.
_ENCODER = msgspec.json.Encoder(order="sorted")


class PartInfo(Struct, frozen=True, kw_only=True):
    """A written part: which input it covers and what it took.

    Attributes:
        index: The part's number.
        fingerprint: Of the settings and the input that it belongs to.
        first_group: Index of its first group in the dataset.
        first_row: The input row where it begins, counted over all files from 0.
        num_rows: Input rows that it covers, including those whose candidates are dropped.
        num_candidates: Candidates ranked; the part has fewer rows where top-n cuts.
        merge_status: Groups by how their scores were joined.
        groups_bytes: Size of its file in `_groups`.
        rejects_bytes: Size of its file in `_rejects`; 0 where there is none.
        format: Version of the footer's entry.
    """

    index: int = field(name="part")
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
    format: Literal[1] = 1

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
        """Whether a file in `_rejects` belongs to the part."""
        return self.num_rejected + self.num_skipped > 0

    def to_json(self) -> bytes:
        """Return the footer's entry; equal facts give equal bytes."""
        return _ENCODER.encode(self)

    @classmethod
    def from_json(cls, entry: bytes) -> Self:
        """Read a footer's entry.

        Raises:
            msgspec.MsgspecError: if it is not one of this format.
        """
        return msgspec.json.decode(entry, type=cls)


def part_sizes(folder: Location) -> dict[int, int]:
    """Return the size in bytes of each part's file in a folder, by index in ascending order."""
    found = ((part_index(info.base_name), info.size_bytes) for info in folder.children())
    return dict(sorted((index, size or 0) for index, size in found if index is not None))


def read_part_infos(output: Location, fingerprint: str) -> dict[int, PartInfo]:
    """Return the parts that are committed, by index in ascending order.

    A part counts as absent, and will be written again, if it is not Parquet, has another
    fingerprint, or if its groups or rejects are missing, cut short or of another part.

    Raises:
        OutputFailed: if a part is there and cannot be read; writing it again would be paid for.
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
    with translate_errors(part, OutputFailed, "cannot be read"):
        try:
            with part.open() as stream:
                entries = pq.read_metadata(stream).metadata or {}
            return PartInfo.from_json(entries[METADATA_KEY])
        except (pa.ArrowException, msgspec.MsgspecError, KeyError, FileNotFoundError):
            return None
        except OSError as error:
            if error.errno is None and not isinstance(error, StoreError):
                return None  # Arrow's word for a damaged footer; a disk's errors have a number
            raise
