import pytest

from framework.build.clean.language import Language
from framework.core.errors import DataError

PLANTED = {
    "en": [
        "The committee met on Tuesday to discuss the budget for next year.",
        "Please send me the report before noon, and call if anything is unclear.",
        "It rained all night, but the river stayed within its banks.",
        "Most birds of this family build their nests close to water.",
    ],
    "de": [
        "Der Ausschuss traf sich am Dienstag, um über den Haushalt zu beraten.",
        "Bitte schickt mir den Bericht noch heute und ruft bei Fragen gerne an.",
    ],
    "fr": [
        "La commission s'est réunie mardi pour discuter du budget de l'année prochaine.",
        "Il a plu toute la nuit, mais la rivière est restée dans son lit.",
    ],
    "zh": [
        "委员会周二开会讨论明年的预算、几位成员询问新图书馆的费用如何支付。",
        "昨天晚上下了一夜的雨、但是河水没有漫过堤岸。",
    ],
    "ru": ["Комитет собрался во вторник, чтобы обсудить бюджет на следующий год."],
}
ROWS = [text for texts in PLANTED.values() for text in texts]


@pytest.mark.parametrize("keep", [("en",), ("en", "zh"), ("de", "fr")], ids="-".join)
def test_planted_languages_are_told_apart(clean, keep) -> None:
    cleaned = clean(Language(keep=keep, max_removed=0.9), ROWS)
    assert cleaned.texts() == [text for code, texts in PLANTED.items() if code in keep for text in texts]
    assert {*cleaned.rules.values()} == {"language"}


def test_short_text_is_not_judged(clean) -> None:
    assert clean(Language(), ["Ja, genau.", "7 + 5 = 12"]).gone == []


def test_translation_is_judged_by_its_answer(clean) -> None:
    german, english = PLANTED["de"][0], PLANTED["en"][0]
    pair = [{"role": "user", "content": f"Translate: {german}"}, {"role": "assistant", "content": english}]
    assert clean(Language(), [{"messages": pair}]).gone == []
    assert clean(
        Language(keep=("fr",), on="prompt", max_removed=0.9), [ROWS[6], {"messages": pair}]
    ).gone == [2]


def test_unknown_language_is_refused_before_any_row(clean) -> None:
    with pytest.raises(DataError, match=r"clean\.language\.keep: py3langid does not know 'xx'"):
        clean(Language(keep=("en", "xx")), ROWS)
