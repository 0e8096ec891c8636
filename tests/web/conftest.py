"""What the tests of the front ends have in common."""

from tests.web.server_fixtures import apart, url

__all__ = ["apart", "url"]
