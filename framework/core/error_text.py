"""Short text for an exception that a library raised."""


def first_line(error: BaseException) -> str:
    r"""Return the first line of the error's message, or its type's name where the message is empty.

    >>> first_line(ValueError("not a model\nsee the documentation")), first_line(KeyError())
    ('not a model', 'KeyError')
    """
    return str(error).strip().partition("\n")[0] or type(error).__name__
