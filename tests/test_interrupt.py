"""Ctrl-C ends a run, between whatever two steps of Python it comes."""

import subprocess
import sys

import pytest

RUNS = '''
import sys
from types import SimpleNamespace

from agriseg.inference.pipeline import run_bands
from agriseg.timing.stages import StageClock


def interrupt_at(step):
    """Run three bands and interrupt them before an instruction of agriseg; returns whether it was reached."""
    left = step

    def trace(frame, event, _given):
        nonlocal left
        if "/agriseg/" not in frame.f_code.co_filename or frame.f_code.co_name == "_graph":  # before any task runs
            return None
        frame.f_trace_opcodes = True
        left -= event == "opcode"
        if event == "opcode" and left == 0:
            raise KeyboardInterrupt
        return trace

    def infer(band, strip, carry):
        assert strip == -band and carry == (band - 1 if band else None)
        return SimpleNamespace(carry=band)

    sys.settrace(trace)
    try:
        written = list(run_bands(range(3), lambda band: -band, infer, lambda done: done.carry, clock=StageClock()))
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    assert written == [0, 1, 2]
    return False


step = 1
while interrupt_at(step):
    print(step, flush=True)
    step += 1
'''


@pytest.mark.fault("K06")
def test_a_run_ends_wherever_it_is_interrupted() -> None:
    """In a process of its own: a run that waits for ever cannot be ended from inside."""
    child = subprocess.Popen([sys.executable, "-c", RUNS], stdout=subprocess.PIPE, text=True)
    try:
        told = child.communicate(timeout=200)[0]
    finally:
        child.kill()
    assert child.returncode == 0
    assert len(told.splitlines()) > 400, "it was interrupted at many steps"
