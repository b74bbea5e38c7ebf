"""Distribution of rasters over worker processes: retries, timeouts, and the row of each raster."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from agriseg.batch.queue import GONE, BatchItem, same_content, stamp
from agriseg.batch.state_db import BatchRow, Entry, StateDatabase
from agriseg.batch.summary import BatchLog
from agriseg.batch.task import MapFacts, MapTask, run_task
from agriseg.batch.withdrawn import WITHDRAWN, withdraw
from agriseg.errors import AgrisegError, InputMissing, WorkerLost
from agriseg.inference.workers import TaskError, WorkerPool, gpu_count
from agriseg.mapping.outputs import QUARANTINE, Outputs
from agriseg.maps.run_identity import versions
from agriseg.options.batch import BatchOptions

_RETRIED = (74, 75)  # exit codes after which another try in the same batch may succeed
_POLL = 0.5  # seconds


class Dispatcher:
    """The rasters that are to be mapped, and the workers.

    Args:
        log: gets the row of each raster.
        progress: called with the number of finished rasters and of all.
    """

    def __init__(
        self, options: BatchOptions, out: Path, database: StateDatabase, log: BatchLog, items: Iterable[BatchItem],
        progress: Callable[[int, int], None],
    ) -> None:  # fmt: skip
        self._options, self._out, self._progress = options, out.resolve(), progress
        self._database, self._log = database, log
        self._pending, self._started = deque(items), time.time()
        self._running: dict[str, tuple[BatchItem, float]] = {}  # and when it began, monotonic seconds

    def work(self) -> None:
        """Map the rasters; return when each of them is mapped, failed or deferred."""
        with WorkerPool(self._options.workers, self._options.scheduler_address, gpu_count()) as pool:
            pool.check_versions(versions)
            while self._pending or self._running:
                self._submit(pool)
                for name, result in pool.as_completed(_POLL) if self._running else ():
                    item, began = self._running.pop(name)
                    self._finish(item, result, time.monotonic() - began)
                self._stop_overdue(pool)
                if self._options.fail_fast and self._log.failed:
                    break
                if finished := self._log.finished:
                    self._progress(finished, self._log.total)

    def _submit(self, pool: WorkerPool) -> None:
        """Give rasters to the free workers; files that may still be growing wait."""
        pool.require_workers()
        free, waits = pool.free, []
        for _ in range(len(self._pending)):
            if free <= 0:
                return
            item = self._pending.popleft()
            if (wait := self._wait(item)) > 0:
                self._pending.append(item)
                waits.append(wait)
            elif self._start(pool, item):
                free -= 1
        if waits and not self._running:
            time.sleep(min(*waits, _POLL))

    def _wait(self, item: BatchItem) -> float:
        """Seconds until a file has not changed for long enough."""
        changed = min(item.stamp.newest_ns / 1e9, self._started)  # a clock may be wrong
        return changed + self._options.settle - time.time()

    def _start(self, pool: WorkerPool, item: BatchItem) -> bool:
        """Give a raster to a worker, or record why not; whether a worker has it."""
        path = item.candidate.path
        if (now := stamp(path)) not in (GONE, item.stamp):
            self._log.add(item.row("deferred", "it is still being written; run again later"))
            return False
        try:
            if now == GONE:
                raise InputMissing(f"{path}: has gone since the folder was searched")
            task = self._task(item, own=self._claim(item))
        except (AgrisegError, OSError) as error:
            self._fail(item, TaskError.of(error), 0)
            return False
        pool.submit(item.name, run_task, task)
        self._running[item.name] = item, time.monotonic()
        return True

    def _claim(self, item: BatchItem) -> bool:
        """Record that files with the raster's output names are of this batch; whether they were before."""
        entry, outputs = self._database.find(item.name), self._outputs(item)
        own = entry is not None and entry.row.own
        replace(outputs, overwrite=own).check(item.candidate.path)
        if not own:
            row = BatchRow(item.name, "begun", own=True)
            self._database.put(Entry(item.name, item.stamp.text, "", "", row))
        return own

    def _task(self, item: BatchItem, *, own: bool) -> MapTask:
        image, model = item.candidate.path.resolve(), item.job.model.resolve()
        request = item.job.request.with_report().with_quarantine(self._out / QUARANTINE / item.folder)
        folder = self._outputs(item).folder
        return MapTask(image, self._out, folder, model, request, own, self._options.cpu_threads)

    def _outputs(self, item: BatchItem) -> Outputs:
        folder = (self._out / item.folder).resolve()
        return Outputs(folder, item.candidate.path.stem, item.job.request.run.probabilities)

    def _finish(self, item: BatchItem, result: MapFacts | TaskError | WorkerLost, seconds: float) -> None:
        if isinstance(result, WorkerLost):
            window = self._outputs(item).died_in
            text = f"{item.candidate.path}: {result}{f' in {window}' if window else ''}; is memory short?"
            result = TaskError.of(WorkerLost(text))
        if isinstance(result, TaskError):
            self._fail(item, result, seconds)
            return
        failed, verdict = result.pixels.failed, result.verdict
        reason = f"{failed:,} pixels could not be read" if failed else ""
        if item.job.request.policy.refuses(verdict.colour):
            reason = f"{verdict.colour}: {'; '.join(verdict.reasons)}"
        row = item.row("failed" if reason else "done", reason, 3 if reason else 0)
        self._record(item, replace(row, map=result, own=True, seconds=result.seconds))

    def _fail(self, item: BatchItem, failure: TaskError, seconds: float) -> None:
        if failure.code in _RETRIED and item.tries < self._options.retry:
            self._log.event("retry", item.name, error=failure.text)
            self._pending.append(replace(item, tries=item.tries + 1))
            return
        self._record(item, replace(item.row("failed", failure.text, failure.code), seconds=round(seconds, 3)))

    def _record(self, item: BatchItem, row: BatchRow) -> None:
        """Keep the row of a raster: first in the database, then in the log and the summary."""
        before = self._database.find(item.name)
        own = row.own or (before is not None and before.row.own)
        if before and own and self._withdraw(item, before, row):
            row = replace(row, reason=f"{row.reason}; the map of the raster as it was is now in {WITHDRAWN}")
        row = replace(row, own=own, image=str(item.candidate.path.resolve()))
        self._database.put(Entry(item.name, item.stamp.text, row.map.identity if row.map else "", item.key, row))
        self._log.add(row)

    def _withdraw(self, item: BatchItem, before: Entry, row: BatchRow) -> bool:
        """Withdraw the published map of a raster that has changed since and failed; whether there was one."""
        if row.status != "failed" or stamp(item.candidate.path) == GONE:
            return False
        outputs = self._outputs(item)
        if row.map is None:
            is_stale = not same_content(item, before)
        else:
            is_stale = row.map.files[-1] != outputs.record.relative_to(self._out).as_posix()
        return is_stale and withdraw(outputs, self._out / WITHDRAWN / item.folder)

    def _stop_overdue(self, pool: WorkerPool) -> None:
        for name, (item, began) in list(self._running.items()):
            seconds = time.monotonic() - began
            if self._options.timeout is not None and seconds > self._options.timeout:
                pool.kill(name)
                del self._running[name]
                text = f"{item.candidate.path}: not done after {seconds:.0f} s, stopped; raise --timeout"
                self._record(item, replace(item.row("failed", text, 75), seconds=round(seconds, 3)))
