"""Where points are measured: in this process, in several of this machine, on a Dask cluster.

Every way takes the same tasks and gives the same records, in any order. Processes and not threads: a
small world is built by Python, which holds the interpreter's lock for most of a short replication. A
process that dies, as one that the kernel kills for its memory, takes those of the others with it; then
every point that was being measured is measured again alone, and the one whose process dies again is
recorded as failed.

On a cluster the scheduler runs again elsewhere what a lost worker had begun, and gives up on a point that has
cost three workers (``distributed.scheduler.allowed-failures``). Only tasks travel: workers need no files, but
the same versions of nodeportsim, numpy and Python, or they are refused.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from nodeportsim.errors import InputError
from nodeportsim.study.measure import Task, assert_same, failure, measured, versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nodeportsim.study.measure import Record

    Item = Task | Record  # A task, or the record of a point that is no scenario.

DIED = "the process that measured it died: killed, or out of memory"
PATIENCE_S = 10
AHEAD = 2  # Tasks that wait for each worker, so that it never does.


def work(item: Item) -> Record:
    """Measure a point; what is a record already stays one."""
    return measured(item) if isinstance(item, Task) else item


def work_for(parent: int, item: Item) -> Record:
    """Measure a point in a process that must not outlive its parent, however that ends."""
    _follow(parent)
    return work(item)


@functools.cache
def _follow(parent: int) -> None:
    """End this process once its parent has: nobody would tell it, and it would wait for tasks for minutes."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def local(items: Iterable[Item], *, jobs: int) -> Iterator[Record]:
    """Measure on this machine, one point after another or several at a time."""
    if jobs == 1:
        yield from map(work, items)
        return
    left = iter(items)
    while True:
        begun: dict[int, Item] = {}
        try:
            yield from _several(_noted(left, begun), jobs, begun)
        except BrokenProcessPool:
            for item in list(begun.values()):
                yield _alone(item)
        else:
            return


def _noted(items: Iterator[Item], begun: dict[int, Item]) -> Iterator[Item]:
    """Remember what was taken from here and is not finished."""
    for item in items:
        begun[_number(item)] = item
        yield item


def _number(item: Item) -> int:
    number: int = item.number if isinstance(item, Task) else item["point"]
    return number


def _several(items: Iterator[Item], jobs: int, begun: dict[int, Item]) -> Iterator[Record]:
    from joblib import Parallel, delayed

    parallel = Parallel(
        n_jobs=jobs,
        prefer="processes",
        batch_size=1,
        pre_dispatch=AHEAD * jobs,
        return_as="generator_unordered",
    )
    for record in parallel(delayed(work_for)(os.getpid(), item) for item in items):
        begun.pop(record["point"])
        yield record


def _alone(item: Item) -> Record:
    """Measure in a process of its own."""
    try:
        (record,) = _several(iter([item]), 2, {_number(item): item})
    except BrokenProcessPool:
        return failure(_number(item), DIED)
    return record


def cluster(items: Iterable[Item], *, address: str) -> Iterator[Record]:
    """Measure on the workers of a Dask scheduler.

    Raises
    ------
    InputError
        Dask is not installed, nobody answers there, there are no workers, or they have other versions.
    """
    client = _client(address)
    try:
        _assert_usable(client, address)
        yield from _submitted(client, iter(items), address)
    except OSError as error:  # Dask's own errors of a lost connection are some.
        raise _gone(address) from error
    finally:
        client.close(timeout=PATIENCE_S)


def _client(address: str) -> Any:
    # It logs tracebacks of what is an error message here.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    try:
        from distributed import Client
    except ImportError:
        hint = "pip install 'nodeportsim[distributed]'"
        raise InputError("needs the library distributed", field="--scheduler", hint=hint) from None
    try:
        return Client(address, timeout=PATIENCE_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        hint = "start one with `dask scheduler`, and give the address that it prints, as tcp://10.0.0.1:8786"
        rule = f"does not answer within {PATIENCE_S} s ({type(error).__name__})"
        raise InputError(rule, field=f"the scheduler {address}", hint=hint) from None


def _assert_usable(client: Any, address: str) -> None:
    """Refuse a cluster without workers, or with workers of other versions."""
    try:
        client.wait_for_workers(1, timeout=PATIENCE_S)
    except TimeoutError:
        hint = f"start some on the machines that are to work: dask worker {address} --nthreads 1"
        raise InputError("has no workers", field=f"the scheduler {address}", hint=hint) from None
    own = {name: value for name, value in versions().items() if name != "engine"}
    libraries = [name for name in own if name != "python"]
    for worker, told in client.get_versions(packages=libraries)["workers"].items():
        packages = {name: str(value) for name, value in told["packages"].items()}
        packages["python"] = ".".join(packages["python"].split(".")[:2])
        try:
            assert_same(own, packages)
        except InputError as error:
            raise InputError(error.rule, field=f"the worker {worker}", hint=error.hint) from None


def _submitted(client: Any, items: Iterator[Item], address: str) -> Iterator[Record]:
    """Keep a few tasks ahead of the workers, and give their records as they come."""
    from distributed import as_completed

    futures: dict[Any, int] = {}
    finished = as_completed(loop=client.loop)

    def more() -> None:
        wanted = AHEAD * max(sum(client.nthreads().values()), 1)
        while len(futures) < wanted and (item := next(items, None)) is not None:
            future = client.submit(work, item, pure=False)
            futures[future] = _number(item)
            finished.add(future)

    more()
    for future in finished:
        yield _answer(future, futures.pop(future), address)
        more()


def _gone(address: str) -> InputError:
    hint = "finished points are kept: start a scheduler and run the same command again"
    return InputError("went away", field=f"the scheduler {address}", hint=hint)


def _answer(future: Any, number: int, address: str) -> Record:
    from distributed import KilledWorker

    if future.status in {"cancelled", "lost"}:
        raise _gone(address)
    try:
        record: Record = future.result()
    except KilledWorker:
        return failure(number, DIED)
    finally:
        future.release()
    return record
