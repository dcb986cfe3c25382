"""Every error of the project.

    RerankError                 an unexpected end                                  exit 1
      SettingsError             contradictory, impossible or ignored settings      exit 2
      InputError                the candidates cannot be read or understood        exit 3
      ServiceEnded              the service will give no more answers
        ServiceRefused          it refuses for good, a person must act             exit 4
        OutageTooLong           it was down for longer than allowed                exit 8
        CostLimitReached        one more request could exceed the allowed cost     exit 9
      OutputMismatch            the output belongs to other settings or input      exit 5
      OutputBusy                another run holds the output                       exit 6
      OutputFailed              the output cannot be written                       exit 1
      TooManyRejects            the run finished with too many rejects             exit 7
      GateFailed                a ranking is not as good as was asked              exit 10
      Interrupted               a signal asked the job to stop                     exit 130, 143
      RequestError              one attempt of one request got no scores; never leaves the job
        Throttled               the service asks for a slower pace; costs no attempt
        Transient               another attempt may succeed
        BadAnswer               an answer that is not one valid score per document; tried again
          IncompleteAnswer      valid scores, but not for all documents
        TooLarge                the request must be smaller
        ContentRefused          something in it is refused: find it by bisection
        Rejected                the request is refused, smaller or not

A message is one line: what, which, found against expected, and the cure. It never holds a
candidate's text or a key.
"""

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # commands that only report errors start faster without numpy
    from pipeline.core.arrays import FloatArray

from pipeline.core.printable import make_printable

MAX_MESSAGE_LENGTH = 300


def shorten(text: str, max_length: int = MAX_MESSAGE_LENGTH) -> str:
    """Fold a foreign message into one printable line of at most `max_length` characters."""
    line = " ".join(make_printable(text[: 4 * max_length]).split())
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


class RerankError(Exception):
    """Any failure that the project itself names.

    Args:
        what: What went wrong, as a short phrase.
        which: The file, column, option or query that it concerns.
        found: What was found there.
        expected: What would have been right.
        cure: What the user can do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        which: object = None,
        found: object = None,
        expected: object = None,
        cure: str | None = None,
    ) -> None:
        self.what = what
        self.which = which
        self.found = found
        self.expected = expected
        self.cure = cure
        super().__init__(self._message())

    def _message(self) -> str:
        message = self.what if self.which is None else f"{self.which}: {self.what}"
        if self.found is not None:
            message += f" (found {self.found}"
            message += ")" if self.expected is None else f", expected {self.expected})"
        elif self.expected is not None:
            message += f" (expected {self.expected})"
        if self.cure is not None:
            message += f"; {self.cure}"
        return shorten(message, 2 * MAX_MESSAGE_LENGTH)


class SettingsError(RerankError):
    """Contradictory, impossible or ignored settings."""

    exit_code = 2


class InputError(RerankError):
    """The candidates cannot be read or understood."""

    exit_code = 3


class ServiceEnded(RerankError):
    """The service will give no more answers; what was paid is saved."""


class ServiceRefused(ServiceEnded):
    """The service refuses every request until a person acts: key, balance, model, address."""

    exit_code = 4


class OutageTooLong(ServiceEnded):
    """Nothing was served for longer than the allowed outage; the service may be back later."""

    exit_code = 8


class CostLimitReached(ServiceEnded):
    """One more request could exceed the allowed cost."""

    exit_code = 9


class OutputMismatch(RerankError):
    """The output folder belongs to other settings or to another input."""

    exit_code = 5


class OutputBusy(RerankError):
    """Another run holds the output folder."""

    exit_code = 6


class OutputFailed(RerankError):
    """The output cannot be written: disk full, permission denied, store unreachable."""


class TooManyRejects(RerankError):
    """The run finished, but more candidates were rejected than allowed."""

    exit_code = 7


class GateFailed(RerankError):
    """A ranking is not as good as the gate of `evaluate` or `compare` asks."""

    exit_code = 10


class Interrupted(RerankError):
    """A signal asked the job to stop; everything paid is saved.

    Args:
        signal_number: The signal; the exit code is 128 more (130 for SIGINT, 143 for SIGTERM).
    """

    def __init__(self, signal_number: int) -> None:
        self.signal_number = signal_number
        super().__init__(
            "interrupted, state saved", cure="the same command continues and pays only the rest"
        )

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # the one code that depends on a fact
        """128 + the signal's number, as shells report it."""
        return 128 + self.signal_number


class RequestError(RerankError):
    """One attempt of one request got no scores.

    Args:
        code: The service's error code, or our own name of the failure.
        message: The service's message; shortened here.
        status: The HTTP status, where there was an answer.
    """

    def __init__(self, code: str, message: str = "", *, status: int | None = None) -> None:
        self.code = code
        self.message = shorten(message)
        self.status = status
        super().__init__(self.message or code, which=code if self.message else None)


class Throttled(RequestError):
    """The service asks for a slower pace; costs time, never an attempt.

    Args:
        limit: What it protects: `requests`, `tokens`, `growth` (the slope) or `capacity`.
        retry_after_s: Its Retry-After in seconds, where it sent one.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int | None = None,
        limit: str = "requests",
        retry_after_s: float | None = None,
    ) -> None:
        self.limit = limit
        self.retry_after_s = retry_after_s
        super().__init__(code, message, status=status)


class Transient(RequestError):
    """Another attempt may succeed: server failure, time-out, connection lost.

    Args:
        retry_after_s: The service's Retry-After in seconds, where it sent one.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(code, message, status=status)


class BadAnswer(RequestError):
    """An answer that is not one finite score per document; another attempt may bring one."""


class IncompleteAnswer(BadAnswer):
    """A valid answer that has scores for only some of the documents.

    Args:
        scores: float64, one per document of the request; NaN where there is none.
        total_tokens: What the service counted; None if it does not say.
        message: What is missing.
    """

    def __init__(
        self, scores: "FloatArray", total_tokens: int | None = None, message: str = ""
    ) -> None:
        self.scores = scores
        self.total_tokens = total_tokens
        super().__init__("incomplete_answer", message, status=200)


class TooLarge(RequestError):
    """The request is over a size limit of the service."""


class ContentRefused(RequestError):
    """Something in the request is refused; bisection finds the document."""


class Rejected(RequestError):
    """The request is refused, and a smaller one would be too."""


def first_leaf(error: BaseException) -> BaseException:
    """Return the first error of a group, at any depth; an error that is no group is its own."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
