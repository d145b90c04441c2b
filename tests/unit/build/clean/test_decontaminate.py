import random

from planted_texts import random_text

from framework.build.clean.decontaminate import Decontaminate


def chat(prompt: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}


def test_rows_with_most_of_a_test_row_are_removed(clean) -> None:
    source = random.Random(1)
    test = [random_text(source, 60) for _ in range(100)]
    clear = [random_text(source, 100) for _ in range(300)]

    def inside(text: str, share: float) -> str:
        words = text.split()[: round(60 * share)]
        return " ".join([random_text(source, 30), *words, random_text(source, 30)])

    planted = [inside(text, share) for text in test for share in (1.0, 0.7)]
    quoted = [inside(text, 0.3) for text in test]
    cleaned = clean(Decontaminate(), [*clear, *planted, *quoted], test=test)
    assert cleaned.gone == [*range(301, 501)]
    assert cleaned.removed[0]["reason"] == "has 100% of the runs of 8 words of the test row test.jsonl:1"
    assert cleaned.texts("test") == test
    stricter = clean(Decontaminate(max_share=0.1, max_removed=0.9), [*clear, *planted, *quoted], test=test)
    assert stricter.gone == [*range(301, 601)]


def test_template_of_all_rows_is_no_contamination(clean) -> None:
    asked = "Please tell me right now whether or not the number {} is even or odd."
    rows = [chat(asked.format(number), "It is.") for number in range(60)]
    assert clean(Decontaminate(), rows[:40], test=rows[40:]).gone == []
    counted = Decontaminate(common_in=100, max_share=0.2, max_removed=0.99)
    assert clean(counted, ["x", *rows[:40]], test=rows[40:]).gone == [*range(2, 42)]


def test_part_that_is_compared_is_a_setting(clean) -> None:
    source = random.Random(2)
    question, answer, other = (random_text(source, 20) for _ in range(3))
    rows = [chat(question, other), chat(other, answer), "something else"]
    for on, gone in (("prompt", [1]), ("answer", [2]), ("all", [])):
        assert clean(Decontaminate(on=on, max_share=0.6), rows, test=[chat(question, answer)]).gone == gone


def test_short_test_row_is_not_looked_for(clean) -> None:
    assert clean(Decontaminate(), ["yes", "yes it is", "no"], test=["yes", "it is"]).gone == []
