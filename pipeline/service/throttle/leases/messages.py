"""The messages of a taker and the leaser of a quota; all times are by the leaser's clock.

A *taker* is a process that sends requests. A *slot* is the right to send one request at one moment,
with the tokens that it may take. A taker that cannot reach the leaser sends *on its own*, at a
share of the quota that it was promised before.
"""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

Limit: TypeAlias = Literal["requests", "tokens"]
_Rate: TypeAlias = Annotated[float, Meta(ge=1e-9, le=1e15)]
_Amount: TypeAlias = Annotated[float, Meta(ge=0, le=1e15)]
_Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
_Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=3_600)]
_Moment: TypeAlias = Annotated[float, Meta(ge=-1e12, le=1e12)]
_MANY = 10_000


class Slot(Struct, frozen=True, array_like=True):
    """The right to send a request of so many tokens at a moment."""

    at: _Moment
    tokens: _Amount = 0.0


class Served(Struct, array_like=True):
    """Served requests or tokens that were admitted under one version of a rate."""

    limit: Limit
    version: int
    amount: _Amount


class Refused(Struct, array_like=True):
    """The service refused a request that was admitted under this version of a rate.

    Attributes:
        pause_s: Seconds in which nothing should be sent.
    """

    limit: Limit
    version: int
    pause_s: _Seconds


class Report(Struct):
    """How slots were used since the last report.

    Attributes:
        number: The number of this report; the leaser ignores one that it has already.
        unused: Slots in which nothing was sent.
        corrections: Tokens that were counted beyond those of a slot, by the slot's moment.
    """

    number: int
    unused: list[Slot] = []
    corrections: list[tuple[_Moment, _Moment]] = []
    served: list[Served] = []
    refused: list[Refused] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to report."""
        return not (self.unused or self.corrections or self.served or self.refused)


class Ask(Struct):
    """The message of a taker, sent at least once a second, whether or not it has requests.

    Attributes:
        taker: Its unique name.
        requests_per_s: The quota of requests by its settings; None if none is known.
        tokens_per_s: The same for tokens.
        wants: Expected tokens of each request that waits for a slot, in order.
        report: How it used its slots.
        share: The share of the quota, from 0 to 1, at which it now sends on its own, if it does.
        is_leaving: It will send nothing more.
        epoch: The epoch of the leaser that the report is for; another leaser ignores the report.
    """

    taker: str
    requests_per_s: _Rate | None
    tokens_per_s: _Rate | None
    wants: Annotated[list[_Amount], Meta(max_length=_MANY)]
    report: Report
    share: _Share | None = None
    is_leaving: bool = False
    epoch: float = 0.0


class Grant(Struct):
    """The answer of the leaser.

    Attributes:
        now: The time by its clock, in seconds since it began.
        epoch: Identifies the leaser: after a restart it has another epoch.
        slots: New slots, in order.
        again_s: When to ask again, in seconds.
        share: The share of the quota that the taker may use if it loses the leaser.
        takers: The number of takers.
        stay: The taker must continue on its own, since the leaser does not know all takers yet.
        requests_per_s: The rate of all takers together as it is now; None for no limit.
        tokens_per_s: The same for tokens.
        requests_version: Of the rate of requests; changes with each refusal that lowers it.
        tokens_version: Of the rate of tokens.
        pause_s: Seconds in which no taker may send anything.
    """

    now: float
    epoch: float = 0.0
    slots: list[Slot] = []
    again_s: float = 1.0
    share: float = 0.0
    takers: int = 1
    stay: bool = False
    requests_per_s: float | None = None
    tokens_per_s: float | None = None
    requests_version: int = 0
    tokens_version: int = 0
    pause_s: float = 0.0


class LeaseTimes(Struct, frozen=True, kw_only=True):
    """When what happens between takers and leaser, in seconds.

    Attributes:
        ahead_s: How far ahead slots are given out: a new taker waits no longer for its share.
        late_s: How long after its moment a slot may be used, since event loops are late.
        wants_s: Wants that are not repeated for this long are forgotten.
        heartbeat_s: Longest time between two messages of a taker.
        call_s: An unanswered call is given up after this.
        silent_s: The share of a taker that was not heard for so long is kept free, since it may
            send on its own.
        own_s: Since its last answered call was begun, a taker without the leaser sends on its own.
            At least `silent_s`, `ahead_s` and `call_s` together, so that nobody does it too early.
        dead_s: A taker that was not heard for so long is dead; its share goes to the others.
        gather_s: How long a leaser that starts, or restarts, waits for takers on their own.
    """

    ahead_s: float = 0.25
    late_s: float = 0.02
    wants_s: float = 0.6
    heartbeat_s: float = 1.0
    call_s: float = 1.0
    silent_s: float = 1.6
    own_s: float = 3.0
    dead_s: float = 4.0
    gather_s: float = 3.0
