"""Which app answers where."""

# App: account, and each domain and path that it answers at.
PLACES = {
    "one": ("pair", [("one.example", "/")]),
    "one_blog": ("pair", [("one.example", "/blog/")]),
    "one_api": ("one_api", [("one.example", "/api/"), ("api.example", "/api/")]),
    "two": ("two", [("two.example", "/"), ("www.two.example", "/")]),
    "two_shop": ("two", [("two.example", "/shop/")]),
    "deep": ("deep", [("deep.example", "/deep/path/")]),
    "every": ("every", [("one.example", "/every/"), ("goes.example", "/every/"), ("unknown.example", "/every/")]),
    "rest": ("rest", [("unknown.example", "/"), ("api.example", "/"), ("deep.example", "/"), ("127.0.0.1", "/")]),
    "drops": ("drops", [("keeps.example", "/"), ("dropped.example", "/")]),
    "goes": ("pair", [("goes.example", "/")]),
}
GONE = {"goes.example", "dropped.example"}


def places() -> list[tuple[str, str, str]]:
    """Return app, domain and path of each place."""
    return [(app, domain, path) for app, (_, found) in PLACES.items() for domain, path in found]
