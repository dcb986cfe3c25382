"""The configuration of an emulator, checked when it is built."""

from dataclasses import dataclass, field

from jobs.emulator.faults import Fault
from pipeline.core.errors import SettingsError

DISTORTIONS = ("none", "affine", "monotone", "softmax", "minmax", "zscore")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmulatorConfig:
    """How the emulator behaves; by default it answers every valid request at once.

    Attributes:
        port: 0 for any free port.
        api_key: The only key that is accepted; None accepts any key that is not empty.
        latency_ms: Minimum time from a request's arrival to its scores, in milliseconds.
        requests_per_minute: Quota, a sixtieth of it also per second; None for no limit.
        tokens_per_minute: Quota, a sixtieth of it also per second; None for no limit.
        clock_jitter_s: Seconds by which a quota's windows of 1 s and 60 s are shortened, since
            requests arrive less evenly than they are sent.
        fail_rate: Share of requests, from 0 to 1, that get a transient fault.
        seed: Of faults, distortions, noise and request ids.
        format: Whose endpoint is served beside DashScope's.
        score_distortion: How scores depend on their request; one of `DISTORTIONS`.
        score_noise: Standard deviation of the noise on the logit.
        score_digits: Decimal digits of a score; None for all.
    """

    host: str = "127.0.0.1"
    port: int = 0
    api_key: str | None = field(default=None, repr=False)
    latency_ms: float = 0.0
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    clock_jitter_s: float = 0.0
    fail_rate: float = 0.0
    faults: tuple[Fault, ...] = ()
    seed: int = 0
    format: str = "dashscope"
    score_distortion: str = "none"
    score_noise: float = 0.0
    score_digits: int | None = None

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name, is_legal, expected in (
            ("latency_ms", self.latency_ms >= 0, "0 or more"),
            ("requests_per_minute", _is_quota(self.requests_per_minute), "more than 0"),
            ("tokens_per_minute", _is_quota(self.tokens_per_minute), "more than 0"),
            ("clock_jitter_s", 0 <= self.clock_jitter_s < 1, "at least 0, less than 1"),
            ("fail_rate", 0 <= self.fail_rate <= 1, "from 0 to 1"),
            ("score_distortion", self.score_distortion in DISTORTIONS, " | ".join(DISTORTIONS)),
            ("score_noise", self.score_noise >= 0, "0 or more"),
            ("score_digits", (self.score_digits or 0) >= 0, "0 or more"),
        ):
            if not is_legal:
                raise SettingsError(
                    "impossible setting", which=name, found=getattr(self, name), expected=expected
                )


def _is_quota(per_minute: float | None) -> bool:
    return per_minute is None or per_minute > 0
