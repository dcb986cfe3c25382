"""The line of a terminal, as a terminal shows it."""

import fcntl
import io
import os
import pty
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pyte
import pytest

from jobs.console.terminal_line import PLAIN_SIGNS, Signs, TerminalLine, is_terminal, shown_line


class Terminal:
    """A terminal of some columns and five lines, and the stream that writes to it."""

    def __init__(self, stream: TextIO, ours: int, columns: int) -> None:
        self.stream = stream
        self._ours = ours
        self.screen = pyte.Screen(columns, 5)
        self._bytes = pyte.ByteStream(self.screen)

    def lines(self) -> list[str]:
        """Return what it shows, without empty lines."""
        os.set_blocking(self._ours, False)
        try:
            while piece := os.read(self._ours, 65_536):
                self._bytes.feed(piece)
        except OSError:  # nothing more is there
            pass
        return [line.rstrip() for line in self.screen.display if line.strip()]


@contextmanager
def opened_terminal(columns: int = 40, encoding: str = "utf-8") -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    with open(theirs, "w", encoding=encoding) as stream:  # noqa: PTH123  # a descriptor
        yield Terminal(stream, ours, columns)
    os.close(ours)


def test_a_line_replaces_the_one_before_it() -> None:
    with opened_terminal() as terminal:
        with TerminalLine(terminal.stream, {}) as line:
            line.draw("a long first line")
            line.draw("short")

            assert terminal.lines() == ["short"]
            assert terminal.screen.cursor.hidden
            assert (terminal.screen.cursor.y, terminal.screen.cursor.x) == (0, 0)
        assert terminal.lines() == ["short"]
        assert not terminal.screen.cursor.hidden
        assert (terminal.screen.cursor.y, terminal.screen.cursor.x) == (1, 0)


def test_other_lines_appear_above_it() -> None:
    with opened_terminal() as terminal, TerminalLine(terminal.stream, {}) as line:
        line.draw("progress")
        with line.hidden():
            terminal.stream.write("a log line\n")

        assert terminal.lines() == ["a log line", "progress"]


def test_nothing_of_a_line_that_a_narrower_terminal_broke_in_two_is_left() -> None:
    """Such a terminal moves what no longer fits to the next line, and not the cursor."""
    with opened_terminal(40) as terminal, TerminalLine(terminal.stream, {}) as line:
        line.draw("x" * 38)
        assert terminal.lines() == ["x" * 38]
        terminal.screen.resize(5, 30)
        terminal.screen.cursor_position(2, 1)
        terminal.screen.draw("x" * 8)
        terminal.screen.cursor_position(1, 1)
        assert terminal.lines() == ["x" * 30, "x" * 8]

        line.draw("y" * 20)

        assert terminal.lines() == ["y" * 20]


def test_what_was_typed_over_the_line_is_gone_when_it_is_left() -> None:
    with opened_terminal() as terminal, TerminalLine(terminal.stream, {}) as line:
        line.draw("progress")
        terminal.stream.write("^C")

        line.leave()

        assert terminal.lines() == ["progress"]
        assert not terminal.screen.cursor.hidden


def test_without_a_line_nothing_is_written() -> None:
    with opened_terminal() as terminal:
        with TerminalLine(terminal.stream, {}) as line:
            assert shown_line() is line
        assert shown_line() is None
        assert terminal.lines() == []
        assert not terminal.screen.cursor.hidden


def test_the_width_is_that_of_the_terminal_now() -> None:
    with opened_terminal() as terminal, TerminalLine(terminal.stream, {}) as line:
        widths = []
        for columns in (120, 40, 0):
            size = struct.pack("HHHH", 5, columns, 0, 0)
            fcntl.ioctl(terminal.stream.fileno(), termios.TIOCSWINSZ, size)
            widths.append(line.columns)

    assert widths == [119, 39, 79]


def test_the_signs_are_those_of_the_encoding() -> None:
    with opened_terminal(encoding="ascii") as terminal:
        assert TerminalLine(terminal.stream, {}).signs == PLAIN_SIGNS
    with opened_terminal(encoding="utf-8") as terminal:
        assert TerminalLine(terminal.stream, {}).signs == Signs()


def test_colors_are_left_out_on_request() -> None:
    stream = io.StringIO()

    assert TerminalLine(stream, {}).paint("x", "green") == "\x1b[32mx\x1b[0m"
    assert TerminalLine(stream, {"NO_COLOR": "1"}).paint("x", "green") == "x"


def test_a_terminal_that_is_gone_does_not_stop_anything() -> None:
    with opened_terminal() as terminal, TerminalLine(terminal.stream, {}) as line:
        terminal.stream.close()
        line.draw("progress")


@pytest.mark.parametrize(("term", "is_one"), [("xterm", True), ("dumb", False)])
def test_a_dumb_terminal_is_none(term: str, is_one: bool) -> None:
    with opened_terminal() as terminal:
        assert is_terminal(terminal.stream, {"TERM": term}) is is_one
    assert not is_terminal(None, {})
    assert not is_terminal(io.StringIO(), {})
