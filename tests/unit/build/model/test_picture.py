"""Images of rows: which file, which pixels, and which are rejected."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from framework.build.data.files import Files
from framework.build.model.picture import read_picture
from framework.build.model.tiny_vilt import TinyImageText
from framework.build.task.image_text_classification import pixels
from framework.build.training.batches import read_examples
from framework.core.errors import DataError

MODEL = TinyImageText(name="t", license="x", parameters=1e5, labels=("a", "b"), image_size=8)


def test_image_is_scaled_with_channels_first(tmp_path: Path) -> None:
    picture = Image.new("RGBA", (4, 4), (255, 0, 0, 255))
    picture.save(tmp_path / "red.png")
    flat = read_picture(str(tmp_path / "red.png"), 8)
    assert (flat.dtype, flat.shape) == (np.uint8, (192,))
    (found,) = pixels([(torch.tensor([1]), torch.tensor([0]), torch.from_numpy(flat.copy()))])
    assert found.shape == (3, 8, 8)
    assert found[0].unique().tolist() == [1.0]
    assert found[1:].unique().tolist() == [-1.0]


def test_invalid_image_is_reported(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(DataError, match="the image cannot be read: cannot identify image file"):
        read_picture(str(tmp_path / "broken.png"), 8)


def rows(folder: Path, *images: str) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [
        json.dumps({"text": f"t{place}", "label": "b", "image": name}) for place, name in enumerate(images)
    ]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return folder


def prepare(run: Callable[..., Path], tmp_path: Path, train: Path, test: Path) -> Path:
    MODEL.materialize(tmp_path / "model", seed=0)
    data = Files(train=str(train), test=str(test), max_length=32, max_rejected=1.0)
    return run(data, MODEL, tmp_path / "model", tmp_path / "out")


def test_every_row_keeps_its_own_image_and_others_are_refused(
    prepare_rows: Callable[..., Path], tmp_path: Path
) -> None:
    folder = rows(tmp_path / "train", "1.png", "no.png", "../outside.png", "sub/2.png")
    (folder / "sub").mkdir()
    Image.new("L", (8, 8), 10).save(folder / "1.png")
    Image.new("L", (8, 8), 20).save(folder / "sub" / "2.png")
    Image.new("L", (8, 8), 30).save(tmp_path / "outside.png")
    tested = rows(tmp_path / "test", "3.png", "../train/1.png")
    Image.new("L", (8, 8), 40).save(tested / "3.png")
    output = prepare(prepare_rows, tmp_path, folder, tested)
    refused = (output / "rejected.jsonl").read_text()
    assert refused.count("is not a file below the folder of its rows") == 3
    found = read_examples(output / "train")
    assert [part[2].unique().tolist() for part in found] == [[10], [20]]
    kept = [json.loads(line)["image"] for line in (output / "train" / "00000.jsonl").read_text().splitlines()]
    assert kept == ["1.png", "sub/2.png"]  # no path of this machine


def test_images_beside_a_single_file_would_change_unseen(
    prepare_rows: Callable[..., Path], tmp_path: Path
) -> None:
    folder = rows(tmp_path / "rows", "1.png")
    Image.new("L", (8, 8), 10).save(folder / "1.png")
    with pytest.raises(DataError, match=r"set data.train \(and data.test\) to the folder"):
        prepare(
            prepare_rows, tmp_path, folder / "rows.jsonl", rows(tmp_path / "test", "1.png") / "rows.jsonl"
        )
