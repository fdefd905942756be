"""Compares accelerated models with transformers' own code: all classes, on 200 random configs."""

import copy
import io
import pickle
import threading
import unittest

import torch
from torch import nn

from accelerated import HEADS, AcceleratedTest, random_inputs, random_model, tensors_of, w2vbert

CONFIGS = 200


class AcceleratedModels(AcceleratedTest):
    def test_every_class_gives_the_states_of_transformers(self):
        for seed in range(CONFIGS):
            head = HEADS[seed % len(HEADS)]
            model = random_model(seed, head)
            inputs = random_inputs(seed, output_hidden_states=seed % 3 != 0)
            message = f"{seed} {head} {model.config.to_diff_dict()}"
            with torch.inference_mode():
                expected = model(**inputs)
                self.assertIs(w2vbert.accelerate(model), model)
                for _ in range(2):  # before the weights are packed, and after it
                    self.assert_same(model(**inputs), expected, message=message)
            self.assert_on_engine(model, 2)

    def test_narrow_types_stay_near(self):
        # Largest difference measured: bfloat16 0.04, float16 0.003, int8 0.09.
        for dtype, tolerance in (("bfloat16", 0.2), (torch.float16, 0.02), ("int8", 0.4)):
            model, inputs = random_model(3, hidden_size=64, num_attention_heads=4, add_adapter=False), random_inputs(3)
            with torch.inference_mode():
                expected = model(**inputs)
                try:
                    w2vbert.accelerate(model, dtype=dtype)
                except ValueError as error:
                    self.assertIn("AVX512_VNNI", str(error))  # a processor without int8
                    continue
                actual = model(**inputs)
            self.assert_same(actual, expected, tolerance, str(dtype))
            self.assertFalse(torch.equal(actual.last_hidden_state, expected.last_hidden_state))

    def test_models_of_narrow_types_keep_them(self):
        for dtype in (torch.bfloat16, torch.float16):
            model = random_model(4, add_adapter=True)
            inputs = random_inputs(4, output_hidden_states=True)
            with torch.inference_mode():
                wide = model(**inputs)
                model.to(dtype)
                inputs["input_features"] = inputs["input_features"].to(dtype)
                narrow = model(**inputs)
                actual = w2vbert.accelerate(model)(**inputs)
            for (name, value), (_, own), (_, exact) in zip(tensors_of(actual), tensors_of(narrow), tensors_of(wide),
                                                           strict=True):
                self.assertEqual(value.dtype, own.dtype, name)
                error, own_error = ((one.float() - exact).abs().mean() for one in (value, own))
                self.assertLessEqual(error, 1.5 * own_error + 1e-6, name)
            self.assert_on_engine(model)

    def test_chosen_hidden_states_and_tuples(self):
        model, inputs = random_model(5, num_hidden_layers=3), random_inputs(5)
        with torch.inference_mode():
            for settings in ({"output_hidden_states": [1]}, {"output_hidden_states": [-1, 0]},
                             {"output_hidden_states": True, "return_dict": False}, {"return_dict": False}):
                w2vbert.restore(model)
                expected = model(**inputs, **settings)
                actual = w2vbert.accelerate(model)(**inputs, **settings)
                if isinstance(expected, tuple):
                    self.assertIsInstance(actual, tuple)
                    self.assertEqual(len(actual), len(expected))
                    torch.testing.assert_close(actual, expected, rtol=0, atol=2e-5)
                else:
                    self.assert_same(actual, expected, message=str(settings))
                    self.assertEqual([state is None for state in actual.hidden_states],
                                     [state is None for state in expected.hidden_states])
        self.assert_on_engine(model)

    def test_autocast_keeps_its_types(self):
        model, inputs = random_model(6, add_adapter=False), random_inputs(6)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            expected = model(**inputs)
            self.assert_same(w2vbert.accelerate(model)(**inputs), expected, 0.2)
        self.assert_on_engine(model)

    def test_masks_with_holes(self):
        model, inputs = random_model(7, add_adapter=False), random_inputs(7, batch=3)
        inputs["attention_mask"] = (torch.rand(inputs["attention_mask"].shape) < 0.6).long()
        inputs["attention_mask"][:, 5] = 1
        with torch.inference_mode():
            expected = model(**inputs)
            self.assert_same(w2vbert.accelerate(model)(**inputs), expected)
            inputs["attention_mask"] *= 3  # true, to HuggingFace's encoder
            self.assert_same(model(**inputs), expected)
        self.assert_on_engine(model)

    def test_threads_at_once(self):
        model = w2vbert.accelerate(random_model(8, num_hidden_layers=3, add_adapter=True))
        plain = copy.deepcopy(model)
        cases = [random_inputs(seed, output_hidden_states=seed % 2 == 0) for seed in range(4)]
        with torch.inference_mode():
            expected = [plain(**inputs) for inputs in cases]
        failures = []

        def work(number):
            try:
                with torch.inference_mode():
                    for _ in range(25):
                        self.assert_same(model(**cases[number]), expected[number])
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.assert_on_engine(model, 100)
        self.assertEqual([part.packings for part in w2vbert.explain(model).parts], [1, 1])


class Fallbacks(AcceleratedTest):
    def test_attentions(self):
        model, inputs = random_model(10, add_adapter=True), random_inputs(10, output_attentions=True)
        model.set_attn_implementation("eager")
        with torch.inference_mode():
            expected = model(**inputs)
            w2vbert.accelerate(model)
            actual = self.assert_falls_back(lambda: model(**inputs), "output_attentions")
            self.assert_same(actual, expected, message="attentions")
            self.assertEqual(len(actual.attentions), model.config.num_hidden_layers)
            model(**inputs)  # without another warning
            del inputs["output_attentions"]
            model(**inputs)
        encoder = w2vbert.explain(model).parts[0]
        self.assertEqual(list(encoder.fallback_calls.values()), [2])
        self.assertEqual(encoder.engine_calls, 1)

    def test_training_and_gradients(self):
        model, inputs = w2vbert.accelerate(random_model(11, "Wav2Vec2BertForCTC", add_adapter=True)), random_inputs(11)
        plain = copy.deepcopy(model)
        inputs["labels"] = torch.randint(1, 11, (inputs["input_features"].shape[0], 3))
        self.assert_falls_back(lambda: model(**inputs).loss.backward(), "gradients are recorded")
        plain(**inputs).loss.backward()
        for (name, own), other in zip(model.named_parameters(), plain.parameters(), strict=True):
            self.assertTrue(own.grad is None and other.grad is None or torch.equal(own.grad, other.grad), name)
        model.train()
        self.assertIn("training", w2vbert.explain(model).parts[0].reason)
        with torch.no_grad():
            self.assert_falls_back(lambda: model(**inputs), "training mode")
        model.eval().requires_grad_(False)
        plain.requires_grad_(False)
        self.assert_same(model(**inputs), plain(**inputs))  # nothing to record

    def test_frozen_features_with_trained_layers(self):
        model, inputs = w2vbert.accelerate(random_model(12)), random_inputs(12)
        model.feature_projection.requires_grad_(False)
        output = self.assert_falls_back(lambda: model(**inputs), "gradients of the weights are recorded")
        self.assertTrue(output.last_hidden_state.requires_grad)

    def test_what_the_engine_cannot_run(self):
        for settings, words in (({"position_embeddings_type": "rotary"}, "rotary"),
                                ({"position_embeddings_type": "relative"}, "relative"),
                                ({"hidden_act": "gelu"}, "gelu")):
            model, inputs = random_model(13, add_adapter=False, **settings), random_inputs(13)
            with torch.inference_mode():
                expected = model(**inputs)
                w2vbert.accelerate(model)
                self.assertIn(words, str(w2vbert.explain(model)))
                actual = self.assert_falls_back(lambda: model(**inputs), words)  # noqa: B023
            self.assert_same(actual, expected, 0)

    def test_foreign_modules_and_hooks(self):
        class Twice(nn.Linear):
            def forward(self, x):
                return 2 * super().forward(x)

        def swap(model):
            layer = model.encoder.layers[0].ffn1
            twice = Twice(*reversed(layer.output_dense.weight.shape))
            twice.load_state_dict(layer.output_dense.state_dict())
            layer.output_dense = twice

        def patch(model):
            linear = model.encoder.layers[0].self_attn.linear_out
            original = linear.forward
            linear.forward = lambda x: 3 * original(x)

        for change, words in (
                (swap, "is a Twice"), (patch, "a forward of its own"),
                (lambda model: model.encoder.layers[-1].register_forward_hook(lambda *_: None), "a forward hook"),
                (lambda model: model.encoder.layers[0].ffn2.register_forward_pre_hook(lambda *_: None),
                 "a forward hook"),
                (lambda model: nn.utils.parametrizations.weight_norm(model.encoder.layers[0].self_attn.linear_q),
                 "linear_q"),
                (lambda model: model.encoder.layers[0].train(), "training mode")):
            model, inputs = random_model(14, add_adapter=False), random_inputs(14, output_hidden_states=True)
            with torch.inference_mode():
                w2vbert.accelerate(model)(**inputs)
            change(model)
            with torch.inference_mode():
                torch.manual_seed(0)  # of dropout
                expected = copy.deepcopy(model)(**inputs)
                torch.manual_seed(0)
                actual = self.assert_falls_back(lambda: model(**inputs), words)  # noqa: B023
            self.assert_same(actual, expected, 0, words)

    def test_hooks_on_all_modules(self):
        model, inputs = w2vbert.accelerate(random_model(15, add_adapter=False)), random_inputs(15)
        seen = []
        hook = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module)))
        try:
            with torch.inference_mode():
                self.assert_falls_back(lambda: model(**inputs), "hooks on all modules")
        finally:
            hook.remove()
        self.assertIn(type(model.encoder.layers[0]), seen)

    def test_float64_and_other_devices(self):
        model = w2vbert.accelerate(random_model(16, add_adapter=False))
        inputs = random_inputs(16)
        model.double()
        inputs["input_features"] = inputs["input_features"].double()
        with torch.inference_mode():
            expected = copy.deepcopy(model)(**inputs)
            self.assert_same(self.assert_falls_back(lambda: model(**inputs), "float64"), expected, 0)
            model.float().to("meta")
            features = inputs["input_features"].float().to("meta")
            self.assert_falls_back(lambda: model(features), "meta")


class Copies(AcceleratedTest):
    def test_copies_and_pickles_are_plain(self):
        model, inputs = random_model(20, "Wav2Vec2BertForCTC", add_adapter=True), random_inputs(20)
        names = [type(module) for module in model.modules()]
        with torch.inference_mode():
            expected = model(**inputs)
            w2vbert.accelerate(model)
            model(**inputs)
            stream = io.BytesIO()
            torch.save(model, stream)
            stream.seek(0)
            copies = {"deepcopy": copy.deepcopy(model), "pickle": pickle.loads(pickle.dumps(model)),
                      "torch.save": torch.load(stream, weights_only=False)}
            for how, plain in copies.items():
                self.assertEqual([type(module) for module in plain.modules()], names, how)
                self.assertEqual(w2vbert.explain(plain).parts, (), how)
                self.assert_same(plain(**inputs), expected, 0, how)
                self.assert_same(w2vbert.accelerate(plain)(**inputs), expected, message=how)
        self.assertNotIn(b"w2vbert._", pickle.dumps(model))

    def test_saved_models_load_in_transformers(self):
        import tempfile

        model, inputs = random_model(21, "Wav2Vec2BertForSequenceClassification"), random_inputs(21)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        with torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
            expected = model(**inputs)
            w2vbert.accelerate(model)(**inputs)
            self.assertEqual(list(model.state_dict()), list(state))
            model.save_pretrained(folder)
            loaded = type(model).from_pretrained(folder, attn_implementation=model.config._attn_implementation)
            self.assert_same(loaded(**inputs), expected, 0)

    def test_twice_and_back(self):
        model, inputs = random_model(22, add_adapter=True), random_inputs(22)
        keys = {name: set(vars(module)) for name, module in model.named_modules()}
        classes = [type(module) for module in model.modules()]
        with torch.inference_mode():
            expected = model(**inputs)
            w2vbert.accelerate(model, dtype="bfloat16")
            w2vbert.accelerate(model)
            self.assert_same(model(**inputs), expected)
            self.assertEqual([part.dtype for part in w2vbert.explain(model).parts], ["float32", "float32"])
            self.assertIs(w2vbert.restore(model), model)
            self.assert_same(model(**inputs), expected, 0)
            w2vbert.restore(model)
        self.assertEqual([type(module) for module in model.modules()], classes)
        self.assertEqual({name: set(vars(module)) for name, module in model.named_modules()}, keys)
        self.assertIn("nothing is accelerated", str(w2vbert.explain(model)))

    def test_wrong_requests(self):
        for model in (nn.Linear(2, 2), object(), {"model": 3}):
            with self.assertRaisesRegex(ValueError, "no Wav2Vec2BertModel"):
                w2vbert.accelerate(model)
        with self.assertRaisesRegex(ValueError, "dtype: \"float31\", expected one of float32"):
            w2vbert.accelerate(random_model(23), dtype="float31")


if __name__ == "__main__":
    unittest.main(verbosity=2)
