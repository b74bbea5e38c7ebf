"""The port and the key of a server, kept beside its labels, so that an open page goes on after a restart."""

import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

NAME = ".address"
"""Name of the file; only its owner can read it."""
_KEY_BYTES = 32
_FORM = re.compile(r"(\d{1,5}) ([A-Za-z0-9_-]{43})\n")
_OWNER_ONLY = 0o600


@dataclass(frozen=True)
class KeptAddress:
    """Port and key; port 0 is any free one."""

    port: int
    key: str

    @classmethod
    def of(cls, folder: Path) -> "KeptAddress":
        """That of the last server of a folder; a new key where there is none, or where others could read it."""
        path = folder / NAME
        try:
            found = _FORM.fullmatch(path.read_text("ascii"))
            private = not stat.S_IMODE(path.lstat().st_mode) & ~_OWNER_ONLY
        except (OSError, UnicodeDecodeError):
            found, private = None, False
        if found is None or not private:
            return cls(0, secrets.token_urlsafe(_KEY_BYTES))
        return cls(int(found[1]), found[2])

    def keep(self, folder: Path) -> None:
        """Write it for the next server of the folder."""
        path = folder / NAME
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY), "w") as file:
            file.write(f"{self.port} {self.key}\n")
