"""Candidates in: whole groups, in input order, in bounded memory."""
