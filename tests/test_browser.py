"""The real thing: a study on the real digits, then MLflow's own pages in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

import mnist_lab as lab
from tests.conftest import ROOT, environment, served

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


@contextmanager
def browser(folder: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--window-size=1800,1000",
        f"--user-data-dir={folder / 'profile'}",
    ):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


# A user without a browser's driver still runs the other tests; CI installs both.
@pytest.mark.skipif(
    not (CHROMIUM and DRIVER) and "CI" not in os.environ,
    reason="needs chromium and chromedriver (Debian: chromium, chromium-driver)",
)
def test_mlflows_page_shows_the_table_of_a_study(bare_workspace: Path) -> None:
    workspace = bare_workspace  # the command makes the store
    shutil.copy(ROOT / "studies" / "baseline.toml", workspace / "studies")
    options = ["--trials=2", "--epochs=1", "--confirm=0"]
    command = [sys.executable, "-m", "mnist_lab.study", "baseline", *options]
    done = subprocess.run(
        command, cwd=workspace, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stderr == ""  # no progress in a pipe, and none of TensorFlow's noise
    printed = re.search(r"http://127\.0\.0\.1:5000(/#/experiments/\S+)", done.stdout)
    assert printed is not None
    table = lab.runs("baseline")
    assert (table["val_accuracy"] > 0.9).any()
    with served(workspace, "ui", "--workers", "1") as port, browser(workspace) as driver:
        driver.get(f"http://127.0.0.1:{port}{printed[1]}")

        def text() -> str:
            return str(driver.find_element(By.TAG_NAME, "body").text)

        table = table.sort_values("val_accuracy", ascending=False)
        best = table["test_accuracy"].iloc[0]
        try:
            WebDriverWait(driver, 60).until(lambda _: str(best) in text())
        finally:
            driver.save_screenshot(str(workspace / "page.png"))
        shown = text()
        for column in ("test_accuracy", "val_accuracy", "hidden", "batch_size", "learning_rate"):
            assert column in shown, column
        for accuracy in (*table["test_accuracy"], *table["val_accuracy"]):
            assert str(accuracy) in shown
        # Both trials stand in the table, the better first.
        first, second = table["name"]
        assert -1 < shown.index(first) < shown.index(second)
