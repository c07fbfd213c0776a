"""Open the page in a browser."""

from contextlib import contextmanager


@contextmanager
def seen(browser, web, **options):
    """Open the page; assert that it logged no error and requested nothing from other sites."""
    page = browser.new_page(**options)
    errors, requests = [], []
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(web.url)
    try:
        yield page
        assert errors == []
        assert {url for url in requests if not url.startswith(web.url)} == set()
    finally:
        page.close()
