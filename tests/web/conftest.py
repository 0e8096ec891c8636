"""What the tests of the front ends have in common."""

from tests.web.page_fixtures import browser, gate, page, site

__all__ = ["browser", "gate", "page", "site"]
