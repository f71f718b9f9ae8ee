"""The page of a report in a real Chromium: ``make test-browser`` installs it and runs this."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver.remote.webelement import WebElement

pytestmark = pytest.mark.browser

WIDE, NARROW = (1280, 900), (390, 844)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sweep of 18 real cells."""
    root = tmp_path_factory.mktemp("sweep")
    command = ["-m", "sweep=report_table", "preset=smoke", "trainer.iterations=2", "arch.width=4"]
    subprocess.run([sys.executable, "-m", "dip_stages", *command], cwd=root, check=True, capture_output=True)
    return root / "outputs" / "report_table" / "report" / "index.html"


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    assert binary, "make test-browser installs chromium"
    assert driver, "make test-browser installs chromium-driver"
    options = Options()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver))
    yield browser
    browser.quit()


@pytest.fixture
def browser(chromium: webdriver.Chrome, page: Path) -> webdriver.Chrome:
    """The page, freshly opened and ready."""
    chromium.set_window_size(*WIDE)
    chromium.get("about:blank")
    chromium.get(page.as_uri())
    WebDriverWait(chromium, 30).until(lambda b: b.execute_script("return document.body.dataset.ready"))
    return chromium


def rows(browser: webdriver.Chrome) -> list[list[str]]:
    found = browser.find_elements(By.CSS_SELECTOR, "#cells tbody tr")
    return [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in found]


def heads(browser: webdriver.Chrome) -> dict[str, tuple[int, WebElement]]:
    found = browser.find_elements(By.CSS_SELECTOR, "#cells thead tr:first-child th")
    return {head.text: (number, head) for number, head in enumerate(found)}


def column(browser: webdriver.Chrome, name: str) -> list[str]:
    number, _ = heads(browser)[name]
    return [row[number] for row in rows(browser)]


def click(browser: webdriver.Chrome, element: WebElement) -> None:
    browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
    element.click()


def test_it_opens_from_disk_without_an_error_or_a_request(browser: webdriver.Chrome) -> None:
    assert len(rows(browser)) == 18
    assert not browser.get_log("browser")
    asked = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in asked if m["method"] == "Network.requestWillBeSent"]
    assert urls
    assert {url.partition(":")[0] for url in urls} <= {"file", "data", "blob", "about"}


def test_a_head_sorts_by_numbers(browser: webdriver.Chrome) -> None:
    _, head = heads(browser)["PSNR"]
    click(browser, head)
    rising = [float(value) for value in column(browser, "PSNR")]
    assert rising == sorted(rising)
    click(browser, head)
    falling = [float(value) for value in column(browser, "PSNR")]
    assert falling == sorted(rising, reverse=True)
    assert rising[0] < rising[-1]


def test_the_fields_below_the_heads_filter(browser: webdriver.Chrome) -> None:
    number, _ = heads(browser)["protocol"]
    fields = browser.find_elements(By.CSS_SELECTOR, "#cells thead input")
    fields[number].send_keys("clean")
    assert set(column(browser, "protocol")) == {"clean"}
    assert len(rows(browser)) == 8
    fields[heads(browser)["beta_max"][0]].send_keys("0.02")
    assert len(rows(browser)) == 4


def test_a_cell_opens_by_the_keyboard_with_images_curve_and_configuration(browser: webdriver.Chrome) -> None:
    link = next(a for a in browser.find_elements(By.CSS_SELECTOR, "#cells tbody a") if "staged-clean" in a.text)
    name = link.get_attribute("title")
    link.send_keys(Keys.ENTER)
    dialog = browser.find_element(By.ID, "cell")
    WebDriverWait(browser, 10).until(lambda _: dialog.is_displayed())
    assert browser.find_element(By.ID, "cell-name").text == name
    assert browser.find_element(By.ID, "cell-warning").is_displayed()
    images = dialog.find_elements(By.TAG_NAME, "img")
    WebDriverWait(browser, 10).until(lambda _: all(image.get_property("naturalWidth") for image in images))
    browser.find_element(By.CSS_SELECTOR, "#cell summary").click()
    assert json.loads(browser.find_element(By.ID, "config").text)["protocol"]["name"] == "clean"
    dialog.send_keys(Keys.ESCAPE)
    WebDriverWait(browser, 10).until(lambda _: not dialog.is_displayed())
    assert not browser.get_log("browser")


def test_the_slider_moves_the_edge_between_two_images(browser: webdriver.Chrome) -> None:
    click(browser, browser.find_element(By.CSS_SELECTOR, "#cells tbody a"))
    slider = browser.find_element(By.ID, "slider")
    left = browser.find_element(By.CSS_SELECTOR, ".compare .left")
    before = left.value_of_css_property("clip-path")
    slider.send_keys(*[Keys.ARROW_RIGHT] * 20)
    assert left.value_of_css_property("clip-path") != before
    assert "30%" in left.value_of_css_property("clip-path")
    source = left.get_attribute("src")
    browser.find_element(By.CSS_SELECTOR, "#left option[value=clean]").click()
    assert left.get_attribute("src") != source


@pytest.mark.parametrize("size", [WIDE, NARROW])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_screen_and_a_phone_in_light_and_dark(
    browser: webdriver.Chrome, tmp_path: Path, size: tuple[int, int], scheme: str
) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": size[0], "height": size[1],
                            "deviceScaleFactor": 1, "mobile": size == NARROW})  # fmt: skip
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        assert browser.execute_script("return document.documentElement.scrollWidth") <= size[0]
        shade = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (shade == "rgb(255, 255, 255)") == (scheme == "light")
        browser.save_screenshot(str(tmp_path / "page.png"))
        click(browser, browser.find_element(By.CSS_SELECTOR, "#cells tbody a"))
        box = browser.find_element(By.ID, "cell").rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= size[0]
        browser.save_screenshot(str(tmp_path / "cell.png"))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
