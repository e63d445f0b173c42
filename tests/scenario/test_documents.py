"""Text to documents: what YAML and JSON may hold, where errors stand, and that nothing else can happen."""

from __future__ import annotations

import contextlib
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nodeportsim.errors import InputError
from nodeportsim.scenario import documents as module
from nodeportsim.scenario.documents import Source, documents, locate

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


def read(text: str, file: str = "f.yaml") -> list[object]:
    return documents(Source(file=file, text=text))


def message(text: str, file: str = "f.yaml") -> str:
    with pytest.raises(InputError) as caught:
        read(text, file)
    return str(caught.value)


def test_scalars_are_read_as_kubernetes_reads_them() -> None:
    text = (
        "[0644, 0x1F, 1_000, -5, 1e3, .5, true, ~, null, 2026-11-22, 1.2.3, 'no', \"1:30\", a:b, 5ms, 30080]"
    )
    assert read(text) == [
        [
            420,
            31,
            1000,
            -5,
            1000.0,
            0.5,
            True,
            None,
            None,
            "2026-11-22",
            "1.2.3",
            "no",
            "1:30",
            "a:b",
            "5ms",
            30080,
        ]
    ]


def test_empty_documents_are_left_out() -> None:
    assert read("---\n---\na: 1\n---\n# nothing\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("", "f.yaml:1:1: is empty"),
        ("null", "f.yaml:1:1: is empty"),
        ("a: no", "f.yaml:1:4: no is a boolean in YAML 1.1"),
        ("a:\n  - Off", "f.yaml:2:5: Off is a boolean in YAML 1.1"),
        ("a: 1:30", "f.yaml:1:4: 1:30 is a number to the base of 60"),
        ("a: .inf", "f.yaml:1:4: .inf is not a finite number"),
        ("a: -.INF", "f.yaml:1:4: -.INF is not a finite number"),
        ("a: .nan", "f.yaml:1:4: .nan is not a finite number"),
        ("a: 1e999", "f.yaml:1:4: 1e999 is too large for a number"),
        ("a: " + "9" * 5000, "f.yaml:1:4: is too long for a number"),
        ("a: 1\nb: 2\na: 3", "f.yaml:3:1: key 'a' stands twice"),
        ("a: &x 1", "f.yaml:1:4: anchors and aliases (&, *) are not read"),
        ("a: [b\nc: *x", "f.yaml:2:2: is not YAML: did not find expected ',' or ']'"),
        ("c: *x", "f.yaml:1:4: anchors and aliases (&, *) are not read"),
        ("a: !!python/object:os.system x", "f.yaml:1:4: tags (!) are not read"),
        ("? [a]\n: b", "f.yaml:1:3: a key must be text"),
        ("a: b: c", "f.yaml:1:5: is not YAML: mapping values are not allowed"),
        ("a: \x01", "f.yaml:1:4: holds a control character"),
        ("? " + "k" * 1025 + "\n: 1", "f.yaml:1:3: holds a key longer than 1024 characters"),
        ('{"' + "k" * 1025 + '": 1}', "f.yaml:1:1: holds a key longer than 1024 characters"),
        ("[" * 101 + "]" * 101, "f.yaml:1:1: is nested deeper than 100 levels"),
        ('{"a": 1, "a": 2}', "f.yaml:1:10: key 'a' stands twice"),
        ('{"a": NaN}', "f.yaml:1:7: NaN is not a finite number"),
        ('{"a": -Infinity}', "f.yaml:1:7: -Infinity is not a finite number"),
        ('{"a": 1e999}', "f.yaml:1:7: 1e999 is too large for a number"),
        ('{"a":\n"\\ud800"}', "f.yaml:2:2: holds half a surrogate pair"),
    ],
)
def test_what_is_not_read_is_refused_at_its_place(text: str, start: str) -> None:
    assert message(text).startswith(start)


def test_an_error_shows_its_line_and_what_to_write() -> None:
    assert message("cluster:\n  name: on\n") == (
        "f.yaml:2:9: on is a boolean in YAML 1.1 and text in YAML 1.2\n"
        "    name: on\n"
        "          ^\n"
        '  write true or false, or "on" in quotes if the text is meant'
    )


def test_json_that_calls_itself_json_is_told_as_json() -> None:
    assert message('{"a": [1, 2}', "dump.json").startswith(
        "dump.json:1:12: is not JSON: Expecting ',' delimiter"
    )


def test_yaml_flow_style_is_no_json_and_fine() -> None:
    assert read("{a: 1, b: [x, 2]}") == [{"a": 1, "b": ["x", 2]}]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, "- " * 100_000, "a:\n" + " " * 100_000 + "{"]
)
def test_deep_nesting_ends_in_an_input_error(text: str) -> None:
    message(text)
    message(text, "x.json")


def test_yaml_beyond_the_limit_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: 1\n" * (50 * 2**20 // 5)
    start = time.process_time()
    assert message(text).startswith("f.yaml:1:1: is too large to read as YAML: 50 MiB, at most 16")
    assert time.process_time() - start < 2.0
    monkeypatch.setattr(module, "MOST_VALUES", 10)
    # The list is the first value, so its tenth item is one too many.
    assert message("[a, 2, 3, 4, 5, 6, 7, 8, 9, 10]").startswith("f.yaml:1:29: holds more than 10 values")


@pytest.mark.parametrize("piece", ["5", "1_", ":1", "a", "-", "5.", "e5", "x"])
def test_a_long_scalar_is_read_in_linear_time(piece: str) -> None:
    start = time.process_time()
    assert read(f"a: 7{piece * 1_000_000}/s") == [{"a": f"7{piece * 1_000_000}/s"}]
    assert time.process_time() - start < 2.0


def test_a_place_is_found_by_path() -> None:
    source = Source(file="f.yaml", text="a: 1\n---\n---\nb:\n  - c: 5\n    d: {e: f}\n")
    place = locate(source, 1, ("b", 0, "d", "e"))
    assert place is not None
    assert (str(place), place.text) == ("f.yaml:6:12", "    d: {e: f}")
    assert str(locate(source, 1, ("b", 0, "d", "e"), key=True)) == "f.yaml:6:9"
    assert (
        str(locate(source, 1, ("b", 0, "missing"), key=True)) == "f.yaml:5:5"
    )  # the deepest value on the way
    assert str(locate(source, 1, ("b", 7), key=True)) == "f.yaml:5:3"
    assert str(locate(source, 0, ())) == "f.yaml:1:1"


@given(PLAIN)
def test_json_is_read_as_the_standard_library_reads_it(value: object) -> None:
    text = json.dumps([value, 1])
    assert documents(Source(file="x", text=text)) == [[value, 1]]


@given(PLAIN.filter(lambda value: isinstance(value, dict | list)), st.data())
def test_every_value_of_a_json_text_is_found(value: object, data: st.DataObject) -> None:
    text = json.dumps({"top": value}, indent=1)
    path: tuple[str | int, ...] = ("top",)
    while isinstance(value, dict | list) and value:
        key = data.draw(st.sampled_from(sorted(value) if isinstance(value, dict) else range(len(value))))
        path, value = (*path, key), value[key]
    place = locate(Source(file="x", text=text), 0, path)
    if place is not None:  # libyaml refuses a few escapes that JSON has.
        rest = "\n".join(text.split("\n")[place.line - 1 :])[place.column - 1 :]
        assert json.JSONDecoder().raw_decode(rest)[0] == value


@settings(max_examples=1000)
@given(st.text(max_size=60) | st.text(alphabet="[]{}:,-?&*!|>'\"%#@` \n\tab0.ey_~", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for name in ("x.yaml", "x.json"):
        with contextlib.suppress(InputError):
            assert documents(Source(file=name, text=text))


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_a_hundred_levels_are_read_and_no_more(brackets: str) -> None:
    opening = brackets[0] if brackets == "[]" else '{"a":'
    for name in ("x.yaml", "x.json"):
        read(opening * 99 + brackets + brackets[1] * 99, name)
        assert "deeper than 100" in message(opening * 100 + brackets + brackets[1] * 100, name)


@given(st.lists(st.sampled_from(["#", "##", "\n", "\r\n", "\r", "\x85", "\u2028"])))
def test_a_line_is_what_yaml_calls_a_line(pieces: list[str]) -> None:
    text = "# " + "".join(pieces) + "\n*x" + "\n# more" * len(pieces)
    with pytest.raises(InputError) as caught:
        documents(Source(file="x", text=text))
    place = caught.value.location
    assert place is not None
    assert place.text == "*x"
