"""Makes docs/page.png, the README's picture: the page with the simulated example, in a real browser.

python docs/make_picture.py            needs Chromium and the packages of requirements-dev.txt
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

from serving import running_browser, running_server  # noqa: E402


def main() -> None:
    """Start the app, open the example, take the picture."""
    with running_server() as server, running_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{server.address}/?example=simulated")
        page.get_by_role("heading", name="Pneumothorax flagged").wait_for(timeout=60_000)
        page.locator("img.layer").last.wait_for()
        page.wait_for_timeout(1000)
        page.screenshot(path=HERE / "page.png")


if __name__ == "__main__":
    main()
