"""From recipes and overrides to one validated ``Config``: Hydra composes, pydantic validates."""
