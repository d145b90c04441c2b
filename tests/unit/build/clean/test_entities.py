"""Planted contradictions between answers and their sources, and faithful answers in other words."""

import random

import pytest

from framework.build.clean.entities import Entities

_PLACES = ["Lisbon", "Oslo", "Nairobi", "Quito", "Hanoi", "Porto Alegre", "New Delhi"]
_PEOPLE = ["Ana Sousa", "Ole Berg", "Mary O'Neill", "Jean-Luc Moreau", "Wanjiru Kamau"]
_FILLER = "The report was written by the office for roads and was read by every member of the town's council."
_SOURCE = (
    "{person} opened the bridge in {place} on {day} March {year}. It is {length:,} m long, weighs {mass} "
    "tonnes and cost ${cost}.4 million, of which the state paid {share}.3 percent. " + _FILLER
)


def chat(source: str, answer: str) -> dict:
    return {"messages": [{"role": "user", "content": source}, {"role": "assistant", "content": answer}]}


def facts(source: random.Random) -> dict:
    return {
        "person": source.choice(_PEOPLE),
        "place": source.choice(_PLACES),
        "day": source.randint(11, 28),
        "year": source.randint(1950, 2020),
        "length": source.randint(1100, 9900),
        "mass": source.randint(200, 900),
        "cost": source.randint(11, 90),
        "share": source.randint(20, 80),
    }


def answer_of(known: dict, form: int, **changed: object) -> str:
    """Return one of three faithful answers: rounded, converted or in another form."""
    said = {**known, **changed}
    unit = said.get("unit")
    return (
        f"Some {unit or 'road'} news: {said['person']} opened it on {said['year']}-03-{said['day']}. "
        f"The state paid about {said['share']}% of it.",
        f"The bridge, {said['length']}{unit or ' meters'} long, was opened in {said['place']} by "
        f"{said['person']}.",
        f"In {said['place']} a bridge of {said['mass']},000 kg was opened in March {said['year']} "
        f"for {said['cost']}.4 million dollars.",
    )[form]


_WRONG = {
    "entity_number": (0, {"share": 91}),
    "entity_unit": (1, {"unit": " miles"}),
    "entity_date": (2, {"year": 1912}),
    "entity_name": (1, {"person": "Ruth Adler"}),
}


def test_planted_contradictions_are_found_and_faithful_answers_stay(clean) -> None:
    source = random.Random(1)
    rows, planted = [], {}
    for number in range(320):
        known = facts(source)
        form, changed = number % 3, {}
        if number % 4 == 3:
            rule = source.choice([*_WRONG])
            form, changed = _WRONG[rule]
            planted[len(rows) + 1] = rule
        rows.append(chat(_SOURCE.format(**known), answer_of(known, form, **changed)))
    cleaned = clean(Entities(), rows)
    assert cleaned.rules == planted  # recall and precision 1.0 for each rule
    assert {*planted.values()} == {*_WRONG}


TEXT = (
    "On 12 May 2021 the United Nations office in Geneva counted 1,234,567 visitors, twelve more than hoped, "
    "at -4.5 °C. Tickets were $20 each. The hall has 350 m² and opens at 08:30. Model A320 flew 5 km. "
    "Version 2.1 of the plan names fifty towns and was sent to the WHO by Ms. Li. It rained on 3/4/2020 for "
    "two hours."
)


@pytest.mark.parametrize(
    "answer",
    [
        "The UN counted 1.2 million visitors on May 12, 2021.",
        "1,234,567 people came in May 2021; 12 more than hoped.",
        "It was -4.5 °C in 2021.",
        "Entry was 20 dollars. In Geneva there were 50 towns and 350 square meters.",
        "The A320 flew 5000 meters, or 3.1 miles; it rained 120 minutes on 2020-04-03.",
        "1. The office\n2. The hall\n3. Three points",
        "World Health Organization, and Li's plan",
        "Visitors paid 20.",
        "Yes.",
    ],
)
def test_the_same_in_another_form_is_supported(clean, answer) -> None:
    assert clean(Entities(), [chat(TEXT, answer)]).gone == []


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("It counted 1.3 million visitors.", "number"),
        ("Exactly 1,234,568 came.", "number"),
        ("It was 4.5 °C.", "number"),
        ("It was -4.5 °F.", "unit"),
        ("Tickets were €20.", "unit"),
        ("It flew 5 miles.", "unit"),
        ("It came on 13 May 2021.", "date"),
        ("It rained on 5 March 2020.", "date"),
        ("It was in Zurich.", "name"),
        ("Ruth Adler", "name"),
        ("The United Kingdom counted.", "name"),
    ],
)
def test_what_is_in_no_source_is_named(clean, answer, rule) -> None:
    fine = [chat(TEXT, "Yes.")] * 2
    cleaned = clean(Entities(), [*fine, chat(TEXT, answer)])
    assert cleaned.rules == {3: f"entity_{rule}"}
    others = tuple(kind for kind in ("number", "unit", "date", "name") if kind != rule)
    assert clean(Entities(kinds=others), [*fine, chat(TEXT, answer)]).gone == []


@pytest.mark.parametrize(
    "answer",
    [
        "Zurich",  # one word alone may be any word, as Yes is
        "Zurich was full.",  # the first word of a sentence may be any word
        "It had thirteen visitors.",  # a number in words
        "It counted 20 visitors.",  # the number is there, of something else
        "The office in Geneva opened the hall to rain.",  # the words are there, not what they say
    ],
)
def test_what_it_does_not_know(clean, answer) -> None:
    """These are wrong and stay; docs/data.md says so."""
    assert clean(Entities(), [chat(TEXT, answer)]).gone == []


def test_only_learned_answers_with_a_source_before_them_are_judged(clean) -> None:
    question, later = {"role": "user", "content": "Where is it?"}, {"role": "user", "content": TEXT}
    wrong = {"role": "assistant", "content": "It is in Zurich with 77 rooms."}
    fine = {"role": "assistant", "content": "Yes."}
    rows = [
        {"messages": [question, wrong, later, fine]},
        {"messages": [later, {**wrong, "train": False}, question, {**wrong, "content": "77 rooms"}]},
        {"messages": [later, fine, question, wrong]},
        {"text": "In Zurich there are 77 rooms."},
    ]
    assert clean(Entities(), rows).gone == [3]
    assert clean(Entities(max_unsupported=1), rows).gone == [3]
    assert clean(Entities(max_unsupported=2), rows).gone == []
    assert clean(Entities(judged_from=1), rows).gone == [1, 3]


def test_time_is_linear_on_hostile_text(clean) -> None:
    hostile = [
        "1" * 50_000,
        "1," * 25_000,
        "A" * 50_000,
        "A " * 25_000,
        "May " * 12_000,
        "1 of " * 10_000,
    ]
    rows = [chat(TEXT, "Yes."), *(chat(text + TEXT, text) for text in hostile)]
    assert 1 not in clean(Entities(max_removed=0.9), rows).gone
