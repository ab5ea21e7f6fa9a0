"""The interactive pictures are as tests/data/interactive.json says: a regression test.

As the stored outputs of a notebook do, the file says what was there before, not what is right:
that is in test_interactive.py. Here a colour, a limit, a text or a slider's end that changes
unseen is seen. `python tests/store_interactive.py` writes the file again.
"""

from __future__ import annotations

import pytest
from described import differences, read
from store_interactive import SETTINGS, STORED, rows

from helpers.interactive.__main__ import PICTURES

AGAIN = "after a change on purpose: python tests/store_interactive.py"


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_as_it_is_stored(name):
    assert differences(read(STORED).get(name), rows(name), name) == [], AGAIN


def test_what_is_stored_are_the_pictures_there_are():
    assert list(read(STORED)) == list(PICTURES), AGAIN
    assert set(SETTINGS) == set(PICTURES)
