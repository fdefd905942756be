"""Code that knows nothing of this package, with one line before it: a pipeline of transformers, and objects that hold
the model as IndexTTS-2 does."""

import json
import pathlib
import tempfile
import unittest

import numpy as np
import torch
from transformers import (
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertProcessor,
    Wav2Vec2CTCTokenizer,
    pipeline,
)

from accelerated import AcceleratedTest, random_inputs, random_model, w2vbert
from random_parameters import let_tokens_take_turns

TOKENS = ["[PAD]", "|", *"ABCDEFGH'"]


class SemanticCodes:
    """HF's model as IndexTTS-2 (indextts/infer_v2.py) and MaskGCT hold and call it."""

    def __init__(self, model, mean, deviation):
        self.semantic_model = model
        self.mean, self.deviation = mean, deviation

    @torch.no_grad()
    def get_emb(self, input_features, attention_mask):
        vq_emb = self.semantic_model(input_features=input_features, attention_mask=attention_mask,
                                     output_hidden_states=True)
        return (vq_emb.hidden_states[2] - self.mean) / self.deviation


class UnchangedCode(AcceleratedTest):
    def save_ctc_model(self, folder):
        folder = pathlib.Path(folder)
        vocabulary = folder / "vocab.json"
        vocabulary.write_text(json.dumps({token: index for index, token in enumerate(TOKENS)}))
        tokenizer = Wav2Vec2CTCTokenizer(str(vocabulary), unk_token="[PAD]", pad_token="[PAD]")
        Wav2Vec2BertProcessor(SeamlessM4TFeatureExtractor(padding_value=1.0), tokenizer).save_pretrained(folder)
        model = random_model(50, "Wav2Vec2BertForCTC", vocab_size=len(tokenizer), pad_token_id=0, hidden_size=80,
                             num_attention_heads=5, num_hidden_layers=3, add_adapter=False)
        let_tokens_take_turns(model)
        model.save_pretrained(folder)

    def test_a_pipeline_of_speech_recognition(self):
        noise = np.random.default_rng(0)
        clips = [(0.1 * noise.standard_normal(16000 * seconds)).astype(np.float32) for seconds in (2, 5, 3)]
        with tempfile.TemporaryDirectory() as folder:
            self.save_ctc_model(folder)
            recognise = pipeline("automatic-speech-recognition", model=folder, device="cpu")
            runs = ({}, {"batch_size": 2}, {"chunk_length_s": 2}, {"return_timestamps": "char"})
            expected = [recognise([clip.copy() for clip in clips], **settings) for settings in runs]
            w2vbert.accelerate(recognise)
            actual = [recognise([clip.copy() for clip in clips], **settings) for settings in runs]
        self.assertTrue(all(one["text"] for one in expected[0]))
        self.assertEqual(actual, expected)
        self.assert_on_engine(recognise)

    def test_a_model_in_a_pipeline_before_it_is_made(self):
        clip = (0.1 * np.random.default_rng(1).standard_normal(32000)).astype(np.float32)
        with tempfile.TemporaryDirectory() as folder:
            self.save_ctc_model(folder)
            recognise = pipeline("automatic-speech-recognition", model=folder, device="cpu")
            expected = recognise(clip.copy())
            model = w2vbert.accelerate(recognise.model)
            again = pipeline("automatic-speech-recognition", model=model, tokenizer=recognise.tokenizer,
                             feature_extractor=recognise.feature_extractor, device="cpu")
            self.assertEqual(again(clip.copy()), expected)
        self.assert_on_engine(model)

    def test_an_object_that_holds_the_model(self):
        model = random_model(51, num_hidden_layers=3, add_adapter=False)
        width = model.config.hidden_size
        codes = SemanticCodes(model, torch.randn(width), torch.rand(width) + 0.5)
        inputs = random_inputs(51, batch=2)
        inputs.pop("output_hidden_states", None)
        expected = codes.get_emb(**inputs)
        self.assertIs(w2vbert.accelerate(codes), codes)
        torch.testing.assert_close(codes.get_emb(**inputs), expected, rtol=0, atol=8e-5)  # divided by 0.5 or more
        self.assert_on_engine(codes)
        self.assertEqual(w2vbert.explain(codes).parts[0].name, "semantic_model.encoder")
        w2vbert.restore(codes)
        self.assertTrue(torch.equal(codes.get_emb(**inputs), expected))

    def test_modules_around_modules(self):
        models = [random_model(seed, add_adapter=False) for seed in (52, 53)]
        whole = torch.nn.ModuleDict({"a": torch.nn.Sequential(models[0]), "b": models[1]})
        holder = {"models": [whole, models[0]]}
        with torch.inference_mode():
            expected = [model(**random_inputs(52)) for model in models]
            w2vbert.accelerate(holder)
            for model, output in zip(models, expected, strict=True):
                self.assert_same(model(**random_inputs(52)), output)
        self.assertEqual([part.name for part in w2vbert.explain(holder).parts],
                         ["models.0.a.0.encoder", "models.0.b.encoder"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
