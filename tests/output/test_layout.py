"""The names of an output's files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.output import layout
from pipeline.output.layout import is_hidden, part_index, part_name


@given(st.integers(0, 10**7))
def test_a_parts_name_tells_its_number(index: int) -> None:
    assert part_index(part_name(index)) == index
    assert not is_hidden(part_name(index))


@pytest.mark.parametrize(
    "name",
    ["part-1.parquet", "part-00001.parquet.tmp", ".part-00001.parquet", "xpart-00001.parquet"],
)
def test_other_names_are_no_parts(name: str) -> None:
    assert part_index(name) is None


def test_readers_of_the_folder_skip_all_that_is_no_part() -> None:
    names = [getattr(layout, name) for name in dir(layout) if name.endswith(("_NAME", "_FOLDER"))]

    assert len(set(names)) >= 12
    assert all(is_hidden(name) for name in names if isinstance(name, str))
