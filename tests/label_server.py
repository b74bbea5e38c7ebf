"""The real `agriseg label` on a raster, for tests: its process, its address, and requests to it."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class LabelServer:
    """A running server.

    Args:
        address: of the page, with its key.
        folder: of the labels.
    """

    process: "subprocess.Popen[str]"
    address: str
    folder: Path

    @property
    def host(self) -> str:
        """Its name and port."""
        return urlsplit(self.address).netloc

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body of a request; the path is below the key unless it begins with a slash."""
        connection = http.client.HTTPConnection(self.host, timeout=60)
        whole = path if path.startswith("/") else urlsplit(self.address).path + path
        try:
            connection.request(method, whole, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON of a path."""
        status, body = self.ask("GET", path)
        assert status == 200, body
        return json.loads(body)

    def post(self, path: str, values: object) -> tuple[int, Any]:
        """Status and JSON of a request as the page sends it."""
        headers = {"Content-Type": "application/json", "Origin": f"http://{self.host}"}
        status, body = self.ask("POST", path, json.dumps(values).encode(), headers)
        return status, json.loads(body)

    def learnt(self, version: int) -> Any:
        """The state when the labels of a version have been learnt."""
        seen = -1
        while True:
            state = self.get(f"status/{max(0, seen)}")
            if state["version"] == version and not state["training"]:
                return state
            seen = state["number"]


@contextmanager
def label_server(image: Path, folder: Path, *options: str) -> Iterator[LabelServer]:
    """Start the command, and end it as Ctrl-C does."""
    command = [sys.executable, "-m", "agriseg", "label", image, "-o", folder, *options]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # see `interruptible_children` in conftest
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    signal.signal(signal.SIGINT, before)
    with started as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        try:
            yield LabelServer(process, address, folder)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                assert process.wait(60) == 130
