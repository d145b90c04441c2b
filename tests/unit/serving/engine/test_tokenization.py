import random

import pytest

from framework.core.errors import ServeError
from framework.serving.engine.tokenization import StreamedText, UntilStop, open_tokenizer, prompt_ids

HARD = ["plain words", "naïve café", "日本語のテキスト", "👩‍👩‍👧 and 🇯🇵", "tabs\tand\n\nlines  ", ""]


@pytest.fixture(scope="module")
def tokenizer(tiny_llama):
    return open_tokenizer(tiny_llama)


def streamed(ids, decode):
    text = StreamedText(decode)
    return [*map(text.push, ids), text.finish()]


def until_stop(pieces, stops):
    until = UntilStop(stops)
    return "".join([*map(until.push, pieces), until.finish()])


@pytest.mark.parametrize("text", HARD)
def test_streamed_text_equals_the_decoded_text(tokenizer, text) -> None:
    ids = tokenizer(text)["input_ids"]
    pieces = streamed(ids, tokenizer.decode)
    assert "".join(pieces) == text
    assert all("\N{REPLACEMENT CHARACTER}" not in piece for piece in pieces)


def test_streamed_text_handles_any_bytes(tokenizer) -> None:
    dice = random.Random(0)
    for _ in range(50):
        ids = [dice.randrange(2, len(tokenizer)) for _ in range(40)]
        assert "".join(streamed(ids, tokenizer.decode)) == tokenizer.decode(ids)


def test_prompt_ids_equal_those_of_training(tiny_llama, tokenizer) -> None:
    from transformers import AutoTokenizer

    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße, 日本"}]
    reference = AutoTokenizer.from_pretrained(tiny_llama)
    expected = reference.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    assert prompt_ids(tokenizer, messages) == list(expected)


def test_template_error_is_reported(tokenizer) -> None:
    import copy

    strict = copy.copy(tokenizer)
    strict.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(ValueError, match="roles must alternate"):
        prompt_ids(strict, [{"role": "user", "content": "x"}])


def test_missing_tokenizer_is_reported_in_one_line(tmp_path) -> None:
    with pytest.raises(ServeError, match="its tokenizer cannot be opened") as caught:
        open_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_stop_text_is_found_across_pieces(size) -> None:
    text = "one, two, three, four"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert until_stop(pieces, ["three", "four"]) == "one, two, "
    assert until_stop(pieces, ["five"]) == text
    assert until_stop(pieces, []) == text


def test_earliest_stop_text_ends_the_answer() -> None:
    until = UntilStop(["cd", "bc"])
    assert (until.push("ab"), until.stopped) == ("a", False)
    assert (until.push("cd"), until.stopped) == ("", True)
    assert (until.push("more"), until.finish()) == ("", "")


def test_possible_stop_text_is_held_back() -> None:
    until = UntilStop(["<|end|>"])
    assert [until.push(piece) for piece in ("wait <", "|", "no")] == ["wait ", "", "<|no"]
