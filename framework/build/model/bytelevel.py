"""A byte-level tokenizer for randomly initialized models: nothing to download or train."""

from collections.abc import Sequence
from typing import Any

PAD = "<|pad|>"


def byte_tokenizer(
    *special: str, surround: bool = False, merges: Sequence[tuple[str, str]] = (), **options: Any
) -> Any:
    """Return a tokenizer of the 256 bytes, the padding token and the tokens *special*, in this order.

    Args:
        special: additional special tokens.
        merges: pairs of symbols that become one token each, in this order.
        surround: put the first special token before every text and the second after it, as encoders do.
        options: arguments of ``PreTrainedTokenizerFast``, such as ``eos_token``.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(first + second for first, second in merges)]
    inner = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(symbols)}, list(merges)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True) for token in (PAD, *special)])
    if surround:
        start, end = special[:2]
        inner.post_processor = processors.TemplateProcessing(
            single=f"{start} $A {end}",
            special_tokens=[(token, inner.token_to_id(token)) for token in (start, end)],
        )
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=PAD, **options)
