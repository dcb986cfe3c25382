"""What the scheduler of a Dask cluster notes; a real one is in tests/integration/test_dask.py."""

from jobs.dask_leases import RerankPlugin


async def test_a_run_that_its_driver_gave_up_is_not_wanted_again() -> None:
    scheduler = RerankPlugin()
    assert not await scheduler.is_wanted("run")

    await scheduler.want("run", wanted=True)
    await scheduler.want("another", wanted=True)
    assert await scheduler.is_wanted("run")

    await scheduler.want("run", wanted=False)
    await scheduler.want("run", wanted=True)  # a word that was on its way
    assert not await scheduler.is_wanted("run")
    assert await scheduler.is_wanted("another")
