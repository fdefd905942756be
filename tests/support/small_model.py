"""A small seeded model directory, as transformers saves it."""

import torch
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2BertConfig, Wav2Vec2BertModel
from transformers.utils import logging

from random_parameters import widen


def save_small_model(folder, **sizes):
    """The model (in eval mode) and its feature extractor, which are then in `folder`."""
    logging.disable_progress_bar()
    torch.manual_seed(0)
    config = Wav2Vec2BertConfig(**{"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                                   "intermediate_size": 32, **sizes})
    model, extractor = widen(Wav2Vec2BertModel(config)).eval(), SeamlessM4TFeatureExtractor()
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model, extractor
