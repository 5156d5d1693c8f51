#!/usr/bin/env python3
"""scripts/run asgi in a browser: the documentation page calls an endpoint, two people chat, and the metrics page counts.

    python3 t/browser/asgi.py [FOLDER]      screenshots go there

Headless Chromium, driven by Selenium: Debian's chromium, chromium-driver and python3-selenium.
"""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support import expected_conditions as expected
from selenium.webdriver.support.ui import WebDriverWait

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 60
START = 900  # everything may have to be built first


def free_port():
    """One whose companion for TLS, 363 above it, is free too."""
    while True:
        with socket.socket() as plain, socket.socket() as tls:
            plain.bind(("127.0.0.1", 0))
            port = plain.getsockname()[1]
            try:
                tls.bind(("127.0.0.1", port + 363))
            except (OSError, OverflowError):
                continue
            return port


class Server:
    """scripts/run asgi, until its end."""

    def __enter__(self):
        self.port = free_port()
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [ROOT / "scripts/run", "asgi", "--port", str(self.port)], stdout=self.log, stderr=self.log, start_new_session=True
        )
        until = time.monotonic() + START
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                self.__exit__()
                sys.exit(f"scripts/run asgi did not start:\n{self.said()}")
            time.sleep(0.5)
        return self

    def answers(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/about", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def said(self):
        self.log.seek(0)
        return self.log.read()[-4000:]

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(30)


class Browser:
    """A window of its own for each who looks."""

    def __enter__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--ignore-certificate-errors",
                         "--window-size=1100,1400"):
            options.add_argument(argument)
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.driver.set_page_load_timeout(PATIENCE)
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def find(self, css):
        return WebDriverWait(self.driver, PATIENCE).until(expected.visibility_of_element_located((By.CSS_SELECTOR, css)))

    def click(self, css):
        WebDriverWait(self.driver, PATIENCE).until(expected.element_to_be_clickable((By.CSS_SELECTOR, css))).click()

    def wait_for_text(self, css, text):
        WebDriverWait(self.driver, PATIENCE).until(expected.text_to_be_present_in_element((By.CSS_SELECTOR, css), text))

    def protocol(self):
        """Of the page's own request, as the browser knows it: http/1.1 or h2."""
        return self.driver.execute_script("return performance.getEntriesByType('navigation')[0].nextHopProtocol")

    def strangers(self):
        """What the page fetched from anywhere else."""
        fetched = self.driver.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
        return [url for url in fetched if "//127.0.0.1:" not in url]


def documentation(browser, url, folder, name):
    """Opens an endpoint on the page, tries it, and reads the answer there."""
    browser.driver.get(f"{url}/docs")
    browser.click("#operations-default-about_api_about_get .opblock-summary-control")
    browser.click("#operations-default-about_api_about_get .try-out__btn")
    browser.click("#operations-default-about_api_about_get .execute")
    browser.wait_for_text("#operations-default-about_api_about_get .live-responses-table tbody .response-col_status", "200")
    browser.wait_for_text("#operations-default-about_api_about_get .live-responses-table", '"http_version"')
    browser.driver.save_screenshot(str(folder / f"{name}.png"))
    assert browser.strangers() == [], f"fetched from outside: {browser.strangers()}"


def chat(browser, url, folder):
    """Ann in one window, Bob in another."""
    driver = browser.driver
    windows = {}
    for name in ("Ann", "Bob"):
        driver.switch_to.new_window("window")
        windows[name] = driver.current_window_handle
        driver.get(f"{url}/")
        browser.find("#name").send_keys(name)
        browser.find("#text").send_keys(f"I am {name}")
        browser.click("button")
        browser.wait_for_text("#state", "Connected")
        browser.wait_for_text("#messages", f"I am {name}")
    driver.switch_to.window(windows["Ann"])
    browser.wait_for_text("#messages", "Bob: I am Bob")
    browser.find("#text").send_keys("hello <b>Bob</b> & welcome")
    browser.click("button")
    driver.switch_to.window(windows["Bob"])
    browser.wait_for_text("#messages", "Ann: hello <b>Bob</b> & welcome")
    driver.save_screenshot(str(folder / "chat.png"))


def metrics(browser, url, folder):
    """What the application has done so far, and goes on to do while somebody looks."""
    browser.driver.get(f"{url}/metrics")
    browser.wait_for_text("h2", "app")
    browser.wait_for_text("#head", "workers: ")
    shown = "return document.querySelector('dd').textContent"
    before = int(browser.driver.execute_script(shown))
    assert before >= 4, f"so many calls: {before}"
    for _ in range(10):
        urllib.request.urlopen(f"{url}/api/about", timeout=5).close()
    WebDriverWait(browser.driver, PATIENCE).until(lambda driver: int(driver.execute_script(shown)) >= before + 10)
    WebDriverWait(browser.driver, PATIENCE).until(lambda driver: len(driver.find_elements(By.TAG_NAME, "polyline")) == 5)
    browser.driver.save_screenshot(str(folder / "metrics.png"))
    assert browser.strangers() == [], f"fetched from outside: {browser.strangers()}"


def main():
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="nffi-browser-"))
    folder.mkdir(parents=True, exist_ok=True)
    with Server() as server, Browser() as browser:
        plain, tls = f"http://127.0.0.1:{server.port}", f"https://127.0.0.1:{server.port + 363}"
        for url, name, protocol in ((plain, "docs", "http/1.1"), (tls, "docs-http2", "h2")):
            documentation(browser, url, folder, name)
            assert browser.protocol() == protocol, browser.protocol()
            print(f"ok: the documentation page called an endpoint over {protocol}", flush=True)
        chat(browser, plain, folder)
        print("ok: two windows chatted over a WebSocket", flush=True)
        metrics(browser, plain, folder)
        print("ok: the metrics page shows calls as they come", flush=True)
    print(f"pictures: {folder}")


if __name__ == "__main__":
    main()
