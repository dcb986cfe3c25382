#!/bin/sh
# Rerank one night: rerank-night [NIGHT], by default yesterday in UTC (2026-11-29).
#
# CANDIDATES and RERANKED are the folders or addresses of the partitions dt=NIGHT. Every option of
# `rerank run` can be set by its variable: RERANK_RUN_SCORE_STORE, RERANK_RUN_MAX_COST, ...
set -eu

night=${1:-$(date --utc --date=yesterday +%F)}
input=${CANDIDATES:?set it to the folder of the candidates}/dt=$night
output=${RERANKED:?set it to the folder to write to}/dt=$night

# exec: signals reach the job, and its exit code is ours.
exec rerank run "$input" "$output" --log-format json --json
