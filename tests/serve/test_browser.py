"""The page in a real headless Chromium: what it shows, keyboard, phone, dark colours, and that it fetches nothing else.

Needs chromium, chromium-driver (both from apt-get) and selenium; skipped where one is missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_browser import BROWSER, DRIVER, contrast, style
from tests.report.test_browser import driver as driver
from tests.serve.conftest import QUESTION, Running
from tests.serve.stub_upstream import StubUpstream

pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium and chromedriver here")


def wide(driver: Any, width: int, mobile: bool = False) -> None:
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": mobile},
    )


@pytest.fixture
def page(driver: Any, server: Running) -> Iterator[Any]:
    start(driver, server)
    yield driver
    driver.get("about:blank")


def start(driver: Any, server: Running) -> None:
    wide(driver, 1200)
    driver.get(f"{server.url}/")
    wait(driver, "return document.getElementById('about').textContent.indexOf('36 worked examples') === 0")


def wait(driver: Any, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 60).until(lambda _: driver.execute_script(condition))


def text(driver: Any, selector: str) -> str:
    return str(driver.execute_script("return document.querySelector(arguments[0]).textContent", selector))


def ask(driver: Any, problem: str = QUESTION) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    box = driver.find_element(By.ID, "problem")
    box.clear()
    box.send_keys(problem)
    box.send_keys(Keys.CONTROL, Keys.ENTER)
    done(driver)


def done(driver: Any) -> None:
    wait(driver, "return document.getElementById('status').textContent === 'Done.'")


def test_a_problem_is_asked_by_keyboard_and_both_answers_stream_in(page: Any, stub: StubUpstream) -> None:
    stub.delay = 0.01
    ask(page)
    for side in ("trained", "untuned"):
        scores = page.execute_script(
            f"return Array.from(document.querySelectorAll('#{side} .score')).map(s => Number(s.textContent))"
        )
        assert len(scores) == 4 and scores == sorted(scores, reverse=True)
    assert "\\boxed{7}" in text(page, "#with") and "\\boxed{7}" in text(page, "#without")
    assert text(page, "#with") != text(page, "#without")
    assert text(page, "#with-about").startswith(text(page, "#trained .card.chosen .id"))
    assert text(page, "#without-about").startswith("the bare problem")
    assert QUESTION in text(page, "#prompt") and "Example problem" in text(page, "#prompt")


def test_another_example_is_asked_with(page: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    ask(page)
    second = page.execute_script("return document.querySelectorAll('#trained .card')[2]")
    name = page.execute_script("return arguments[0].dataset.id", second)
    before = text(page, "#with")
    button = page.execute_script("return arguments[0].querySelector('button')", second)
    button.send_keys(Keys.ENTER)
    wait(page, f"return document.getElementById('with-about').textContent.indexOf('{name},') === 0")
    done(page)
    assert text(page, "#with") != before and text(page, "#trained .card.chosen .id") == name
    assert button.get_attribute("aria-pressed") == "true"


def test_an_example_is_taught_seen_and_taken_out(driver: Any, fresh: Running) -> None:
    from selenium.webdriver.common.by import By

    page = driver
    start(driver, fresh)
    page.execute_script("document.getElementById('shown').value = '20'")
    question = f"{QUESTION} thingsu thingsv thingsw thingsx thingsy thingsz"
    ask(page, question)
    page.find_element(By.ID, "new-problem").send_keys("thingpu thingqv abone <b>thingrw</b>")
    page.find_element(By.ID, "new-solution").send_keys("take abone\nthingrw")
    page.find_element(By.CSS_SELECTOR, "#teach button.main").click()
    wait(page, "return document.getElementById('teach-status').textContent.indexOf('now number') > 0")
    assert text(page, "#about").startswith("37 worked examples")
    cards = page.execute_script("return Array.from(document.querySelectorAll('#trained .card')).map(c => c.innerText)")
    assert any("<b>thingrw</b>" in card and "live-" in card for card in cards), "text, not HTML"
    page.find_element(By.ID, "undo").click()
    wait(page, "return document.getElementById('about').textContent.indexOf('36 ') === 0")
    driver.get("about:blank")


def test_an_error_is_told(page: Any, stub: StubUpstream) -> None:
    stub.fault = lambda n, body: "500"
    from selenium.webdriver.common.by import By

    page.find_element(By.ID, "problem").send_keys(QUESTION)
    page.find_element(By.CSS_SELECTOR, "#ask button.main").click()
    wait(page, "return document.getElementById('with-about').textContent.indexOf('status 500') > 0")
    assert page.find_element(By.ID, "with-about").get_attribute("class") == "faint bad"


def test_a_bundle_without_an_untuned_retriever_says_so(driver: Any, folder: Path, stub: StubUpstream) -> None:
    import shutil

    shutil.rmtree(folder / "untuned")
    about = json.loads((folder / "bundle.json").read_text())
    about["untuned"] = ""
    about["files"] = {name: d for name, d in about["files"].items() if not name.startswith("untuned/")}
    (folder / "bundle.json").write_text(json.dumps(about))
    with Running(folder, stub.url) as server:
        driver.get(f"{server.url}/")
        ask(driver)
        assert "rarft bundle --untuned" in text(driver, "#untuned")
        driver.get("about:blank")


def test_the_browser_asks_for_the_key_itself(driver: Any, folder: Path, stub: StubUpstream) -> None:
    with Running(folder, stub.url, key="s3cret") as server:
        driver.get(server.url.replace("http://", "http://me:s3cret@") + "/")
        driver.get(f"{server.url}/")
        ask(driver)
        assert "\\boxed{7}" in text(driver, "#with")
        driver.get("about:blank")


def test_colours_are_readable_in_light_and_dark(page: Any) -> None:
    ask(page)
    page.execute_script("document.getElementById('with-about').classList.add('bad')")
    pairs = [("body", "body"), (".faint", "body"), (".card p", ".card"), (".card .id", ".card"), ("label", ".panel"),
             (".card.chosen .id", ".card.chosen"), ("button.main", "button.main"), (".bad", ".panel")]  # fmt: skip
    for scheme in ("light", "dark"):
        page.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        for ink, ground in pairs:
            assert contrast(style(page, ink, "color"), style(page, ground, "backgroundColor")) >= 4.5, (scheme, ink)
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_phone_does_not_scroll_sideways_and_its_buttons_are_large(page: Any) -> None:
    wide(page, 360, mobile=True)
    ask(page, f"{QUESTION} {'x' * 300}")
    page.execute_script("document.querySelectorAll('details').forEach(d => { d.open = true })")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    heights = page.execute_script(
        "const all = Array.from(document.querySelectorAll('button:not([hidden])'));"
        "return all.map(button => button.getBoundingClientRect().height)"
    )
    assert min(heights) >= 38


def test_nothing_else_is_fetched_nothing_fails_and_nothing_foreign_would_run(page: Any, server: Running) -> None:
    page.get_log("performance")
    page.get_log("browser")
    page.refresh()
    ask(page)
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert urls and all(url.startswith((server.url, "data:")) for url in urls), urls
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []
    policy = server.client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    page.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )
    assert page.execute_script("return window.ran === undefined")
