import datetime
import io

import pytest
import yaml as pyyaml
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from framework.core.yaml import dump

NUMBERS = [
    "1",
    "-1",
    "1.",
    ".5",
    "1e3",
    "1234e12",
    "5e-05",
    "0o17",
    "017",
    "0x1F",
    "0b11",
    "1_000",
    "12:30:45",
]
WORDS = ["y", "n", "Yes", "NO", "on", "Off", "true", "FALSE", "null", "Null", "~", "=", "<<", "nan", "inf"]
OTHERS = [
    ".inf",
    "-.INF",
    ".NaN",
    "2026-01-01",
    "2026-01-01T00:00:00Z",
    "8Gi",
    "500m",
    "-x",
    ":x",
    "x:",
    "a#b",
]
MARKS = [*"-?:#!&*|>%@`{}[],", "'", '"', "---", "..."]
AMBIGUOUS = [*NUMBERS, *WORDS, *OTHERS, *MARKS]
READERS = {
    "YAML 1.1": pyyaml.safe_load,
    "YAML 1.2": lambda text: YAML(typ="safe", pure=True).load(io.StringIO(text)),
}
TEXT = st.one_of(
    st.sampled_from(AMBIGUOUS),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text("ynYN01eE+-._:oxb \n\t#'\"|>~=<&*!%@`{}[],?"),
    st.lists(st.text("ab: #-\t'\""), min_size=2).map("\n".join),
)
VALUE = st.recursive(
    TEXT | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(params=READERS)
def read(request):
    return READERS[request.param]


@pytest.mark.parametrize(
    "word", [*AMBIGUOUS, "", " ", " x", "x ", "a: b", "a #b", "a\nb", "\n", " \nx", "\x85"]
)
def test_string_stays_a_string_as_value_item_and_key(read, word):
    value = {"key": word, "list": [word], word: 1}
    assert read(dump(value)) == value


@pytest.mark.parametrize("version", READERS)
@given(value=VALUE)
def test_dumped_yaml_loads_back_equal(version, value):
    back = READERS[version](dump({"value": value}))["value"]
    assert back == value
    assert _kinds(back) == _kinds(value)


@given(text=TEXT)
def test_text_without_a_leading_letter_is_quoted(text):
    line = dump([text])[2:]
    if not text[:1].isalpha() and not text.startswith("/"):
        assert line[0] in "\"'|"


def test_multi_line_text_is_a_literal_block():
    assert dump({"file": "one: 1\ntwo: 2\n"}) == "file: |\n  one: 1\n  two: 2\n"


def test_long_lines_are_not_folded():
    assert dump([" ".join(["word"] * 100)]).count("\n") == 1


def test_keys_are_sorted_and_aliases_expanded():
    shared = {"app": "x"}
    assert dump({"b": shared, "a": shared}) == "a:\n  app: x\nb:\n  app: x\n"


@pytest.mark.parametrize("value", [{1, 2}, b"x", object(), datetime.date(2026, 1, 1)])
def test_ambiguous_values_are_refused(value):
    with pytest.raises(pyyaml.representer.RepresenterError):
        dump({"value": value})


def _kinds(value):
    if isinstance(value, dict):
        return {key: _kinds(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_kinds(item) for item in value]
    return type(value).__name__
