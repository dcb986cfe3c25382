"""litellm: `arerank` for every group, so many at a time; a line for each answer."""

import asyncio
from collections import Counter

import litellm
from groups import MODEL, Arguments, Group, iter_groups, scores_in_order, write_line

NUM_RETRIES = 3


async def main(arguments: Arguments) -> None:
    slots = asyncio.Semaphore(arguments.in_flight)
    failures: Counter[str] = Counter()
    with (arguments.output / "answers.jsonl").open("w") as sink:

        async def rerank(group: Group) -> None:
            try:
                answer = await litellm.arerank(
                    model=f"dashscope/{MODEL}",
                    query=group.query,
                    documents=group.documents,
                    api_base=f"{arguments.url}/v1/rerank",
                    api_key="sk-bench",
                    return_documents=False,
                    num_retries=NUM_RETRIES,
                )
                write_line(sink, group.query_id, scores_in_order(answer.results))
            except Exception as error:  # whatever it is, the group is lost, and counted
                failures[type(error).__name__] += 1
            finally:
                slots.release()

        async with asyncio.TaskGroup() as tasks:
            for group in iter_groups(arguments.source):
                await slots.acquire()
                tasks.create_task(rerank(group))
    print(dict(failures))


litellm.suppress_debug_info = True
asyncio.run(main(Arguments.read()))
