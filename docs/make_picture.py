"""Makes docs/page.png, the README's picture: the page with the simulated example, in a real browser.

python docs/make_picture.py            needs Chromium and the packages of requirements-dev.txt
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Start the app, open the example, take the picture."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless=true", f"--server.port={port}"]
    server = subprocess.Popen(command, cwd=HERE.parent)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(100):
            try:
                urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
        with sync_playwright() as driver:
            path = os.environ.get("PTX_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
            browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.goto(f"{address}/?example=simulated")
            page.get_by_role("heading", name="Pneumothorax flagged").wait_for(timeout=60_000)
            page.wait_for_timeout(2000)
            page.screenshot(path=HERE / "page.png")
            browser.close()
    finally:
        server.terminate()


if __name__ == "__main__":
    main()
