"""What a page of `w2vbert view` holds, and small models of each class to make pages with."""

import base64
import io
import json
import re

import numpy
import soundfile
import torch
import transformers
from transformers.utils import logging

from random_parameters import let_tokens_take_turns, widen

SMALL = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64,
         "classifier_proj_size": 24, "tdnn_dim": [40, 40, 40, 40, 96], "xvector_output_dim": 24}
# A label and a token that would run if they were taken for markup.
EVIL = "</script><script>hacked = 1</script>"
LABELS = {"id2label": {0: "calm", 1: EVIL, 2: "ärgerlich"}, "label2id": {"calm": 0, EVIL: 1, "ärgerlich": 2}}
CLASSES = {
    "encoder": ("Wav2Vec2BertModel", {}),
    "ctc": ("Wav2Vec2BertForCTC", {}),
    "adapter": ("Wav2Vec2BertForCTC", {"add_adapter": True, "output_hidden_size": 48}),
    "classifier": ("Wav2Vec2BertForSequenceClassification", LABELS),
    "segmenter": ("Wav2Vec2BertForAudioFrameClassification", LABELS),
    "sigmoid": ("Wav2Vec2BertForAudioFrameClassification",
                {**LABELS, "problem_type": "multi_label_classification", "use_weighted_layer_sum": True}),
    "many": ("Wav2Vec2BertForAudioFrameClassification", {"num_labels": 40}),
    "speaker": ("Wav2Vec2BertForXVector", {}),
}


def save_model(name, folder):
    """One of CLASSES in `folder`, which is made."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    torch.manual_seed(0)
    folder.mkdir(parents=True)
    class_name, settings = CLASSES[name]
    if class_name == "Wav2Vec2BertForCTC":
        tokens = ["[PAD]", "[UNK]", "|", *"abcdef", EVIL]
        vocabulary = folder / "vocab.json"
        vocabulary.write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
        tokenizer = transformers.Wav2Vec2CTCTokenizer(str(vocabulary), unk_token="[UNK]", pad_token="[PAD]")
        tokenizer.save_pretrained(folder)
        settings = {**settings, "vocab_size": len(tokenizer), "pad_token_id": 0}
    model = getattr(transformers, class_name)(transformers.Wav2Vec2BertConfig(**SMALL, **settings))
    widen(model).eval()
    if class_name == "Wav2Vec2BertForCTC":
        let_tokens_take_turns(model)
    elif class_name == "Wav2Vec2BertForAudioFrameClassification":
        model.classifier.weight.data.normal_()
    model.save_pretrained(folder)
    transformers.SeamlessM4TFeatureExtractor(padding_value=1.0).save_pretrained(folder)
    return model


def values_of(grid):
    """(rows, columns), and how far each row's may be off by what a byte holds."""
    codes = numpy.frombuffer(base64.b64decode(grid["codes"]), numpy.uint8).reshape(grid["rows"], grid["columns"])
    lows, highs = numpy.array(grid["lows"])[:, None], numpy.array(grid["highs"])[:, None]
    values = lows + codes / 254 * (highs - lows)
    return numpy.where(codes == 255, numpy.nan, values), (highs - lows) / 254 / 2


class ViewPage:
    def __init__(self, path):
        self.text = path.read_text()
        self.scripts = re.findall(r"<script[^>]*>(.*?)</script>", self.text, re.DOTALL)
        self.data = json.loads(self.scripts[0])
        self.facts = dict(self.data["facts"])

    def grid(self, name):
        return values_of(self.data[name])

    def audio(self):
        """Its samples (S) int16 and their rate, or None."""
        if not self.scripts[1]:
            return None
        return soundfile.read(io.BytesIO(base64.b64decode(self.scripts[1])), dtype="int16")
