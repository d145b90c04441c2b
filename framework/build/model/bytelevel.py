"""A tokenizer whose tokens are bytes, for models that begin at random: nothing to download or to learn."""

from typing import Any

PAD = "<|pad|>"


def byte_tokenizer(*special: str, surround: bool = False, **options: Any) -> Any:
    """Return a tokenizer of 256 bytes, the padding token and the *special* ones, in this order.

    Args:
        special: further tokens that stand for themselves.
        surround: put the first of them before every text and the second behind it, as encoders have it.
        options: what ``PreTrainedTokenizerFast`` takes, such as ``eos_token``.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={symbol: i for i, symbol in enumerate(alphabet)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([AddedToken(token, special=True) for token in (PAD, *special)])
    if surround:
        before, behind = special[:2]
        inner.post_processor = processors.TemplateProcessing(
            single=f"{before} $A {behind}",
            special_tokens=[(token, inner.token_to_id(token)) for token in (before, behind)],
        )
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=PAD, **options)
