"""Small seeded model directories, as transformers saves them."""

import json
import shutil

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForCTC,
    Wav2Vec2BertModel,
    Wav2Vec2CTCTokenizer,
)
from transformers.utils import logging

from random_parameters import widen

SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def save_small_model(folder, **sizes):
    """The model (in eval mode) and its feature extractor, which are then in `folder`."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = Wav2Vec2BertConfig(**{**SMALL, **sizes})
    model, extractor = widen(Wav2Vec2BertModel(config)).eval(), SeamlessM4TFeatureExtractor()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model, extractor


def copy_with_value(model, folder, name, index, value):
    """The directory `model` as `folder`, but for one value of the parameter `name`."""
    shutil.copytree(model, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors[name][index] = value
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def save_small_ctc_model(folder):
    """A Wav2Vec2BertForCTC with its tokenizer and feature extractor in `folder`, which is made."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    vocabulary = {token: index for index, token in enumerate(["[PAD]", "|", *"ABCDE"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), unk_token="[PAD]", pad_token="[PAD]")
    tokenizer.save_pretrained(folder)
    SeamlessM4TFeatureExtractor().save_pretrained(folder)
    model = widen(Wav2Vec2BertForCTC(Wav2Vec2BertConfig(**SMALL, vocab_size=len(tokenizer), pad_token_id=0))).eval()
    model.save_pretrained(folder)
