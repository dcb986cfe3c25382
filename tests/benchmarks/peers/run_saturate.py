"""saturate: `pump` with its defaults, and the window that the option names."""

from groups import Arguments, iter_groups, scores_in_order
from saturate import Auto, Fixed, pump

arguments = Arguments.read()
fixed = arguments.options == ["fixed"]
pump(
    (
        {"query_id": group.query_id, "question": group.question()}
        for group in iter_groups(arguments.source)
    ),
    lambda row: row["question"],
    lambda row, answer: {
        "query_id": row["query_id"],
        "scores": scores_in_order(answer["results"]),
    },
    endpoint=f"{arguments.url}/v1",
    route="/rerank",
    output=str(arguments.output),
    id_key="query_id",
    window=Fixed(arguments.in_flight) if fixed else Auto(max_limit=arguments.in_flight),
    signal_source="none",
)
