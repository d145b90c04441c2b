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
