"""Select the partitions of a backfill: those from one value to another, in order."""

import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

from pipeline.core.errors import InputError, OutputFailed, SettingsError
from pipeline.storage.location import Location
from pipeline.storage.partitions import Partition, list_partitions, parse_date

Order: TypeAlias = Literal["oldest", "newest"]

_LIKE_DATE: Final = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")
_INTEGER: Final = re.compile(r"[+-]?\d{1,18}")


class PartitionRange:
    """All values from `first` to `last`, both included.

    They are compared as dates if both bounds are dates (YYYY-MM-DD), as integers if both are
    integers, else as strings.

    Args:
        key: The partition key.
        first: The first value.
        last: The last one.

    Raises:
        SettingsError: if a bound is no date though it looks like one or the other bound is one, or
            if the range is empty.
    """

    def __init__(self, key: str, first: str, last: str) -> None:
        self._key = key
        self._parse, self._kind = _parser(first, last)
        self._first = _bound("--from", first, self._parse)
        self._last = _bound("--to", last, self._parse)
        if self._last < self._first:
            raise SettingsError(
                "the range is empty", which="--to", found=last, expected=f"{first} or later"
            )

    def select(self, root: Location, order: Order) -> list[Partition]:
        """Return the partitions of a folder in this range.

        Raises:
            InputError: if there are none, if a value is not of the bounds' kind, or if the folders
                are partitions of other or of several keys.
        """
        try:
            partitions = list_partitions(root)
        except OutputFailed as error:
            raise InputError(error.what, which=error.which, cure=error.cure) from error
        if partitions and partitions[0].key != self._key:
            raise InputError(
                "its folders are partitions of another key",
                which=root.name,
                found=partitions[0].key,
                expected=self._key,
                cure=f"give --partition-key {partitions[0].key}",
            )
        found = [(self._value(partition), partition) for partition in partitions]
        found = [pair for pair in found if self._first <= pair[0] <= self._last]
        if not found:
            shown = f"{partitions[0].folder} to {partitions[-1].folder}" if partitions else "none"
            raise InputError(
                f"no partition {self._key}=VALUE/ in the range",
                which=root.name,
                found=shown,
                expected=f"{self._first} to {self._last}",
                cure="check INPUT_ROOT, --from and --to",
            )
        found.sort(key=lambda pair: (pair[0], pair[1].folder), reverse=order == "newest")
        return [partition for _, partition in found]

    def _value(self, partition: Partition) -> Any:
        try:
            return self._parse(partition.value)
        except ValueError:
            raise InputError(
                f"its value is not {self._kind}, as --from and --to are",
                which=partition.location.name,
                cure="move it elsewhere, or begin its name with _",
            ) from None


def _parser(first: str, last: str) -> tuple[Callable[[str], Any], str]:
    bounds = (first, last)
    if any(map(_LIKE_DATE.fullmatch, bounds)):
        return parse_date, "a date (YYYY-MM-DD)"
    if all(map(_INTEGER.fullmatch, bounds)):
        return int, "an integer"
    return str, "a string"


def _bound(option: str, value: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise SettingsError(
            "is no date", which=option, found=value, expected="YYYY-MM-DD, as the other bound"
        ) from error
