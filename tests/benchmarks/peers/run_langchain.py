"""LangChain: `DashScopeRerank` for every group, in so many threads; a line for each answer."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import dashscope
from groups import Arguments, Group, iter_groups, scores_in_order, write_line
from langchain_community.document_compressors.dashscope_rerank import DashScopeRerank


def main(arguments: Arguments) -> None:
    dashscope.base_http_api_url = f"{arguments.url}/api/v1"
    reranker = DashScopeRerank(top_n=None, dashscope_api_key="sk-bench")
    failures: Counter[str] = Counter()
    slots, lock = threading.Semaphore(2 * arguments.in_flight), threading.Lock()
    with (
        (arguments.output / "answers.jsonl").open("w") as sink,
        ThreadPoolExecutor(arguments.in_flight) as pool,
    ):

        def rerank(group: Group) -> None:
            try:
                results = reranker.rerank(group.documents, group.query, top_n=None)
                with lock:
                    write_line(sink, group.query_id, scores_in_order(results))
            except Exception as error:  # whatever it is, the group is lost, and counted
                failures[type(error).__name__] += 1
            finally:
                slots.release()

        for group in iter_groups(arguments.source):
            slots.acquire()
            pool.submit(rerank, group)
    print(dict(failures))


main(Arguments.read())
