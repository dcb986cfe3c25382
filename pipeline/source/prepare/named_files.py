"""Find the files that a name covers, in any format; only the suffix tells it.

Every format but Parquet may be compressed: `.gz` or `.zst` follows its own suffix.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

import pyarrow as pa
from msgspec import Struct
from xxhash import xxh3_128

from pipeline.core.errors import InputError
from pipeline.source.found_files import SUFFIXES, find_files, is_utf8, printable
from pipeline.source.parquet_file import changed, translate_errors
from pipeline.source.patterns import split_pattern
from pipeline.storage.files import FileInfo
from pipeline.storage.location import Location

Format: TypeAlias = Literal["parquet", "jsonl", "csv", "tsv", "trec"]

Codec: TypeAlias = Literal["gzip", "zstd"]

_FORMATS: Final[dict[str, Format]] = {
    **dict.fromkeys(SUFFIXES, "parquet"),
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".trec": "trec",
    ".run": "trec",
    ".txt": "trec",
}
_CODECS: Final[dict[str, Codec]] = {".gz": "gzip", ".zst": "zstd"}
_TEXT_SUFFIXES: Final = tuple(
    suffix + packed
    for suffix, kind in _FORMATS.items()
    if kind != "parquet"
    for packed in ("", *_CODECS)
)
_BLOCK_BYTES: Final = 1 << 20


class NamedFile(Struct, frozen=True):
    """A file of a text format, as it was found.

    Attributes:
        path: Its path below the name that stands for it.
        location: Where it lies.
        codec: How it is compressed.
        info: Its state when it was found.
        digest: Digest of its bytes; of an object, of its entity tag where the store gives one.
    """

    path: str
    location: Location
    codec: Codec | None
    info: FileInfo
    digest: str

    def facts(self, prefix: str = "") -> dict[str, str | int]:
        """Return what identifies the file in the manifest."""
        size_bytes = self.info.size_bytes or 0
        path = prefix + self.path
        return {
            "path": path, "size_bytes": size_bytes, "num_rows": 0, "footer_digest": self.digest
        }  # fmt: skip

    def fetch(self, folder: Path) -> Path:
        """Return the content as a plain local file; copied into a folder unless it is one.

        Raises:
            InputError: if it cannot be read or has changed.
        """
        if self.location.is_local and self.codec is None:
            self.refuse_changes()
            return Path(self.location.path)
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{len(list(folder.iterdir())):05d}"
        with _readable(self), self.location.open() as raw, target.open("wb") as copy:
            stream = raw if self.codec is None else pa.CompressedInputStream(raw, self.codec)
            while block := stream.read(_BLOCK_BYTES):
                copy.write(block)
        self.refuse_changes()
        return target

    def refuse_changes(self) -> None:
        """Compare the file with its state when it was found.

        Raises:
            InputError: if it has changed or is gone.
        """
        with translate_errors(self.location):
            info = self.location.files.info(self.location.path)
            if info is None:
                raise FileNotFoundError(self.location.path)
        if not info.is_same_state(self.info):
            raise changed(self.location, info, self.info)


class NamedFiles(Struct, frozen=True):
    """The files that a name covers.

    Attributes:
        name: What the user called it.
        format: The format of all files.
        files: The files of a text format; none for Parquet, which `list_input` finds.
    """

    name: str
    format: Format
    files: tuple[NamedFile, ...] = ()


def format_of(name: str) -> tuple[Format | None, Codec | None]:
    """Return the format and the codec that a file's name tells; None for an unknown suffix."""
    stem = name.lower()
    packed = next((suffix for suffix in _CODECS if stem.endswith(suffix)), None)
    if packed is not None:
        stem = stem.removesuffix(packed)
    kind = next((kind for suffix, kind in _FORMATS.items() if stem.endswith(suffix)), None)
    if packed is not None and kind in (None, "parquet"):
        return None, None
    return kind, None if packed is None else _CODECS[packed]


def find_named_files(name: str) -> NamedFiles:
    """Find the files that a name covers: a file, a folder, a glob or an object-store URI.

    A file of unknown suffix is taken for Parquet. In a folder its Parquet files count, or if there
    are none, its files of one text format.

    Raises:
        InputError: if nothing is there, or files of several text formats.
    """
    if not is_utf8(name):
        raise InputError("its name is not UTF-8", which=printable(name), cure="rename it")
    base, pattern = split_pattern(name)
    with translate_errors(base):
        found = find_files(base, pattern, suffixes=(*SUFFIXES, *_TEXT_SUFFIXES))
    if found is None or not found.paths:
        return NamedFiles(name, "parquet")  # `list_input` says what is wrong
    kinds = {path: format_of(path or base.path) for path in found.paths}
    formats = {kind for kind, _ in kinds.values()}
    if formats & {"parquet", None}:
        return NamedFiles(name, "parquet")
    if len(formats) > 1:
        examples = [next(path for path in kinds if kinds[path][0] == kind) for kind in formats]
        raise InputError(
            "files of several formats",
            which=name,
            found=", ".join(sorted(examples)),
            expected="one format",
            cure="name one of them, or a glob such as '*.jsonl'",
        )
    (kind,) = formats
    assert kind is not None
    files = [
        _look_at(path, base.child(path) if path else base, codec)
        for path, (_, codec) in kinds.items()
    ]
    return NamedFiles(name, kind, tuple(files))


def _look_at(path: str, location: Location, codec: Codec | None) -> NamedFile:
    """Return the facts of a file; a local one is read whole, at about .2 s a gigabyte."""
    name = path or location.path.rpartition("/")[2]
    digest = xxh3_128()
    with translate_errors(location):
        found = location.files.info(location.path)
        if found is not None and found.version is not None and found.version.e_tag is not None:
            digest.update(found.version.e_tag.encode())
            return NamedFile(name, location, codec, found, digest.hexdigest())
        opened = location.open_with_info()
        with opened.stream as stream:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
    return NamedFile(name, location, codec, opened.info, digest.hexdigest())


@contextmanager
def _readable(file: NamedFile) -> Iterator[None]:
    """Translate the errors of a decompressor, and of the file system."""
    try:
        with translate_errors(file.location):
            yield
    except InputError as error:
        if file.codec is None or not isinstance(error.__cause__, pa.ArrowException | OSError):
            raise
        if getattr(error.__cause__, "errno", None) is not None:
            raise
        raise InputError(
            f"not {file.codec} data, or damaged",
            which=file.location.name,
            cure="check its suffix, or copy it again",
        ) from error
