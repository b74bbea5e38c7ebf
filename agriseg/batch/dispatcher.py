"""The part of a night that needs workers: who gets which raster when, and what becomes of it."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from agriseg.batch.queue import GONE, QUARANTINE, BatchItem, BatchOptions, same_content, stamp
from agriseg.batch.state_db import Entry, StateDatabase
from agriseg.batch.summary import BatchLog
from agriseg.batch.task import MapTask, run_task
from agriseg.batch.withdrawn import WITHDRAWN, withdraw
from agriseg.errors import AgrisegError, InputMissing, WorkerLost
from agriseg.inference.workers import TaskError, WorkerPool, gpu_count
from agriseg.mapping.outputs import Outputs
from agriseg.maps.run_identity import versions
from agriseg.options.run import PublishPolicy, VerdictLimits

_AGAIN = (74, 75)  # codes of what is worth another try in the same night
_LOOK = 0.5  # seconds between looks at the clock while workers work


class Dispatcher:
    """The rasters that are to be mapped, and the workers."""

    def __init__(
        self,
        rules: BatchOptions,
        out: Path,
        ledger: StateDatabase,
        diary: BatchLog,
        left: Iterable[BatchItem],
        tell: Callable[[int, int], None],
    ) -> None:
        self._rules, self._out, self._tell = rules, out, tell
        self._ledger, self._diary = ledger, diary
        self._left, self._found_at = deque(left), time.time()
        self._under_way: dict[str, tuple[BatchItem, float]] = {}  # and when it began

    def work(self) -> None:
        """Until every raster is mapped, has failed, or is put off."""
        with WorkerPool(self._rules.workers, self._rules.scheduler, gpu_count()) as crew:
            crew.check_versions(versions)
            while self._left or self._under_way:
                self._give(crew)
                for name, answer in crew.as_completed(_LOOK) if self._under_way else ():
                    item, began = self._under_way.pop(name)
                    self._end(item, answer, time.monotonic() - began)
                self._stop_overdue(crew)
                if self._rules.fail_fast and self._diary.failed:
                    break
                if settled := self._diary.settled:
                    self._tell(settled, self._diary.total)

    def _give(self, crew: WorkerPool) -> None:
        """Hand out rasters while there are workers for them and files that are at rest."""
        crew.require_workers()
        free = crew.free
        resting = []
        for _ in range(len(self._left)):
            if free <= 0:
                return
            item = self._left.popleft()
            rest = self._rest(item)
            if rest > 0:
                self._left.append(item)
                resting.append(rest)
            elif (now := stamp(item.candidate.path)) == GONE:
                gone = InputMissing(f"{item.candidate.path}: has gone since the folder was searched")
                self._fail(item, TaskError.of(gone), 0)
            elif now != item.stamp:
                self._diary.settle(item.name, item.row("deferred", "it is still being written; run again later"))
            else:
                self._start(crew, item)
                free -= 1
        if resting and not self._under_way:
            time.sleep(min(*resting, _LOOK))

    def _rest(self, item: BatchItem) -> float:
        """Seconds until a file has been left alone for long enough."""
        changed = min(item.stamp.newest_ns / 1e9, self._found_at)  # a clock may be wrong
        return changed + self._rules.settle - time.time()

    def _start(self, crew: WorkerPool, item: BatchItem) -> None:
        """Give a raster to a worker, and say in the ledger that what will lie under its outputs' names is ours."""
        entry, outputs = self._ledger.find(item.name), self._outputs(item)
        own = entry is not None and bool(entry.outcome["own"])
        try:
            replace(outputs, overwrite=own).check(item.candidate.path)
        except (AgrisegError, OSError) as error:
            self._fail(item, TaskError.of(error), 0)
            return
        if not own:
            self._ledger.put(Entry(item.name, item.stamp.text, "", "", {"status": "begun", "own": True}))
        image, model = item.candidate.path.resolve(), item.job.model.resolve()
        quarantine = self._out.resolve() / QUARANTINE / item.folder
        standard = PublishPolicy(VerdictLimits.of(self._rules.limits), self._rules.refused, quarantine)
        rules = self._rules
        turn = MapTask(image, outputs.folder, model, item.job.flags, own, rules.cpu_threads, standard, rules.lang)
        crew.submit(item.name, run_task, turn)
        self._under_way[item.name] = item, time.monotonic()

    def _outputs(self, item: BatchItem) -> Outputs:
        folder = (self._out / item.folder).resolve()
        return Outputs(folder, item.candidate.path.stem, bool(item.job.flags.get("probabilities")))

    def _end(self, item: BatchItem, answer: Any, seconds: float) -> None:
        if isinstance(answer, WorkerLost):
            where = self._outputs(item).died_in
            answer = WorkerLost(f"{item.candidate.path}: {answer}{f' in {where}' if where else ''}; is memory short?")
            answer = TaskError.of(answer)
        if isinstance(answer, TaskError):
            self._fail(item, answer, seconds)
            return
        failed, verdict = answer["pixels"]["failed"], answer["verdict"]
        reason = f"{failed:,} pixels could not be read" if failed else ""
        if verdict["colour"] in self._rules.refused:
            reason = f"{verdict['colour']}: {'; '.join(verdict['reasons'])}"
        row = item.row("failed" if reason else "done", reason, 3 if reason else 0)
        out = self._out.resolve()
        names = [Path(path).relative_to(out).as_posix() for path in answer["files"]]
        report = Path(answer["report"]).relative_to(out).as_posix()
        self._settle(item, {**row, **answer, "files": names, "report": report, "own": True})

    def _fail(self, item: BatchItem, failure: TaskError, seconds: float) -> None:
        if failure.code in _AGAIN and item.tries < self._rules.retries:
            self._diary.note("retry", item.name, error=failure.text)
            self._left.append(replace(item, tries=item.tries + 1))
            return
        row = {**item.row("failed", failure.text, failure.code), "seconds": round(seconds, 3)}
        self._settle(item, row)

    def _settle(self, item: BatchItem, row: dict[str, Any]) -> None:
        """Keep what became of a raster: first in the ledger, then for the readers."""
        before = self._ledger.find(item.name)
        own = before is not None and bool(before.outcome["own"])
        if before and own and self._withdraw(item, before, row):
            row = {**row, "reason": f"{row['reason']}; the map of the raster as it was is now in {WITHDRAWN}"}
        kept = {"own": own, "image": str(item.candidate.path.resolve()), **row}
        self._ledger.put(Entry(item.name, item.stamp.text, row.get("identity", ""), item.key, kept))
        self._diary.settle(item.name, row)

    def _withdraw(self, item: BatchItem, before: Entry, row: dict[str, Any]) -> bool:
        """Let no map stay published that is of another state of a raster which is there; whether there was one."""
        if row["status"] != "failed" or stamp(item.candidate.path) == GONE:
            return False
        outputs = self._outputs(item)
        if "files" not in row:
            is_stale = not same_content(item, before)
        else:
            is_stale = row["files"][-1] != outputs.record.relative_to(self._out.resolve()).as_posix()
        return is_stale and withdraw(outputs, self._out.resolve() / WITHDRAWN / item.folder)

    def _stop_overdue(self, crew: WorkerPool) -> None:
        for name, (item, began) in list(self._under_way.items()):
            seconds = time.monotonic() - began
            if self._rules.timeout is not None and seconds > self._rules.timeout:
                crew.kill(name)
                del self._under_way[name]
                text = f"{item.candidate.path}: not done after {seconds:.0f} s, stopped; raise --timeout"
                self._settle(item, {**item.row("failed", text, 75), "seconds": round(seconds, 3)})
