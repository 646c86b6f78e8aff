"""Each kind of thing under each name that is read: a share of all pairs, tried where mallory is at home."""

import json

# Each verb for each pair takes a tenth of a second. All of them: python3 -I /opt/kit/sweep.py 0 1, as mallory.
SHARE = 40


def test_whatever_lies_in_the_way_is_removed_or_refused_in_one_line(mallory):
    found = [json.loads(line) for line in mallory.kit("sweep", "7", str(SHARE)).splitlines()]
    tried = found.pop()
    assert found == []
    assert tried["names"] > 60
    assert tried["kinds"] > 20
    assert tried["tried"] > tried["names"] * tried["kinds"] / SHARE * 7
