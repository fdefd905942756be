"""What the tests of the accelerated models share."""

import pathlib
import random
import sys
import unittest
import warnings

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests" / "support")]
from absent_packages import skip_where_absent  # noqa: E402

try:
    import torch
    import transformers
    from transformers import Wav2Vec2BertConfig
    from transformers.utils import logging
except ImportError as absent:
    skip_where_absent(absent)
import w2vbert  # noqa: E402
from pytorch_setup import prepare_pytorch  # noqa: E402
from random_parameters import widen  # noqa: E402

HEADS = ("Wav2Vec2BertModel", "Wav2Vec2BertForCTC", "Wav2Vec2BertForSequenceClassification",
         "Wav2Vec2BertForAudioFrameClassification", "Wav2Vec2BertForXVector")
# Largest difference of a state in float32; 5e-6 was the largest measured on 200 configs.
TOLERANCE = 2e-5


def random_config(seed, **settings):
    """One that the engine runs."""
    draw = random.Random(seed)
    heads, head_size = draw.choice([1, 2, 3, 4]), draw.choice([4, 8, 12, 16, 20])
    values = {
        "hidden_size": heads * head_size, "num_attention_heads": heads, "num_hidden_layers": draw.choice([1, 2, 3]),
        "intermediate_size": draw.choice([8, 24, 70]), "hidden_act": draw.choice(["swish", "silu"]),
        "conv_depthwise_kernel_size": draw.choice([1, 3, 7, 31]),
        "position_embeddings_type": draw.choice(["relative_key", "relative_key", None]),
        "left_max_position_embeddings": draw.choice([0, 3, 64]),
        "right_max_position_embeddings": draw.choice([0, 2, 8]),
        "layer_norm_eps": draw.choice([1e-5, 1e-3]), "vocab_size": 11, "num_labels": 3, "classifier_proj_size": 6,
        "tdnn_dim": (7, 5), "tdnn_kernel": (3, 1), "tdnn_dilation": (2, 1), "xvector_output_dim": 4,
        "use_weighted_layer_sum": draw.random() < 0.3, "add_adapter": draw.random() < 0.5,
        "num_adapter_layers": draw.choice([1, 2]), "adapter_kernel_size": draw.choice([2, 3]),
        "adapter_stride": draw.choice([1, 2, 3]), "adapter_act": draw.choice(["relu", "gelu"]),
        "use_intermediate_ffn_before_adapter": draw.random() < 0.3,
    }
    if values["add_adapter"] and draw.random() < 0.5:
        values["output_hidden_size"] = heads * draw.choice([4, 8])
    if values["add_adapter"]:  # the states have two widths, which no mean can be made of
        values["use_weighted_layer_sum"] = False
    values.update(settings)
    values["use_intermediate_ffn_before_adapter"] &= values["add_adapter"]
    return Wav2Vec2BertConfig(attn_implementation=draw.choice(["sdpa", "eager"]), **values)


def random_model(seed, head="Wav2Vec2BertModel", **settings):
    torch.manual_seed(seed)
    if head not in HEADS[:2]:  # which transformers refuses
        settings["add_adapter"] = False
    return widen(getattr(transformers, head)(random_config(seed, **settings))).eval()


def random_inputs(seed, batch=None, **settings):
    """Clips of several lengths with their mask, or without one."""
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    batch = batch or draw.choice([1, 2, 3])
    frames = draw.randint(24, 90)
    inputs = {"input_features": torch.randn(batch, frames, 160, generator=generator)}
    if batch > 1 or draw.random() < 0.5:
        lengths = torch.tensor([frames, *(draw.randint(20, frames) for _ in range(batch - 1))])
        inputs["attention_mask"] = (torch.arange(frames) < lengths[:, None]).to(
            draw.choice([torch.int64, torch.int32, torch.bool]))
    return {**inputs, **settings}


def tensors_of(output):
    """Every tensor of a model's output under its name."""
    for name, value in output.items():
        if isinstance(value, torch.Tensor):
            yield name, value
        else:
            for index, one in enumerate(value):
                if one is not None:
                    yield f"{name}.{index}", one


class AcceleratedTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        logging.disable_progress_bar()
        logging.set_verbosity_error()
        prepare_pytorch()
        torch.set_num_threads(2)

    def setUp(self):
        catching = warnings.catch_warnings()
        catching.__enter__()
        self.addCleanup(catching.__exit__, None, None, None)
        warnings.simplefilter("error", w2vbert.FallbackWarning)

    def assert_same(self, actual, expected, tolerance=TOLERANCE, message=""):
        self.assertIs(type(actual), type(expected), message)
        if isinstance(expected, tuple):
            actual, expected = (dict(enumerate(output)) for output in (actual, expected))
        actual, expected = dict(tensors_of(actual)), dict(tensors_of(expected))
        self.assertEqual(list(actual), list(expected), message)
        for name, value in expected.items():
            self.assertEqual(actual[name].shape, value.shape, f"{message} {name}")
            self.assertEqual(actual[name].dtype, value.dtype, f"{message} {name}")
            difference = (actual[name].double() - value.double()).abs().max().item()
            self.assertLessEqual(difference, tolerance, f"{message} {name}")

    def assert_on_engine(self, model, calls=None):
        """All of its calls so far ran there, and so many of each part."""
        explanation = w2vbert.explain(model)
        self.assertTrue(explanation.parts)
        for part in explanation.parts:
            self.assertIsNone(part.reason, part)
            self.assertEqual(part.fallback_calls, {}, part)
            self.assertGreater(part.engine_calls, 0, part)
            if calls is not None:
                self.assertEqual(part.engine_calls, calls, part)

    def assert_falls_back(self, call, words):
        """With a warning of these words for each part; what the call gives."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", w2vbert.FallbackWarning)
            result = call()
        texts = [str(warning.message) for warning in caught if warning.category is w2vbert.FallbackWarning]
        self.assertGreater(len(texts), 0)
        for text in texts:
            self.assertRegex(text, words)
        return result
