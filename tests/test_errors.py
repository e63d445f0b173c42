"""What an error prints is short and harmless, whatever the user's file holds."""

from __future__ import annotations

import pytest

from nodeportsim.errors import InputError, Location, RefusedError

LONG = "x" * 10_000_000


@pytest.mark.parametrize("part", ["rule", "field", "got", "hint", "text"])
def test_a_name_as_long_as_a_file_does_not_fill_the_terminal(part: str) -> None:
    given = {"rule": "must be short", "field": "name", "got": "y", "hint": "shorten it"} | {part: LONG}
    place = Location(file="a.yaml", line=1, column=9_000_000, text=given.pop("text", "name: y"))
    assert 10 < len(str(InputError(given.pop("rule"), location=place, **given))) < 3000


@pytest.mark.parametrize("part", ["rule", "field", "hint"])
def test_no_text_of_a_user_reaches_the_terminal_as_a_control_sequence(part: str) -> None:
    given = {"rule": "must be plain", "field": "name", "hint": "write it out"} | {part: "a\x1b[2Jb"}
    assert "\x1b" not in str(InputError(given.pop("rule"), **given))


def test_a_refusal_keeps_the_words_of_the_api_server() -> None:
    message = 'Service "a" is invalid: spec.ports: Required value'
    assert str(RefusedError(message)) == f"{message}\n  The API server refuses this object."
    assert RefusedError(LONG).message == LONG
