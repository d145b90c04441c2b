"""What the plan says about pairs and about answers with a label, before any step runs."""

import json

import pytest

FILES = ("+recipe=tiny", "data=files", "data.max_length=128", "data.train=x.jsonl")
ROW = {"prompt": "1?", "completion": "odd"}
PAIR = {"prompt": "1?", "chosen": "odd", "rejected": "even"}
GOOD, BAD = {**ROW, "label": True}, {**ROW, "label": False}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("rows", "training", "overrides"),
    [
        ([PAIR], "supervised", [("training=dpo",)]),
        ([PAIR], "dpo", []),
        ([PAIR], "kto", []),
        ([ROW, ROW], "kto", [("training=supervised",)]),
        ([GOOD, GOOD], "kto", [("training=supervised",)]),
        ([BAD, BAD], "kto", [()]),
        ([GOOD, GOOD, BAD], "kto", []),
        ([GOOD, GOOD, BAD], "supervised", [("training=kto",)]),
        ([BAD], "supervised", [("training=kto",)]),
        ([BAD, GOOD], "dpo", [("training=kto",)]),
        ([GOOD, GOOD], "dpo", [("training=supervised",)]),
        ([GOOD, GOOD], "supervised", []),
        ([], "kto", []),
    ],
)
def test_rows_need_a_training_for_their_kind(rows, training, overrides, team, problems):
    team("x.jsonl", "{\n" + lines(*rows))
    team("t.jsonl", lines({**ROW, "prompt": "3?"}))
    found = problems(*FILES, "data.test=t.jsonl", f"training={training}")
    assert [problem.overrides for problem in found if problem.key == "training"] == overrides


def test_the_override_for_bad_answers_fixes_the_plan(team, fixes):
    team("x.jsonl", lines(GOOD, BAD))
    team("t.jsonl", lines({**ROW, "prompt": "3?"}))
    (problem,) = fixes(*FILES, "data.test=t.jsonl")
    assert (problem.key, problem.overrides) == ("training", ("training=kto",))


def test_text_has_neither(team, problems):
    team("x.jsonl", lines(PAIR))
    assert [problem.key for problem in problems(*FILES, "data.format=txt")] == []


@pytest.mark.parametrize(
    ("rows", "training", "override"),
    [
        ((ROW, PAIR), "supervised", "training=dpo"),
        ((ROW, BAD), "supervised", "training=kto"),
        ((GOOD, GOOD), "kto", "training=supervised"),
        ((GOOD, BAD), "kto", None),
    ],
)
def test_parts_of_a_mix_are_seen(rows, training, override, team, problems):
    for name, row in zip("xy", rows, strict=True):
        team(f"{name}.jsonl", lines(row))
    team("t.jsonl", lines({**ROW, "prompt": "3?"}))
    team(
        "recipes/mixed.yaml",
        "defaults:\n- /recipe/tiny\n- /data@data.parts.a.data: files\n- /data@data.parts.b.data: files\n"
        f"- override /data: mix\n- override /training: {training}\n- _self_\nname: mixed\n"
        "data:\n  max_length: 128\n"
        "  parts: {a: {data: {train: x.jsonl, test: t.jsonl}}, b: {data: {train: y.jsonl, test: t.jsonl}}}\n",
    )
    found = [problem for problem in problems("+recipe=mixed") if problem.key == "training"]
    assert [problem.overrides for problem in found] == ([(override,)] if override else [])


@pytest.mark.parametrize(
    ("words", "override"),
    [
        (("training.micro_batch_size=1",), "training.micro_batch_size=2"),
        (("training.micro_batch_size=auto",), "training.micro_batch_size=8"),
        (
            ("training.micro_batch_size=auto", "training.global_batch_size=12"),
            "training.micro_batch_size=6",
        ),
        (
            ("training.micro_batch_size=1", "training.global_batch_size=11"),
            "training.micro_batch_size=2 training.global_batch_size=2",
        ),
    ],
)
def test_kto_needs_several_rows_in_a_micro_batch(words, override, fixes):
    (problem,) = fixes("+recipe=tiny-kto", *words)
    assert (problem.key, problem.overrides) == ("training.micro_batch_size", (override,))


def test_other_trainings_take_micro_batches_of_one_row(problems):
    assert problems("+recipe=tiny-preference", "training.micro_batch_size=1") == ()


def test_kto_is_for_language_models(fixes):
    for problem in fixes("+recipe=sentiment", "training=kto"):
        assert (problem.key, problem.overrides) == ("training", ("training=supervised",))
