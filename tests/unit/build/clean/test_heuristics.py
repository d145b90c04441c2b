import random

import pytest
from planted_texts import random_text

from framework.build.clean.heuristics import Heuristics

PROSE = (
    "The committee met on Tuesday to discuss the budget for next year. Several members asked how the new "
    "library would be paid for, and the mayor answered that two thirds of the money comes from the state. "
    "A decision is expected in spring, after the public has been heard."
)
PLANTED = {
    "phrase": "Welcome.\nPlease enable JavaScript to continue.",
    "word_count": "!!!",
    "long_words": " ".join(f"{number:030b}abcdef" for number in range(30)),
    "short_words": " ".join("abcdefghijklmnopqrstuvwxyz"),
    "symbols": " ".join(f"#tag{number} word" for number in range(30)),
    "not_alphabetic": " ".join(
        f"{number * 37} item{number % 3} {number * 91} {number}" for number in range(20)
    ),
    "bullets": "\n".join(f"- point number {number} of mine" for number in range(12)),
    "ellipses": "\n".join(f"{random_text(random.Random(number), 14)} …" for number in range(6))
    + "\nend of it",
    "repeated_lines": "\n".join(
        ["Home News Contact Imprint", *(PROSE.split(". ")), *["Home News Contact Imprint"] * 3]
    ),
    "top_2gram": "buy now " * 5 + random_text(random.Random(1), 20),
    "repeated_5grams": f"{PROSE} {PROSE}",
}
FINE = [
    PROSE,
    "42",
    "Yes.",
    "委员会周二开会讨论明年的预算。几位成员询问新图书馆的费用如何支付、市长回答说三分之二的资金来自国家。",
    "def add(a, b):\n    return a + b\n\n\nprint(add(1, 2))  # 3\n"
    "for n in range(10):\n    print(n, add(n, 1), n * 2)",
    "- flour\n- two eggs\n- milk",
    "| year | votes |\n| 1990 | 1,203 for the bill |\n| 1994 | 880 against, 12 absent |\n| 1998 | none |",
    *(random_text(random.Random(seed), 80) for seed in range(40)),
]


def test_planted_rows_are_removed_by_their_rule_and_others_stay(clean) -> None:
    cleaned = clean(Heuristics(), [*FINE, *PLANTED.values()])
    expected = dict(enumerate(PLANTED, len(FINE) + 1))
    assert cleaned.rules == expected
    assert cleaned.summary["train"]["removed_by"] == dict.fromkeys(sorted(PLANTED), 1)


def test_answers_are_judged_unless_set(clean) -> None:
    spam = PLANTED["symbols"]
    turns = [{"role": "user", "content": spam}, {"role": "assistant", "content": PROSE}]
    judged = [{"messages": turns}, {"messages": turns, "rejected": spam}, {"text": spam, "label": "spam"}]
    assert clean(Heuristics(max_removed=1), judged).gone == [2, 3]
    assert clean(Heuristics(on="prompt", max_removed=0.9), [PROSE, judged[0]]).gone == [2]


def test_limits_are_settings(clean) -> None:
    assert clean(Heuristics(min_words=3), ["one two", "one two three", PROSE]).rules == {1: "word_count"}
    assert clean(Heuristics(judged_from=1000), [PLANTED["symbols"]]).gone == []


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"min_words": 9, "max_words": 5}, "min_words"),
        ({"mean_word": (9, 3)}, "mean_word"),
        ({"phrases": ("",)}, "phrases"),
    ],
)
def test_limits_that_no_text_keeps_are_problems(settings, key) -> None:
    assert [problem.key for problem in Heuristics(**settings).problems()] == [key]
