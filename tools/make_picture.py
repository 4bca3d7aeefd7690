"""Makes docs/page.png, the picture in README.md: the page with an example film, in a real browser.

python -m tools.make_picture            needs Chromium and requirements-dev.txt
"""

from pathlib import Path

from tests.support.serving import running_browser, running_server


def main() -> None:
    """Start the app, open the example, take a screenshot."""
    with running_server() as server, running_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{server.address}/?example=pneumothorax")
        page.get_by_role("heading", name="Pneumothorax flagged").wait_for(timeout=60_000)
        page.locator(".stage[data-film]").wait_for()
        page.wait_for_timeout(1000)
        page.screenshot(path=Path("docs/page.png"))


if __name__ == "__main__":
    main()
