"""Encoders with random weights, as folders that the engines torch and onnxruntime open."""

import shutil
from pathlib import Path

from model_graphs import classifier_graph


def write_bert(folder: Path) -> Path:
    """Write a three-class BERT with its tokenizer and ``model.onnx`` into *folder*."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    pieces = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=100, special_tokens=special)
    pieces.train_from_iterator(["a good film, a bad film, a fine film"], trainer)
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=pieces, pad_token="[PAD]").save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32,
        id2label={0: "negative", 1: "neutral", 2: "positive"},
        label2id={"negative": 0, "neutral": 1, "positive": 2},
        initializer_range=0.5,
    )
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    classifier_graph(model).save(folder / "model.onnx")
    return folder


def write_embedding(folder: Path) -> Path:
    """Write a text-embedding BERT with its tokenizer and the exported ``model.onnx`` into *folder*."""
    import torch
    from transformers import BertConfig, BertModel

    from framework.build.export.onnx import Onnx
    from framework.build.model.bytelevel import byte_tokenizer

    exported = folder / "exported"
    exported.mkdir()
    tokenizer = byte_tokenizer("[CLS]", "[SEP]", surround=True)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Onnx().write(folder, exported)
    (exported / "model.onnx").rename(folder / "model.onnx")
    shutil.rmtree(exported)
    return folder
