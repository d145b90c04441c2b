"""What the plan says about local rows before any step runs."""

import json
from pathlib import Path

import pytest

FILES = ("+recipe=tiny", "data=files", "data.max_length=128")
ROW = json.dumps({"prompt": "1?", "completion": "odd"}) + "\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [("x.jsonl", ""), ("x.jsonl", " \n\n"), ("x.csv", "prompt,completion\n"), ("x.json", "[]")],
)
def test_file_without_rows_stops_the_plan(name, text, team, problems):
    team(name, text)
    (problem,) = problems(*FILES, f"data.train={name}")
    assert problem.key == "data.train.0"
    assert f"{name} has no rows" in problem.reason


def test_file_of_unknown_format_stops_the_plan(team, problems):
    team("x.xlsx", "PK")
    (problem,) = problems(*FILES, "data.train=x.xlsx")
    assert problem.key == "data.train.0"
    assert "CSV UTF-8" in problem.reason


@pytest.mark.parametrize("test", ["./rows/x.jsonl", "link.jsonl", "copy.jsonl", "rows"])
def test_same_rows_by_another_path_stop_the_plan(test, team, fixes, problems):
    file = team("rows/x.jsonl", ROW)
    team("copy.jsonl", ROW)
    Path("link.jsonl").symlink_to(file)
    words = (*FILES, "data.train=rows/x.jsonl", f"data.test={test}")
    (problem,) = fixes(*words)
    assert (problem.key, problem.overrides) == ("data.test.0", ("data.test=null",))
    assert "in both" in problem.reason
    assert problems(*words, "data.max_overlap=1") == ()


def test_problem_of_a_part_is_below_the_mix(team, problems):
    team("x.jsonl", ROW)
    team("empty.jsonl", "")
    team(
        "recipes/mixed.yaml",
        "defaults:\n- /recipe/tiny\n- /data@data.parts.a.data: files\n- /data@data.parts.b.data: files\n"
        "- override /data: mix\n- _self_\nname: mixed\ndata:\n  max_length: 128\n"
        "  parts: {a: {data: {train: x.jsonl}}, b: {data: {train: empty.jsonl}}}\n",
    )
    (problem,) = problems("+recipe=mixed")
    assert problem.key == "data.parts.b.data.train.0"


LABELED = (
    "+recipe=tiny",
    "~gates",
    "data=files",
    "data.train=x.csv",
    "data.max_length=128",
    "compression=none",
)


@pytest.mark.parametrize(
    ("labels", "overrides"),
    [
        (["neg", "pos"], ("model.labels=[neg,pos]",)),
        (["1", "0", "1"], ("model.labels=['0','1']",)),
        (["a b", "c"], ()),
    ],
)
def test_labels_of_the_rows_are_proposed(labels, overrides, team, fixes):
    team("x.csv", "text,label\n" + "".join(f"row {n},{label}\n" for n, label in enumerate(labels)))
    (problem,) = fixes(*LABELED, "model=tiny-encoder", "export=onnx")
    assert (problem.key, problem.overrides) == ("model.labels", overrides)
    assert all(f"{label} ({labels.count(label)})" in problem.reason for label in labels)


def test_labels_are_asked_for_where_rows_have_none(team, problems):
    team("x.csv", "text\nrow\n")
    (problem,) = problems(*LABELED, "model=minilm-entities-pypi", "export=onnx")
    assert (problem.key, problem.overrides) == ("model.entities", ("model.entities=[<name>,<name>]",))
