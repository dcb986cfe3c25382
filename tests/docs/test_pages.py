"""What holds for every page of the documentation: links lead somewhere, lines fit a terminal."""

import pytest
from support.markdown import PAGES, anchors, blocks, links, read_page, resolve

LONGEST_LINE = 110
LONGEST_CODE_LINE = 80


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
def test_lines_are_not_wider_than_a_terminal(path: str) -> None:
    page = read_page(path)
    code = [line for block in blocks(page) for line in block.splitlines()]

    assert [line for line in page.splitlines() if len(line) > LONGEST_LINE] == []
    assert [line for line in code if len(line) > LONGEST_CODE_LINE] == []
