"""Debian's Chromium, headless and without network, for tests of pages."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Skipped without a Chromium, unless AGRISEG_REQUIRE_BROWSER says that there must be one."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        if os.environ.get("AGRISEG_REQUIRE_BROWSER"):
            pytest.fail("no chromium here, and AGRISEG_REQUIRE_BROWSER is set; apt-get install chromium")
        pytest.skip("no chromium on the PATH; apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_QUIET))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, path: Path, **context: Any) -> Iterator[tuple[Page, list[str]]]:
    """A page from a file, and what went wrong with it so far: requests beyond itself, messages, errors, dialogs."""
    wrong: list[str] = []
    around = browser.new_context(offline=True, **context)
    page = around.new_page()
    address = path.absolute().as_uri()
    page.on("request", lambda request: wrong.append(request.url) if not known(request.url, address) else None)
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    page.goto(address)
    yield page, wrong
    around.close()


def known(url: str, address: str) -> bool:
    return url == address or url.startswith("data:image/")
