import pytest

from framework.build.data.row_formats import canonical
from framework.core.errors import DataError

SYSTEM, ASKED = {"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}
GOOD, BAD = {"role": "assistant", "content": "Ho"}, {"role": "assistant", "content": "No"}
SAID = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}, {"from": "gpt", "value": "No"}]
EARLIER = [ASKED, {"role": "assistant", "content": "What?"}, {"role": "user", "content": "Again"}]


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"prompt": "Hi", "chosen": "Ho", "rejected": "No"}, [ASKED, GOOD]),
        ({"prompt": "Hi", "chosen": "Ho", "rejected": "No", "system": "S"}, [SYSTEM, ASKED, GOOD]),
        ({"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]}, [ASKED, GOOD]),
        ({"chosen": [*EARLIER, GOOD], "rejected": [*EARLIER, BAD]}, [*EARLIER, GOOD]),
        ({"prompt": "Hi", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}, [ASKED, GOOD]),
        ({"prompt": EARLIER, "chosen": [*EARLIER, GOOD], "rejected": [*EARLIER, BAD]}, [*EARLIER, GOOD]),
        ({"messages": [ASKED], "chosen": GOOD, "rejected": BAD}, [ASKED, GOOD]),
        ({"messages": [ASKED, GOOD], "rejected": "No"}, [ASKED, GOOD]),
        ({"messages": [ASKED, GOOD], "rejected": [ASKED, BAD]}, [ASKED, GOOD]),
        ({"messages": [ASKED, GOOD], "chosen": GOOD, "rejected": BAD}, [ASKED, GOOD]),
        ({"conversations": SAID[:1], "chosen": SAID[1], "rejected": SAID[2]}, [ASKED, GOOD]),
        ({"instruction": "Hi", "input": "", "chosen": "Ho", "rejected": "No"}, [ASKED, GOOD]),
    ],
)
def test_every_preference_form_is_a_pair(row: object, turns: object) -> None:
    assert canonical(row) == {"messages": turns, "rejected": "No"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Hi", "chosen": "a", "rejected": "a"}, "two different answers"),
        ({"chosen": [ASKED, GOOD], "rejected": [ASKED, GOOD]}, "two different answers"),
        ({"chosen": "Ho", "rejected": "No"}, "no prompt"),
        ({"messages": [ASKED, GOOD], "chosen": GOOD}, "'chosen' without 'rejected'"),
        ({"chosen": [ASKED, GOOD], "rejected": [SYSTEM, BAD]}, "turn 1 is not the same"),
        ({"chosen": [*EARLIER, GOOD], "rejected": [ASKED, BAD]}, "4 turns and 2"),
        ({"prompt": "Bye", "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]}, "the prompt is not among"),
        (
            {"prompt": "Hi", "chosen": [ASKED], "rejected": "No"},
            "last turn of chosen must be the assistant's",
        ),
        ({"prompt": "Hi", "chosen": "Ho", "rejected": {**BAD, "reasoning": "x"}}, "'reasoning_content'"),
        ({"prompt": "Hi", "chosen": {**GOOD, "weight": 0}, "rejected": "No"}, "not to be learned"),
        ({"messages": [ASKED, BAD], "chosen": GOOD, "rejected": "x"}, "end with an answer"),
        ({"chosen": "", "rejected": "No"}, "empty chosen"),
        ({"prompt": "Hi", "chosen": "", "rejected": "No"}, "empty chosen"),
        ({"prompt": [ASKED, GOOD], "chosen": [], "rejected": "No"}, "empty chosen"),
        ({"instruction": "Hi", "chosen": "Ho", "rejected": ""}, "empty rejected"),
        ({"messages": [], "rejected": "No"}, "without a better answer"),
        ({"messages": [ASKED], "chosen": "", "rejected": "No"}, "without a better answer"),
        (
            {"chosen": {**SYSTEM, "content": ""}, "rejected": [{**SYSTEM, "content": " "}, BAD]},
            "0 turns and 1",
        ),
    ],
)
def test_what_is_no_pair_is_named(row: object, message: str) -> None:
    with pytest.raises(DataError) as caught:
        canonical(row)
    assert message in str(caught.value)


@pytest.mark.parametrize("label", [True, False])
@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"prompt": "Hi", "completion": "No", "label": ...}, [ASKED, BAD]),
        ({"prompt": [ASKED], "completion": [BAD], "label": ..., "kto_tag": None}, [ASKED, BAD]),
        ({"messages": [*EARLIER, BAD], "label": ...}, [*EARLIER, BAD]),
        ({"conversations": [SAID[0], SAID[2]], "kto_tag": ...}, [ASKED, BAD]),
        ({"instruction": "Hi", "output": "No", "kto_tag": ..., "label": ...}, [ASKED, BAD]),
        ({"instruction": "Hi", "response": "No", "label": ..., "system": "S"}, [SYSTEM, ASKED, BAD]),
    ],
)
def test_a_boolean_label_says_whether_the_last_answer_is_desirable(
    row: dict[str, object], turns: object, label: bool
) -> None:
    given = {key: label if value is ... else value for key, value in row.items()}
    assert canonical(given) == {"messages": turns, "desirable": label}
    assert canonical(given, ["label", "kto_tag"]) == {"messages": turns}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "Hi", "completion": "No", "label": 0}, "must be true or false"),
        ({"prompt": "Hi", "completion": "No", "label": "false"}, "must be true or false"),
        ({"prompt": "Hi", "completion": "No", "label": True, "kto_tag": False}, "contradict each other"),
        ({"messages": [ASKED, GOOD, ASKED, {**BAD, "weight": 0}], "label": False}, "not to be learned"),
        ({"messages": [SYSTEM, BAD], "label": False}, "without a prompt"),
        ({"messages": [ASKED], "chosen": GOOD, "rejected": BAD, "label": True}, "nothing reads 'label'"),
        ({"messages": [ASKED], "chosen": GOOD, "rejected": BAD, "kto_tag": False}, "nothing reads 'kto_tag'"),
    ],
)
def test_a_label_that_judges_no_answer_is_named(row: object, message: str) -> None:
    with pytest.raises(DataError) as caught:
        canonical(row)
    assert message in str(caught.value)


def test_labels_of_documents_are_classes() -> None:
    assert canonical({"text": "a", "label": 1}) == {"text": "a", "label": "1"}
    with pytest.raises(DataError, match="not a boolean"):
        canonical({"text": "a", "label": False})
