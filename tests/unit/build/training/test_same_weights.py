import pytest
import torch

from framework.build.training.same_weights import checksums, difference


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_any_flipped_bit_changes_the_checksum(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    module = torch.nn.Linear(5, 3, dtype=dtype)
    before = checksums(module)
    bits = module.weight.data.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize])
    for bit in range(8 * dtype.itemsize - 1):
        bits[1, 2] ^= 1 << bit
        after = checksums(module)
        assert after["weight"] != before["weight"]
        assert after["bias"] == before["bias"]
        bits[1, 2] ^= 1 << bit
    assert checksums(module) == before


def test_frozen_weights_have_no_checksum() -> None:
    module = torch.nn.Linear(2, 2)
    module.weight.requires_grad_(False)
    assert list(checksums(module)) == ["bias"]
    assert checksums(module.requires_grad_(False)) == {}


def test_rank_that_differs_is_named() -> None:
    same, other, third = {"a": (1, 1), "b": (2, 2)}, {"a": (1, 1), "b": (3, 3)}, {"a": (1, 1), "b": (4, 4)}
    assert difference([same, same]) == ""
    assert difference([same, other, same]) == "rank 1 has a different 'b' than the other 2"
    assert (
        difference([same, other, same, third, same]) == "ranks 1 and 3 have a different 'b' than the other 3"
    )
    assert difference([same, same, other, other]) == "ranks 0, 1, 2 and 3 have different values of 'b'"
    assert difference([same, {"c": (9, 9)}, {"c": (9, 9)}, same]) == ""  # stages with different layers
