"""Lets torch report bf16 as present or absent in every process, whatever the processor has.

Python runs this file at its start where PYTHONPATH names this folder: `make BF16=absent test` or `make BF16=present test`.
Where bf16 is reported and the processor lacks it, torch emulates it.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType


class _Reporting(importlib.abc.MetaPathFinder):
    """Finds `torch.cpu` once and changes what it reports."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torch.cpu":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            real = module.get_capabilities
            module.get_capabilities = lambda: {**real(), "avx512_bf16": PRESENT, "amx_bf16": False}

        spec.loader.exec_module = exec_module
        return spec


if asked := os.environ.get("AGRISEG_TEST_BF16"):
    PRESENT = {"present": True, "absent": False}[asked]
    sys.meta_path.insert(0, _Reporting())
