"""Grammars of our decoding loop: what is sampled keeps to them, and nothing else of the sampling changes."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from framework.build.engine import Progress, Sampling, guidance, open_engine
from framework.build.engine.batches import open_batches
from framework.build.engine.guidance import GrammarError, Grammars, open_grammars
from framework.build.engine.onnx_decoder import OnnxDecoder
from framework.build.engine.sampling import Part
from framework.build.export.onnx import Onnx
from framework.serving.engine.tokenization import open_tokenizer

PROMPT = [0, 5, 6, 7, 8]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "word": {"type": "string", "maxLength": 6},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["a", "b", None]}, "maxItems": 3},
    },
    "required": ["word", "count", "tags"],
    "additionalProperties": False,
}
GRAMMAR: tuple[Part, ...] = (("schema", json.dumps(SCHEMA)),)
HARD = {"type": "string", "pattern": "^(.*a.{20}b.*c.{20})+$"}
BROKEN = (
    *('{"type": "nothing"}', '{"$ref": "#/nowhere"}', '{"type": "string", "pattern": "(("}'),
    *('{"not": {}}', '{"type": "string", "pattern": "(?=a)"}', "[]"),
)


@pytest.fixture(scope="module", params=["torch", "onnxruntime"])
def engine(request: pytest.FixtureRequest, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two runtimes of our loop; ``Any`` since a capability is asked for elsewhere."""
    if request.param == "torch":
        return open_engine("torch", tiny_llama, 1)
    folder = tmp_path_factory.mktemp("onnx")
    Onnx().write(tiny_llama, folder)
    decoder = open_engine("onnxruntime", folder, 1)
    assert isinstance(decoder, OnnxDecoder)
    return decoder


@pytest.fixture(scope="module")
def grammars(tiny_llama: Path) -> Grammars:
    opened = open_grammars(tiny_llama, {1})
    assert opened is not None
    return opened


def written(engine: Any, sampling: Sampling, limit: int = 120) -> list[int]:
    return list(engine.generate(PROMPT, limit, sampling))


def test_every_answer_is_json_of_its_schema(engine: Any, tiny_llama: Path) -> None:
    decode = open_tokenizer(tiny_llama).decode
    answers = [written(engine, Sampling(2.0, seed=seed, grammar=GRAMMAR)) for seed in range(8)]
    for answer in answers:
        jsonschema.validate(json.loads(decode(answer)), SCHEMA)
        assert len(answer) < 120, "it ends by itself"
    assert len({tuple(answer) for answer in answers}) > 1
    assert written(engine, Sampling(2.0, seed=3, grammar=GRAMMAR)) == answers[3]
    greedy = written(engine, Sampling(grammar=GRAMMAR, past_end=True))
    jsonschema.validate(json.loads(decode(greedy)), SCHEMA)
    assert len(written(engine, Sampling(grammar=GRAMMAR), 4)) == 4


def test_penalties_bias_and_log_probabilities_stay_what_they_are(engine: Any, tiny_llama: Path) -> None:
    """Of two values that the grammar allows, the bias decides; of one, nothing does."""
    tokenizer = open_tokenizer(tiny_llama)
    choice: tuple[Part, ...] = (("schema", '{"enum": [10000, 20000]}'),)
    for digit in "12":
        bias = (
            (tokenizer.convert_tokens_to_ids(digit), 100.0),
            (tokenizer.convert_tokens_to_ids("x"), 200.0),
        )
        scored = list(
            engine.generate_scored(PROMPT, 20, Sampling(logit_bias=bias, top_logprobs=2, grammar=choice))
        )
        answer = [each.token for each in scored]
        assert tokenizer.decode(answer) == f"{digit}0000"
        logits = engine.logits([[*PROMPT, *answer]])[0][len(PROMPT) - 1 : -1].astype(np.float64)
        wanted = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        own = [line[token] for line, token in zip(wanted, answer, strict=True)]
        assert np.allclose([each.logprob for each in scored], own, atol=1e-3)
        assert [each.top[0][0] for each in scored] == wanted.argmax(-1).tolist()
    digits: tuple[Part, ...] = (("schema", '{"type": "string", "pattern": "^[0-9]{8}$"}'),)
    repeated, varied = (
        tokenizer.decode(written(engine, Sampling(frequency_penalty=penalty, grammar=digits)))
        for penalty in (0.0, 50.0)
    )
    assert len(set(repeated)) < len(set(varied)) == 9, "a quote, and eight digits of which none comes twice"


def test_free_text_stays_the_same_beside_a_broken_grammar(tiny_llama: Path) -> None:
    batches = open_batches("torch", tiny_llama, 1, 1)
    assert batches.refuses(Sampling(grammar=GRAMMAR)) is None
    batches.submit(1, PROMPT, 12, Sampling())
    steps: list[Progress] = batches.step()
    for schema in BROKEN:
        with pytest.raises(GrammarError) as caught:
            batches.submit(2, PROMPT, 12, Sampling(grammar=(("schema", schema),)))
        assert str(caught.value)
        assert str(tiny_llama) not in str(caught.value)
    while not steps[-1].ended:
        steps += batches.step()
    plain: Any = open_engine("torch", tiny_llama, 1)
    assert [token for step in steps for token in step.tokens] == written(plain, Sampling(), 12)


def test_answer_that_outgrows_the_library_fails_alone(tiny_llama: Path, monkeypatch) -> None:
    monkeypatch.setattr(guidance, "_LIMITS", {"step_lexer_fuel": 300})
    batches = open_batches("torch", tiny_llama, 1, 1)
    batches.submit(1, PROMPT, 60, Sampling(grammar=(("schema", json.dumps(HARD)),)))
    batches.submit(2, PROMPT, 3, Sampling(past_end=True))
    steps: list[Progress] = []
    while not (steps and steps[-1].ended and steps[-1].request == 2):
        steps += batches.step()
    assert any(step.request == 1 and step.tokens for step in steps), "the schema itself can be read"
    ended = {step.request: step.failure for step in steps if step.ended}
    assert ended[1]
    assert ended[2] is None


def test_vocabulary_of_the_logits_may_differ_from_the_tokenizers(grammars: Grammars) -> None:
    """Model folders often pad it; a token without text is never allowed."""
    guide = grammars.open((("schema", '{"enum": [7]}'),))
    vocabulary = len(guide.allowed(np.zeros(300, np.float32)))
    (seven,) = np.flatnonzero(np.isfinite(guide.allowed(np.zeros(4096, np.float32))))
    assert seven < vocabulary == 300
    guide.advance(int(seven))
    assert guide.complete


def test_vocabulary_that_cannot_write_json_has_no_grammar(tiny_bert: Path, tmp_path: Path, caplog) -> None:
    tokenizer = json.loads((tiny_bert / "tokenizer.json").read_text())
    assert tokenizer["model"]["type"] == "WordPiece"
    assert open_grammars(tiny_bert, {1}) is None
    assert open_grammars(tmp_path, {1}) is None
    assert [str(folder) in line for folder, line in zip((tiny_bert, tmp_path), caplog.messages, strict=True)]


def test_missing_package_is_named_and_grammars_are_refused(tiny_llama: Path, monkeypatch, caplog) -> None:
    monkeypatch.setitem(sys.modules, "llguidance.hf", None)
    batches = open_batches("torch", tiny_llama, 1, 1)
    assert batches.refuses(Sampling(grammar=GRAMMAR)) == "grammar"
    assert "gitune[serve]" in caplog.text
    with pytest.raises(GrammarError):
        batches.submit(1, PROMPT, 4, Sampling(grammar=GRAMMAR))


def test_parts_follow_one_another(grammars: Grammars, tiny_llama: Path) -> None:
    tokenizer = open_tokenizer(tiny_llama)
    guide = grammars.open((("text", '<call "1">\n'), ("schema", '{"const": {"a": 1}}'), ("text", "</call>")))
    written: Sequence[int] = tokenizer('<call "1">\n{"a": 1}</call>', add_special_tokens=False)["input_ids"]
    for token in written:
        assert np.isfinite(guide.allowed(np.zeros(300, np.float32)))[token]
        assert not guide.complete
        guide.advance(token)
    assert guide.complete
