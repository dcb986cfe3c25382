"""Paid answers, found by content: append, look up, compact."""

from pipeline.score_store.query_answers import QueryAnswers
from pipeline.score_store.rows import Answer
from pipeline.score_store.store import ScoreStore
from pipeline.score_store.upkeep import StoreInfo, info, prune

__all__ = ["Answer", "QueryAnswers", "ScoreStore", "StoreInfo", "info", "prune"]
