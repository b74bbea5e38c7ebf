"""A scheduler and workers that somebody else has started."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from distributed import Client, Security


def _security(env: Mapping[str, str]) -> Security:
    """Of a client with the certificate that these settings of Dask name."""
    tls = {name: env[f"DASK_DISTRIBUTED__COMM__TLS__{name}"] for name in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY")}
    return Security(
        require_encryption=True, tls_ca_file=tls["CA_FILE"], tls_client_cert=tls["CLIENT__CERT"],
        tls_client_key=tls["CLIENT__KEY"],
    )  # fmt: skip


@contextmanager
def cluster(folder: Path, *flags: str, env: Mapping[str, str] | None = None, workers: int = 2) -> Iterator[Path]:
    """The scheduler's file; `flags` are of the workers. `env` holds for all of them, and for whoever asks for it."""
    file, env = folder / "scheduler.json", {**os.environ, **(env or {})}
    file.unlink(missing_ok=True)  # a killed scheduler leaves its own, which the workers would follow
    protocol = ["--protocol", "tls"] if "DASK_DISTRIBUTED__COMM__TLS__CA_FILE" in env else []
    scheduler = [
        "dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(file),
    ]
    worker = ["dask_worker", "--scheduler-file", str(file), "--nworkers", str(workers), "--nthreads", "1"]
    started = [
        subprocess.Popen([sys.executable, "-m", f"distributed.cli.{name}", *rest], stderr=subprocess.DEVNULL, env=env)
        for name, *rest in (
            [*scheduler, *protocol],
            [*worker, "--no-dashboard", "--host", "127.0.0.1", *protocol, *flags],
        )
    ]
    try:
        with Client(scheduler_file=str(file), timeout=60, security=_security(env) if protocol else None) as client:
            client.wait_for_workers(workers, timeout=60)
        yield file
    finally:
        family = [*started, *(child for each in started for child in psutil.Process(each.pid).children(recursive=True))]
        for process in family:
            process.kill()
        for process in started:
            process.wait(30)
