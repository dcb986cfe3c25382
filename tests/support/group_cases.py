"""Random groups and limits, for property tests."""

from dataclasses import dataclass, fields

from hypothesis import settings
from hypothesis import strategies as st
from support.group_world import COUNTER, make_group, make_settings

from pipeline.core.groups import Group
from pipeline.core.records import Request
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.tokens.counter import TokenCounter

unhurried = settings(deadline=None, max_examples=200)

words = st.sampled_from(["alpha ", "beta, ", "漢字", "\n", "12 34 ", "x" * 30 + " ", '"\\\x01'])

texts = st.lists(words, max_size=25).map("".join) | st.none() | st.sampled_from(["same", " ", "\t"])


@dataclass(frozen=True)
class Case:
    """A group to plan, and the limits to plan it under."""

    texts: list[str | None]
    ranks: list[int]
    query: str
    max_documents: int
    max_tokens_per_document: int
    max_tokens_per_request: int
    merge: str
    long_documents: str

    def group(self, **how: object) -> Group:
        return make_group(self.texts, query=self.query, ranks=self.ranks, **how)

    def planner(self, counter: TokenCounter = COUNTER) -> Planner:
        limits = {name: getattr(self, name) for name in LIMITS}
        return Planner(make_settings(**limits), counter)

    def plan(self) -> Plan:
        return self.planner().plan(self.group())


LIMITS = [field.name for field in fields(Case)[3:]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    chosen = draw(st.lists(texts, max_size=30))
    return Case(
        texts=chosen,
        ranks=[draw(st.integers(1, 9)) for _ in chosen],
        query=draw(st.sampled_from(["q", "a longer query with more words", "é" * 40])),
        max_documents=draw(st.integers(1, 12)),
        max_tokens_per_document=draw(st.integers(16, 60)),
        max_tokens_per_request=draw(st.integers(20, 300)),
        merge=draw(st.sampled_from(["auto", "trust"])),
        long_documents=draw(st.sampled_from(["truncate", "max-passage"])),
    )


def contents(requests: list[Request]) -> list[tuple[str, list[str], bytes, int]]:
    return [(r.query, list(r.documents), r.key, r.tokens) for r in requests]
