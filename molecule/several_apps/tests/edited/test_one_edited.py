"""After one app's source was edited and all were deployed again."""

import json

import pytest
from asking import ask, pids, remembered, until


def servers(app):
    """Return what finds an app's server processes."""
    return rf"^\w+ .*/apps/{app}/venvs/.*/uwsgi "


def test_edited_app_shows_it(host):
    told = json.loads(ask(host, "/your/path/", name="one.example").text)
    assert (told["app"], told["version"]) == ("path", 2)


def test_edited_apps_processes_are_new(host):
    until(lambda: len(pids(host, servers("path"))) == 2)
    assert not set(remembered(host, servers("path"))) & set(pids(host, servers("path")))


@pytest.mark.parametrize("app", ["front", "deeper", "per", "other", "every"])
def test_others_were_left_alone(host, app):
    assert len(remembered(host, servers(app))) == 2
    assert pids(host, servers(app)) == remembered(host, servers(app))


def test_front_and_supervisords_were_left_alone(host):
    for pattern in ("nginx: ", "bin/supervisord "):
        assert remembered(host, pattern)
        assert pids(host, pattern) == remembered(host, pattern)
