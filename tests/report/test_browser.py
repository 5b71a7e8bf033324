"""The report in a real headless Chromium: sorting, filtering, keyboard, dark colours and a phone's width.

Needs chromium, chromium-driver (both from apt-get) and selenium; skipped where one is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rarft.report import ReportConfig
from rarft.report import write_report as report

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no chromium and chromedriver here; apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = BROWSER
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture
def page(driver: Any, run: Path, tmp_path: Path) -> Any:
    folder = report(ReportConfig(runs=[str(run)]), tmp_path / "report")
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    still = {"name": "prefers-reduced-motion", "value": "reduce"}  # a smooth scroll would still move under a click
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [still]})
    driver.get((folder / "report.html").as_uri())
    return driver


def style(page: Any, selector: str, name: str) -> str:
    """A computed style of the first element there is."""
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return str(page.execute_script(script, selector, name))


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)` (WCAG 2)."""
    parts = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours (WCAG 2); text is readable from 4.5."""
    dark, bright = sorted([luminance(one), luminance(other)])
    return (bright + 0.05) / (dark + 0.05)


def column(page: Any, table: int, number: int) -> list[str]:
    script = (
        "return Array.from(document.querySelectorAll('table.sortable')[arguments[0]].tBodies[0].rows)"
        ".map(row => row.cells[arguments[1]].getAttribute('data-value'))"
    )
    return page.execute_script(script, table, number)


def table_called(page: Any, caption: str) -> int:
    names = page.execute_script("return Array.from(document.querySelectorAll('caption')).map(c => c.textContent)")
    return names.index(caption)


def test_tables_sort_by_number_both_ways(page: Any) -> None:
    from selenium.webdriver.common.by import By

    where = table_called(page, "seed-0")
    table = page.find_elements(By.CSS_SELECTOR, "table.sortable")[where]
    head = table.find_elements(By.CSS_SELECTOR, "thead th")[4]
    assert head.text.startswith("tokens out")
    before = [float(value) for value in column(page, where, 4)]
    head.find_element(By.TAG_NAME, "button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(value) for value in column(page, where, 4)] == sorted(before, reverse=True)
    head.find_element(By.TAG_NAME, "button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert [float(value) for value in column(page, where, 4)] == sorted(before)
    assert before != sorted(before), "the order was another before"


def test_keyboard_sorts_and_opens(page: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    button = page.find_element(By.CSS_SELECTOR, "table.sortable thead th:nth-child(2) button")
    page.execute_script("arguments[0].focus()", button)
    button.send_keys(Keys.ENTER)
    head = page.find_element(By.CSS_SELECTOR, "table.sortable thead th:nth-child(2)")
    assert head.get_attribute("aria-sort") == "descending"
    problem = page.find_element(By.CSS_SELECTOR, "details.problem")
    assert problem.get_attribute("open") is None
    problem.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
    assert problem.get_attribute("open") is not None
    assert problem.find_element(By.CSS_SELECTOR, ".rollout").is_displayed()


def visible(page: Any) -> int:
    return page.execute_script("return document.querySelectorAll('details.problem:not([hidden])').length")


def test_problems_are_filtered_by_words_and_by_outcome(page: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    total = visible(page)
    assert total == 12
    words = page.find_element(By.ID, "words")
    words.send_keys("s1) structure:")
    assert visible(page) == 4
    assert page.find_element(By.ID, "count").text == "4 of 12 problems"
    words.send_keys(" zebra")
    assert visible(page) == 0
    words.clear()
    page.execute_script("arguments[0].dispatchEvent(new Event('input'))", words)
    assert visible(page) == total
    select = Select(page.find_element(By.ID, "which"))
    counts = {}
    for option in ("solved", "unsolved"):
        select.select_by_value(option)
        counts[option] = visible(page)
    assert counts["solved"] + counts["unsolved"] == total


def test_dark_and_light_have_readable_contrast(page: Any) -> None:
    backgrounds = []
    for scheme in ("light", "dark"):
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        back = style(page, "body", "backgroundColor")
        backgrounds.append(luminance(back))
        inks = [style(page, selector, "color") for selector in ("body", ".faint", "nav a", ".tag.wrong")]
        for ink in [*inks, style(page, "svg text", "fill")]:
            assert contrast(ink, back) >= 4.5, (scheme, ink)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert backgrounds[0] > 0.9 and backgrounds[1] < 0.05


def test_phone_width_does_not_scroll_sideways(page: Any) -> None:
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    )
    page.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360


def test_nothing_is_fetched_and_nothing_fails(page: Any) -> None:
    import json

    page.get_log("performance")  # forget what the browser's own start page asked for
    page.refresh()
    requests = [
        json.loads(entry["message"])["message"]["params"]["request"]["url"]
        for entry in page.get_log("performance")
        if json.loads(entry["message"])["message"]["method"] == "Network.requestWillBeSent"
    ]
    assert requests, "the page itself is seen"
    assert all(url.startswith(("file:", "data:")) for url in requests), requests
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
