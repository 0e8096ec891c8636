"""What the tests of the front ends have in common."""

from tests.web.page_fixtures import browser, gate, page, site
from tests.web.server_fixtures import apart, url

__all__ = ["apart", "browser", "gate", "page", "site", "url"]
