import pytest

from framework.serving.telemetry.outputs import BadStreak, judge

PROSE = (
    "The committee met on Tuesday to discuss the budget for the coming year. Several members asked for "
    "more money for schools, while others wanted to repair the old bridge before winter."
)


@pytest.mark.parametrize(
    ("text", "cut", "reason"),
    [
        (PROSE, False, None),
        (PROSE, True, "cut"),
        ("", True, "empty"),
        ("\n\t ", False, "empty"),
        ("positive", False, None),
        ("no no no", False, None),
        ("I am not sure. " * 12, False, "repeated"),
        ("I am not sure. " * 12, True, "repeated"),
        ("今天天气很好我们去公园散步然后回家吃饭晚上看书十点睡觉", False, None),
        ("好的" * 40, False, "repeated"),
    ],
)
def test_only_obviously_bad_answers_are_bad(text, cut, reason):
    assert judge(text, cut=cut).reason == reason


def test_diversity_is_the_share_of_distinct_pairs():
    assert judge("a b a b", cut=False).diversity == pytest.approx(2 / 3)
    assert judge("one", cut=False).diversity == 1
    assert judge(PROSE, cut=False).diversity > 0.8


def test_good_answer_resets_the_streak():
    streak = BadStreak()
    for text in ("", "", "fine", ""):
        streak.add(judge(text, cut=False))
    assert streak.length == 1
