import pytest

from framework.build.evaluation import Base
from framework.build.evaluation.held_out import HeldOut
from framework.build.evaluation.text_metrics import METRICS, compare

WRITTEN = ["the cat sat on a mat, yes", "hello there general"]
RIGHT = ["the cat sat on the mat, yes.", "hello general there kenobi"]


def test_bleu_and_rouge_equal_their_reference_packages() -> None:
    found = compare(WRITTEN, RIGHT)
    assert tuple(found) == METRICS
    # sacrebleu 2.6.0: corpus_bleu(WRITTEN, [RIGHT]).score; rouge-score 0.1.2, the mean of each fmeasure.
    assert found["bleu"] == pytest.approx(0.3803070462, abs=1e-6)
    assert found["rouge_1"] == pytest.approx(0.8571428571, abs=1e-6)
    assert found["rouge_l"] == pytest.approx((0.8571428571 + 0.5714285714) / 2, abs=1e-6)


def test_equal_texts_score_one_and_empty_texts_zero() -> None:
    assert compare(RIGHT, RIGHT)["bleu"] == pytest.approx(1.0)
    assert compare(RIGHT, RIGHT)["rouge_l"] == pytest.approx(1.0)
    assert compare(["", ""], RIGHT) == dict.fromkeys(METRICS, 0.0)


def test_repeated_answers_are_not_distinct() -> None:
    same = compare(["a b", "a b", "a b", "a b"], ["a b"] * 4)
    assert (same["distinct_1"], same["distinct_2"]) == (0.25, 0.25)


def test_last_answer_is_compared_with_its_own_prompt() -> None:
    import torch

    from framework.build.task import open_task

    ids, labels = torch.tensor([1, 2, 3, 4, 5, 6, 7]), torch.tensor([-100, 2, 3, -100, 5, 6, -100])
    assert open_task("causal-lm").prompt_and_answer((ids, labels)) == ([1, 2, 3, 4], [5, 6])


def test_answers_are_generated_for_prompts_only() -> None:
    import torch

    class Parrot:
        asked: list[list[int]]
        ends = frozenset({4})

        def logits(self, rows):
            return [torch.zeros(len(row), 9).numpy() for row in rows]

        def generate(self, prompt, limit):
            assert limit == 3
            self.asked.append(prompt)
            return iter([prompt[-1]])

    engine, option = Parrot(), HeldOut(generate_rows=2, new_tokens=3)
    engine.asked = []
    document, answer = torch.tensor([1, 2]), torch.tensor([-100, 4])
    rows = [(document, document), (torch.tensor([7, 4]), answer), (torch.tensor([8, 4]), answer)]
    base = Base(decode=lambda ids: " ".join(map(str, ids)), open=lambda: engine)
    found = option.measure(engine, "causal-lm", rows, base)
    assert engine.asked == [[7]]
    assert set(found) == set(option.metrics("causal-lm")) == {"exact_match", "stops", "perplexity", *METRICS}
    assert set(option.metrics("token-classification")) == {"span_f1", "accuracy"}
