"""An environment for each engine, beside that of agriseg: what is installed there already is not installed again.

The new environment sees the packages of this one after its own. So torch is shared where the pins of an engine allow
it, and where they do not, pip installs what they ask for in front of it.
"""

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SHARED = "shared.pth"
_MARK = "installed.txt"
_REASON = 200  # letters of a reason


class EngineError(RuntimeError):
    """An engine cannot be installed or run here; the message is the reason."""


@dataclass(frozen=True)
class Environment:
    """What pip installs for an engine.

    Args:
        requirements: with all that they depend on.
        alone: without what they depend on, where that cannot be had or would only help GPUs.
    """

    name: str
    requirements: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()


def installed(environment: Environment, folder: Path) -> Path:
    """The Python of the environment below `folder`; made if it is not there or asks for other packages.

    Raises:
        EngineError: pip could not install it.
    """
    home = folder / environment.name
    python, mark, wanted = home / "bin" / "python", home / _MARK, repr(environment)
    if mark.exists() and mark.read_text("utf-8") == wanted:
        return python
    venv.create(home, with_pip=bool(environment.requirements or environment.alone), clear=True)
    packages = home / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / _SHARED).write_text("\n".join(_shared_folders()) + "\n", "utf-8")
    for words in (("--no-deps", *environment.alone), environment.requirements):
        if any(not word.startswith("-") for word in words):
            _pip(python, words)
    mark.write_text(wanted, "utf-8")
    return python


def _shared_folders() -> list[str]:
    """Folders with the packages of this environment, and the repository."""
    return [*(path for path in sys.path if Path(path).name == "site-packages"), str(ROOT)]


def _pip(python: Path, words: tuple[str, ...]) -> None:
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"pip install {' '.join(words)}: {last_line(done.stderr)}")


def last_line(text: str) -> str:
    """The last line that says something, cut to what a table takes."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:_REASON] if lines else "no message"
