"""Paid answers, found by content: append, look up, compact."""

from pipeline.score_store.store import ScoreStore, StoreInfo, info, prune

__all__ = ["ScoreStore", "StoreInfo", "info", "prune"]
