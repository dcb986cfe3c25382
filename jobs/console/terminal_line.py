"""The last line of a terminal, drawn again and again; log lines appear above it.

The cursor rests, hidden, at the start of the line, and everything from there on is erased before
the line is drawn anew. So nothing is left over when the terminal becomes narrower and breaks the
line into two. (rich puts the cursor at the end of the line: its first half would stay.)
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Final, TextIO

from msgspec import Struct

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_ERASE = "\r\x1b[J"
_COLORS: Final = {"green": "\x1b[32m", "red": "\x1b[31m", "dim": "\x1b[2m"}
_PLAIN = "\x1b[0m"
_USUAL_WIDTH = 80


class Signs(Struct, frozen=True):
    """The characters of a line beside text."""

    done: str = "━"
    left: str = "─"
    between: str = " · "

    def __str__(self) -> str:
        return self.done + self.left + self.between


PLAIN_SIGNS: Final = Signs("=", "-", " | ")
"""For terminals that have only ASCII."""

_shown: "TerminalLine | None" = None


def shown_line() -> "TerminalLine | None":
    """Return the line that is on the terminal now."""
    return _shown


def is_terminal(stream: TextIO | None, environment: Mapping[str, str]) -> bool:
    """Return whether a stream is a terminal whose cursor can be moved."""
    try:
        return stream is not None and stream.isatty() and environment.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


class TerminalLine:
    """One line of a terminal, for as long as the `with` block lasts.

    Args:
        stream: The terminal.
        environment: If NO_COLOR is set there, colors are left out (no-color.org).
    """

    def __init__(self, stream: TextIO, environment: Mapping[str, str]) -> None:
        self._stream = stream
        self._has_colors = not environment.get("NO_COLOR")
        self._drawn = ""
        self._lock = threading.RLock()

    def __enter__(self) -> "TerminalLine":
        """Become the line above which logs appear."""
        global _shown  # one process, one terminal
        _shown = self
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the line as it is, and the cursor below it."""
        global _shown
        _shown = None
        self.leave()

    def leave(self) -> None:
        """End the line as it was drawn last, without characters typed over it."""
        if self._drawn:
            self._write(f"{_ERASE}{self._drawn}{_SHOW}\n")
            self._drawn = ""

    @property
    def columns(self) -> int:
        """How many characters fit; the last column stays free, since some terminals break there."""
        columns = 0
        with suppress(OSError, ValueError):
            columns = os.get_terminal_size(self._stream.fileno()).columns
        return (columns or _USUAL_WIDTH) - 1

    @property
    def signs(self) -> Signs:
        """The characters to draw with: those of boxes, if the terminal's encoding has them."""
        try:
            str(Signs()).encode(self._stream.encoding or "ascii")
        except (UnicodeEncodeError, LookupError):
            return PLAIN_SIGNS
        return Signs()

    def paint(self, text: str, color: str) -> str:
        """Return the text in a color, unless colors are not wanted: `green`, `red` or `dim`."""
        return f"{_COLORS[color]}{text}{_PLAIN}" if self._has_colors and text else text

    def draw(self, line: str) -> None:
        """Replace the line."""
        with self._lock:
            start = _ERASE if self._drawn else _HIDE
            if line != self._drawn:
                self._write(f"{start}{line}\r")
                self._drawn = line

    def erase(self) -> None:
        """Remove the line."""
        with self._lock:
            if self._drawn:
                self._write(f"{_ERASE}{_SHOW}")
                self._drawn = ""

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Remove the line while the body writes, and draw it again below that."""
        with self._lock:
            if self._drawn:
                self._write(_ERASE)
            yield
            if self._drawn:
                self._write(f"{self._drawn}\r")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):  # the terminal is gone; the command goes on
            self._stream.write(text)
            self._stream.flush()
