"""From a bare host, with the home of an account that an admin made and its owner prepared; then as it should be."""

from conftest import run


def test_the_honest_apps_are_released_and_one_message_names_mallorys(mallory, alice, bob):
    mallory.kit("bare")
    versions = alice.edit(), bob.edit()
    found = run("deploy")
    assert found.code != 0
    assert (alice.ask().text, bob.ask().text) == versions, found.text
    [message] = mallory.messages(found)
    assert "/home/mallory/apps" in message


def test_all_are_released_when_nothing_is_in_the_way_any_more(mallory):
    mallory.kit("take-away")
    opened = run("provision")  # As the message said: the front has to get into his new folders.
    assert opened.code == 0, opened.text
    found = run("deploy")
    assert found.code == 0, found.text
    mallory.host.check_output("test -e /home/mallory/apps/mallory/slots/live/release.json")
