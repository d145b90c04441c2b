"""Planted violations of each rule of a column."""

import json
import random

import pytest

from framework.build.clean.column_rules import ColumnRules, matches
from framework.build.clean.schema import Schema


def labeled(text: str, label: str) -> dict:
    return {"text": text, "label": label}


def chat(prompt: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def schema(**checks: dict) -> Schema:
    rules = {name.replace("__", "."): ColumnRules(**each) for name, each in checks.items()}
    return Schema(checks=rules, max_removed=0.9)


BROKEN = {
    "text.pattern": ("order 12-ab", "4"),
    "text.max_length": ("order " + "9" * 30, "4"),
    "label.allowed": ("order 1999", "6"),
    "text.unique": ("order 7", "5"),
}


def test_every_planted_violation_is_named_and_no_other_row_goes(clean) -> None:
    source = random.Random(3)
    rows = [labeled(f"order {number}", str(number % 5 + 1)) for number in range(400)]
    planted = {}
    for place in sorted(source.sample(range(100, 400), 80)):
        rule = source.choice([*BROKEN])
        planted[place + 1] = rule
        rows[place] = labeled(*BROKEN[rule])
    option = schema(
        text={"required": True, "pattern": r"order \d+", "max_length": 20, "unique": True},
        label={"type": "integer", "allowed": (1, 2, 3, 4, 5)},
    )
    cleaned = clean(option, rows)
    assert cleaned.rules == planted  # recall and precision 1.0 for each rule
    assert {*cleaned.summary["train"]["removed_by"]} == {*BROKEN}
    reasons = {entry["rule"]: entry["reason"] for entry in cleaned.removed}
    assert reasons["text.unique"] == "text has the same value as train.jsonl:8"
    assert reasons["label.allowed"] == "label is '6'; allowed are '1', '2', '3', '4', '5'"


@pytest.mark.parametrize(
    ("rules", "fine", "wrong", "broken"),
    [
        ({"required": True}, 1, None, "required"),
        ({"required": True}, "a", " ", "required"),
        ({"type": "integer"}, 3, 3.5, "type"),
        ({"type": "integer"}, 3, "3", "type"),
        ({"type": "integer"}, 3, True, "type"),
        ({"type": "boolean"}, False, "false", "type"),
        ({"type": "list"}, ["a"], "a", "type"),
        ({"type": "object"}, {"a": 1}, ["a"], "type"),
        ({"minimum": 0, "maximum": 9}, 0, -0.5, "minimum"),
        ({"minimum": 0, "maximum": 9}, 9.0, 10, "maximum"),
        ({"maximum": 9}, None, "many", "type"),
        ({"min_length": 2}, ["a", "b"], ["a"], "min_length"),
        ({"allowed": ("a", 2, True)}, ["a", 2, True], ["a", 3], "allowed"),
        ({"pattern": "[a-z]+"}, ["ab", "c"], ["ab", "C"], "pattern"),
    ],
)
def test_values_of_an_answer_in_json(clean, rules, fine, wrong, broken) -> None:
    rows = [
        chat(str(number), json.dumps({"of": {"key": value}})) for number, value in enumerate((fine, wrong))
    ]
    cleaned = clean(schema(answer__of__key=rules), rows)
    assert cleaned.rules == {2: f"answer.of.key.{broken}"}


def test_answer_that_is_no_json_object_is_named(clean) -> None:
    rows = [chat("a", '{"n": 1}'), chat("b", "[1]"), chat("c", '{"n": 1'), chat("d", "[" * 100_000)]
    cleaned = clean(schema(answer__n={"minimum": 0}), [*rows, *[rows[0]] * 3])
    assert cleaned.rules == dict.fromkeys((2, 3, 4), "answer.n.type")


def test_all_broken_rules_of_a_row_are_in_its_reason(clean) -> None:
    rows = [labeled("fine", "1"), labeled("much too long", "x")]
    cleaned = clean(schema(text={"max_length": 5}, label={"type": "number"}, prompt={"min_length": 1}), rows)
    (entry,) = cleaned.removed
    assert entry["rule"] == "text.max_length"
    assert entry["reason"] == "text has 13 characters, more than 5; label is 'x', not number"


def test_columns_of_a_conversation(clean) -> None:
    turns = [{"role": "system", "content": "Be brief."}, *chat("Hi?", "Hi.")["messages"]]
    tool = {"type": "function", "function": {"name": "book", "parameters": {}}}
    row = {"messages": turns, "tools": [tool], "rejected": "No."}
    fine = {
        "system": {"allowed": ("Be brief.",)},
        "prompt": {"allowed": ("Hi?",)},
        "answer": {"allowed": ("Hi.",)},
        "turns": {"minimum": 3, "maximum": 3},
        "tools": {"allowed": ("book",)},
        "rejected": {"required": True},
    }
    assert clean(schema(**fine), [row, chat("Hi?", "Hi.")]).rules == {2: "turns.minimum"}


def test_pattern_takes_linear_time_on_text_that_makes_others_explode() -> None:
    assert matches("(a+)+", ["a" * 1_000_000 + "b", "aaa"]) == [False, True]


@pytest.mark.parametrize(
    ("checks", "key"),
    [
        ({}, "checks"),
        ({"lable": {"required": True}}, "checks.lable"),
        ({"answer__": {"required": True}}, "checks.answer."),
        ({"label": {}}, "checks.label"),
        ({"label": {"minimum": 2, "maximum": 1}}, "checks.label.minimum"),
        ({"label": {"min_length": 2, "max_length": 1}}, "checks.label.min_length"),
        ({"text": {"pattern": "(?=a)"}}, "checks.text.pattern"),
        ({"text": {"pattern": "(a"}}, "checks.text.pattern"),
    ],
)
def test_rules_that_cannot_be_kept_are_problems(checks, key) -> None:
    assert [problem.key for problem in schema(**checks).problems()] == [key]
