"""PyPI's httpbin, as it is."""

import httpbin

app = httpbin.app
