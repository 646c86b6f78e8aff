"""The front end's page and files."""

from html import escape

import pytest

pytest.importorskip("app.frontend")


@pytest.fixture
def built(release):
    """Put a build into the release."""
    assets = release / "frontend" / "dist" / "assets"
    assets.mkdir(parents=True)
    page = '<!doctype html>\n<html>\n<head>\n<script src="./assets/a-12345678.js"></script>'
    (assets.parent / "index.html").write_text(page)
    (assets / "a-12345678.js").write_text("1;\n")


@pytest.mark.parametrize("path", ["/app/", "/app/jobs/1", "/app/a/b/c"])
@pytest.mark.parametrize("mount", ["", "/my/path", '/a"b'])
def test_page(make_app, built, path, mount):
    """Every address below has the page, which names its place and is not cached."""
    page = make_app().test_client().get(path, base_url=f"http://localhost{mount}/")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    assert f'<head><base href="{escape(mount)}/app/">' in page.text
    assert page.headers["Cache-Control"] == "no-cache"


def test_asset(make_app, built):
    """A file with a hash in its name may be kept for a year."""
    with make_app().test_client().get("/app/assets/a-12345678.js") as file:
        assert file.status_code == 200
        assert file.mimetype == "text/javascript"
        assert file.cache_control.max_age == 31536000
        assert file.cache_control.immutable


@pytest.mark.parametrize("path", ["none.js", "../index.html", "..%2f..%2f..%2fapp%2f__init__.py"])
def test_no_other_file(make_app, built, path):
    """Nothing beside the assets is served."""
    page = make_app().test_client().get(f"/app/assets/{path}")
    assert page.status_code == 404


def test_not_built(make_app):
    """Without a build the page says so."""
    page = make_app().test_client().get("/app/")
    assert page.status_code == 503
    assert "npm" in page.text
