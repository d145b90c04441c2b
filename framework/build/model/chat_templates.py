"""Chat templates by name, for base models, whose tokenizers have none."""

from typing import Any

TEMPLATES = {
    "chatml": (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
        "{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "alpaca": (
        "{% for message in messages %}{% if message['role'] == 'assistant' %}### Response:\n"
        "{{ message['content'] }}{{ eos_token }}\n\n{% elif message['role'] == 'user' %}### Instruction:\n"
        "{{ message['content'] }}\n\n{% else %}{{ message['content'] }}\n\n{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}### Response:\n{% endif %}"
    ),
}
"""ChatML's turns and Alpaca's headings. An answer ends with the tokenizer's end of sequence: a base model has
learned no other, and need not have ``<|im_end|>`` in its vocabulary."""


def named_template(name: str, tokenizer: Any) -> str:
    """Return the template *name*, which begins as every text of *tokenizer* does.

    Args:
        name: a key of ``TEMPLATES``.
        tokenizer: the model's; its first token is written where it begins each text with one.
    """
    first = tokenizer.bos_token_id
    begins = first is not None and tokenizer("1")["input_ids"][:1] == [first]
    return ("{{ bos_token }}" if begins else "") + TEMPLATES[name]
