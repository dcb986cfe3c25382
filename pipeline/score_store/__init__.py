"""Paid answers, found by content: append, look up, compact."""

from pipeline.score_store.store import ScoreStore
from pipeline.score_store.upkeep import StoreInfo, info, prune

__all__ = ["ScoreStore", "StoreInfo", "info", "prune"]
