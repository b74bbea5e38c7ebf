"""Moments at which a run can end: before and after each deed that leaves something behind, and in the middle of a file."""

import threading
from collections.abc import Callable
from typing import Any

import agriseg.files
from agriseg.backends.torch_backend import TorchBackend
from agriseg.storage.base import FolderStorage
from agriseg.storage.blocks import BlockStore

DEEDS = [
    (TorchBackend, "logits"),
    (FolderStorage, "put"),
    (FolderStorage, "delete"),
    (BlockStore, "write"),
    (agriseg.files, "commit"),
]


class Moments:
    """Counts the moments of a run, and acts at one of them.

    Args:
        at: number of the moment, from 1; 0 for none.
        act: what is done then; it does not come back.
        replace: sets an attribute of a class or module, as `setattr` does.
    """

    def __init__(self, at: int, act: Callable[[], None], replace: Callable[[Any, str, Any], None] = setattr) -> None:
        self.seen = 0
        self._at, self._act = at, act
        self._lock = threading.Lock()
        for owner, name in DEEDS:
            replace(owner, name, self._watched(getattr(owner, name), name == "put"))

    def _watched(self, deed: Callable[..., Any], is_put: bool) -> Callable[..., Any]:
        def watched(*given: Any, **named: Any) -> Any:
            self._pass()
            if is_put and self._is_next():  # a kill in the middle of a file
                place, name, data = given
                deed(place, name, data[: len(data) // 2])
            self._pass()
            answer = deed(*given, **named)
            self._pass()
            return answer

        return watched

    def _is_next(self) -> bool:
        return self.seen + 1 == self._at

    def _pass(self) -> None:
        with self._lock:
            self.seen += 1
            now = self.seen == self._at
        if now:
            self._act()
