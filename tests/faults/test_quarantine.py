"""K, B: after any sequence of nights, each killed anywhere, what is published is of the rasters as they are."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import UTM
from runs import Ended, Nursery

from agriseg.demo.reference_models import random_network

Tries = Callable[[int, int], int]

LIMITS = ["--limit", "doubtful=99%:99.9%", "--limit", "distance=1:2"]
STATES = ("green", "green", "red", "cut", "vanished", "same")
PLACES = ("agriseg.files:commit", "agriseg.mapping.run:describe_run", "agriseg.batch.dispatcher:Entry", "shutil:rmtree")
"""Calls at which a night or one of its workers dies: names of outputs and summaries, records, the ledger, clearing away."""


class Farm:
    """Two rasters whose state of each night is drawn by chance: grey is green, magenta red, and half a file is unreadable."""

    def __init__(self, folder: Path, nursery: Nursery, rng: np.random.Generator) -> None:
        self.flights, self.out, self._model = folder / "flights", folder / "out", folder / "m.safetensors"
        self._nursery, self._rng = nursery, rng
        self.flights.mkdir()
        sure = replace(random_network("fcn_small"), temperature=0.0001)
        replace(sure, about={"correlation": np.eye(3).tolist()}).save(self._model)
        self.states = {"a.tif": "vanished", "a_2.tif": "vanished"}

    def fly(self) -> None:
        """Let something happen to each raster."""
        import rasterio

        for name in self.states:
            state, path = STATES[self._rng.integers(len(STATES))], self.flights / name
            if state == "same":
                continue
            self.states[name] = state
            path.unlink(missing_ok=True)
            if state == "vanished":
                continue
            pixels = np.full((3, 48, 48), 128, np.uint8) + self._rng.integers(0, 3, (3, 48, 48), dtype=np.uint8)
            if state == "red":
                pixels[0], pixels[1], pixels[2] = 255, 0, 255
                pixels[:, 0, 0] = self._rng.integers(1, 250, 3)
            with rasterio.open(
                path, "w", driver="GTiff", count=3, height=48, width=48, dtype="uint8", **UTM
            ) as dataset:
                dataset.write(pixels)
            if state == "cut":
                path.write_bytes(path.read_bytes()[:4000])

    def night(self, *flags: str, patches: tuple[Any, ...] = ()) -> Ended:
        asked = [
            "batch",
            self.flights,
            "-o",
            self.out,
            "-m",
            self._model,
            "--fail-on",
            "red",
            *LIMITS,
            "--settle",
            "0s",
        ]
        return self._nursery.run(*asked, "--retry", "0", *flags, patches=[["forks"], *patches])

    def check(self, when: str) -> None:
        """Each published map is of its raster as it is now and not red; each row tells what lies there."""
        rows = {row["name"]: row for row in json.loads((self.out / "summary.json").read_text())["rows"]}
        for name, state in self.states.items():
            home, apart = (
                self.out / f"{Path(name).stem}_run.json",
                self.out / "quarantine" / f"{Path(name).stem}_run.json",
            )
            row = rows.get(name)
            if state == "vanished":
                assert row["status"] == "gone" if row else not home.exists(), when
                continue
            now = hashlib.sha256((self.flights / name).read_bytes()).hexdigest()
            assert row is not None, when
            assert row["status"] == ("done" if state == "green" else "failed"), (when, row)
            assert home.exists() == (state == "green"), (when, name)
            left = {path.name for path in self.out.glob(f"{Path(name).stem}_[!2]*")}
            assert (len(left) > 5) == (state == "green"), (when, left)
            if state == "cut":
                assert row["code"] == 65
                continue
            record = json.loads((home if state == "green" else apart).read_text())
            assert record["input"]["sha256"] == row["sha256"] == now, when
            assert record["verdict"] == row["verdict"]
            assert (record["verdict"]["colour"] == "red") == (state == "red")
            assert self.out / row["files"][-1] == (home if state == "green" else apart)
            for each, told in record["outputs"].items():
                data = (self.out / row["files"][-1]).with_name(each).read_bytes()
                assert hashlib.sha256(data).hexdigest() == told, each
        assert not list(self.out.glob(".*.agriseg")), "what a killed run has left is taken up or cleared away"


@pytest.mark.fault("K11", "B02")
def test_what_is_published_is_of_the_rasters_as_they_are(nursery: Nursery, tmp_path: Path, tries: Tries) -> None:
    seed = 11
    rng = np.random.default_rng(seed)
    farm = Farm(tmp_path, nursery, rng)
    for number in range(tries(7, 150)):
        farm.fly()
        place = PLACES[rng.integers(len(PLACES))]
        killed = farm.night(patches=(["dies_at", place, int(rng.integers(14 if place.endswith("commit") else 3))],))
        assert killed.code in (-9, 0, 3, 65, 75), killed.err
        farm.night()
        farm.check(f"seed {seed}, night {number}: {farm.states}, died at {place}: {killed.code}")
        if number % 3 == 0:
            farm.night()
            farm.check(f"seed {seed}, again after night {number}")
