"""What holds for every page of the documentation: links lead somewhere, lines fit a terminal."""

import pytest
from support.markdown import PAGES, anchors, links, read_page, resolve

LONGEST_LINE = 110


@pytest.mark.parametrize("path", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(path: str) -> None:
    broken = []
    for target in links(read_page(path)):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = resolve(path, target) if file else resolve(path, path.rpartition("/")[2])
        if not there.exists() or (
            anchor and anchor not in anchors(there.read_text(encoding="utf-8"))
        ):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("path", PAGES)
def test_no_line_is_longer_than_a_wide_terminal(path: str) -> None:
    lines = read_page(path).splitlines()

    assert [line for line in lines if len(line) > LONGEST_LINE] == []
