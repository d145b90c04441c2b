import random

import pytest

from framework.core.errors import ServeError
from framework.serving.tokenization import growing_text, open_tokenizer, prompt_ids, until_stop

HARD = ["plain words", "naïve café", "日本語のテキスト", "👩‍👩‍👧 and 🇯🇵", "tabs\tand\n\nlines  ", ""]


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return open_tokenizer(tiny_llama)


@pytest.mark.parametrize("text", HARD)
def test_text_that_grows_is_the_text_of_all_tokens(tokenizer, text) -> None:
    ids = tokenizer(text)["input_ids"]
    pieces = list(growing_text(ids, tokenizer.decode))
    assert "".join(pieces) == text
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in pieces)


def test_text_that_grows_survives_any_bytes(tokenizer) -> None:
    dice = random.Random(0)
    for _ in range(50):
        ids = [dice.randrange(2, len(tokenizer)) for _ in range(40)]
        assert "".join(growing_text(ids, tokenizer.decode)) == tokenizer.decode(ids)


def test_ids_equal_those_that_transformers_gives_in_training(tiny_llama, tokenizer) -> None:
    from transformers import AutoTokenizer

    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße, 日本"}]
    reference = AutoTokenizer.from_pretrained(tiny_llama)
    expected = reference.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert prompt_ids(tokenizer, messages) == list(expected)


def test_a_template_may_refuse(tokenizer) -> None:
    import copy

    strict = copy.copy(tokenizer)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(ValueError, match="roles must alternate"):
        prompt_ids(strict, [{"role": "user", "content": "x"}])


def test_a_folder_without_a_tokenizer_is_one_sentence(tmp_path) -> None:
    with pytest.raises(ServeError, match="its tokenizer cannot be opened") as caught:
        open_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_a_stop_text_is_found_however_it_is_cut(size) -> None:
    text = "one, two, three, four"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert "".join(until_stop(pieces, ["three", "four"])) == "one, two, "
    assert "".join(until_stop(pieces, ["five"])) == text
    assert "".join(until_stop(pieces, [])) == text


def test_the_earliest_stop_text_wins_and_generation_ends() -> None:
    def endless():
        yield from ["ab", "cd"]
        pytest.fail("read on after the stop text")

    found = until_stop(endless(), ["cd", "bc"])
    assert "".join(found) == "a"


def test_what_may_begin_a_stop_text_is_held_back() -> None:
    given = until_stop(["wait <", "|", "no"], ["<|end|>"])
    assert [next(given), next(given), next(given)] == ["wait ", "", "<|no"]
