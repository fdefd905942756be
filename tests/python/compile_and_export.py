"""Accelerated models under torch.compile, torch.export and torch.jit.trace."""

import copy
import unittest

import torch

from accelerated import AcceleratedTest, random_inputs, random_model, w2vbert


class Compiled(AcceleratedTest):
    def setUp(self):
        super().setUp()
        torch.compiler.reset()

    def test_the_whole_without_a_break(self):
        for head in ("Wav2Vec2BertModel", "Wav2Vec2BertForCTC"):
            for hidden_states in (False, True):
                model = w2vbert.accelerate(random_model(40, head, add_adapter=True))
                plain = copy.deepcopy(model)
                compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
                with torch.inference_mode():
                    if hidden_states:  # transformers installs its hooks, which it cannot while it is traced
                        model(**random_inputs(40, output_hidden_states=True))
                    for seed in (40, 41, 42):  # of other lengths
                        inputs = random_inputs(seed, batch=2, output_hidden_states=hidden_states)
                        self.assert_same(compiled(**inputs), plain(**inputs))
                self.assert_on_engine(model, 3 + hidden_states)

    def test_inductor(self):
        model = w2vbert.accelerate(random_model(43, add_adapter=False, num_hidden_layers=1))
        plain, inputs = copy.deepcopy(model), random_inputs(43, batch=2)
        compiled = torch.compile(model, fullgraph=True)
        with torch.no_grad():
            self.assert_same(compiled(**inputs), plain(**inputs))
        self.assert_on_engine(model, 1)

    def test_accelerated_after_it_was_compiled(self):
        model, inputs = random_model(44, add_adapter=False), random_inputs(44)
        compiled = torch.compile(model, backend="aot_eager")
        with torch.inference_mode():
            expected = compiled(**inputs)
            w2vbert.accelerate(compiled)
            self.assert_same(compiled(**inputs), expected)
            self.assert_on_engine(model, 1)
            w2vbert.restore(compiled)
            self.assert_same(compiled(**inputs), expected)

    def test_changed_weights(self):
        model, inputs = w2vbert.accelerate(random_model(45, add_adapter=True)), random_inputs(45)
        compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
        with torch.inference_mode():
            compiled(**inputs)
        with torch.no_grad():
            for change in (lambda: model.encoder.layers[0].ffn1.output_dense.weight.mul_(1.5),
                           lambda: model.encoder.layers[0].ffn1.output_dense.weight.data.mul_(1.5),
                           lambda: model.load_state_dict({name: 0.9 * value
                                                          for name, value in model.state_dict().items()})):
                change()
                with torch.inference_mode():
                    expected = copy.deepcopy(model)(**inputs)
                    self.assert_same(compiled(**inputs), expected)
        self.assert_on_engine(model, 4)

    def test_gradients_and_training(self):
        model, inputs = w2vbert.accelerate(random_model(46, add_adapter=False)), random_inputs(46, batch=2)
        plain = copy.deepcopy(model)
        compiled = torch.compile(model, backend="aot_eager")
        output = self.assert_falls_back(lambda: compiled(**inputs), "gradients are recorded")
        output.last_hidden_state.square().sum().backward()
        plain(**inputs).last_hidden_state.square().sum().backward()
        for (name, own), other in zip(model.named_parameters(), plain.parameters(), strict=True):
            if other.grad is not None:
                torch.testing.assert_close(own.grad, other.grad, msg=name)
        with torch.inference_mode():
            self.assert_same(compiled(**inputs), plain(**inputs))
        self.assertEqual(w2vbert.explain(model).parts[0].engine_calls, 1)


class Exported(AcceleratedTest):
    def test_exported_programs_are_of_transformers_operations(self):
        for strict in (False, True):
            model = w2vbert.accelerate(random_model(47, add_adapter=False)).requires_grad_(False)
            plain, inputs = copy.deepcopy(model), random_inputs(47, batch=2)
            mask = inputs["attention_mask"]
            with torch.no_grad():
                program = self.assert_falls_back(
                    lambda: torch.export.export(model, (inputs["input_features"], mask), strict=strict),  # noqa: B023
                    "torch.export")
                self.assertFalse("w2vbert." in str(program.graph))
                torch.testing.assert_close(program.module()(inputs["input_features"], mask).last_hidden_state,
                                           plain(**inputs).last_hidden_state)

    def test_traced_programs_too(self):
        model = w2vbert.accelerate(random_model(48, add_adapter=False)).requires_grad_(False)
        features = random_inputs(48)["input_features"]
        model.config.return_dict = False
        with torch.no_grad():
            traced = self.assert_falls_back(lambda: torch.jit.trace(model, features), "torch.jit")
            self.assertFalse("w2vbert::" in str(traced.inlined_graph))
            torch.testing.assert_close(traced(features)[0], copy.deepcopy(model)(features)[0])

    def test_the_operators_are_well_made(self):
        model = w2vbert.accelerate(random_model(49, add_adapter=True))
        states = torch.randn(2, 30, model.config.hidden_size)
        mask = torch.ones(2, 30, dtype=torch.long)
        with torch.no_grad():
            encoder, adapter = (module.__dict__["_w2vbert_part"].handle for module in (model.encoder, model.adapter))
            tests = ("test_schema", "test_faketensor")
            for given in (mask, None):
                torch.library.opcheck(torch.ops.w2vbert.encoder.default, (encoder, states, given, 1), test_utils=tests)
                torch.library.opcheck(torch.ops.w2vbert.adapter.default, (adapter, states, given), test_utils=tests)


if __name__ == "__main__":
    unittest.main(verbosity=2)
