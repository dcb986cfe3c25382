"""A file that cannot be read is named."""

import pytest
from support.tables import candidates, open_source, read_groups, write

from pipeline.core.errors import InputError


def test_a_letter_that_differs_from_the_checksum_of_its_page_is_noticed(tmp_path):
    path = write(
        candidates([5] * 2), tmp_path / "in.parquet",
        compression="none", use_dictionary=False, write_page_checksum=True,
    )  # fmt: skip
    content = path.read_bytes()
    assert content.count(b"text 1 3") == 1
    path.write_bytes(content.replace(b"text 1 3", b"text 1 8"))
    source = open_source(path)

    with pytest.raises(InputError, match=r"in\.parquet: .*damaged"):
        read_groups(source)


def test_a_file_that_breaks_while_it_is_read_is_named(tmp_path):
    path = write(candidates([50] * 20), tmp_path / "in.parquet", compression="none")
    content = bytearray(path.read_bytes())
    content[200:4000] = b"\x5a" * 3800
    path.write_bytes(content)
    source = open_source(path)

    with pytest.raises(InputError, match=r"in\.parquet: .*damaged"):
        read_groups(source)


def test_a_column_whose_name_is_not_utf8_is_refused(tmp_path):
    path = write(candidates(doc_id_x=[1] * 5), tmp_path / "in.parquet", store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"doc_id_x", b"doc_id_\xff"))

    with pytest.raises(InputError, match=r"in\.parquet: .*the name of a column is not UTF-8"):
        open_source(path)


@pytest.mark.parametrize("text", ["query_id,doc_id\n1,2\n", '{"a": "汉字"}\n' * 300, "é" * 999])
def test_text_named_as_parquet_is_told_apart_from_damage(tmp_path, text):
    path = tmp_path / "in.parquet"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=r"in\.parquet: not a Parquet file \(found .* of text"):
        open_source(path)
