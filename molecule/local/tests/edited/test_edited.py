"""After an edit and a deploy."""

from asking import ask


def test_new_message_is_shown(host):
    assert "<h1>Good evening</h1>" in ask(host, port=18101).text


def test_other_app_serves(host):
    assert ask(host, "/your/path/", port=18102).status == 200
