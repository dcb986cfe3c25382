"""What --shard takes."""

import pytest

from pipeline.core.errors import SettingsError
from pipeline.core.shard import Shard


@pytest.mark.parametrize(("text", "index", "count"), [("1/1", 1, 1), ("3/16", 3, 16)])
def test_a_shard_is_a_number_of_so_many(text, index, count) -> None:
    shard = Shard.parse(text)

    assert (shard.index, shard.count, str(shard)) == (index, count, text)


@pytest.mark.parametrize(
    "text", ["", "1", "0/2", "3/2", "-1/2", "1/2/3", "a/b", "1 / 2", "1/0", "١/٢"]
)
def test_anything_else_is_refused(text) -> None:
    with pytest.raises(SettingsError) as refused:
        Shard.parse(text)

    assert "--shard" in str(refused.value)
