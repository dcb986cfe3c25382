"""Rerank the candidates of many queries with a rerank service: the library.

A candidate travels one path: `source` reads it in a group, `packing` puts it into a request,
`client` (or `score_store`, if it was paid before) brings its score, `merging` its place in the
group's ranking, and `sink` writes it in a part. `rerank_group` is that path for one group,
`rerank_dataset` for a dataset. Nothing in here knows of a command line or an environment variable.
"""
