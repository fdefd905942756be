"""Changes the weights of accelerated models in every way, and compares the next call with transformers' own code."""

import copy
import unittest

import torch
from torch import nn

from accelerated import AcceleratedTest, random_inputs, random_model, w2vbert

try:
    import peft
except ImportError:
    peft = None

SIZES = {"num_hidden_layers": 2, "add_adapter": True, "output_hidden_size": None}


class ChangedWeights(AcceleratedTest):
    def setUp(self):
        super().setUp()
        self.model = w2vbert.accelerate(random_model(30, **SIZES))
        self.inputs = random_inputs(30, output_hidden_states=True)
        self.forward()
        self.forward()  # the weights are packed

    def forward(self):
        with torch.inference_mode():
            return self.model(**self.inputs)

    def assert_changed(self, change, packings=None):
        """What the model gives after `change` is what transformers gives then, and not what it gave before."""
        before = self.forward()
        reports = w2vbert.explain(self.model).parts
        with torch.no_grad():
            change()
        plain = copy.deepcopy(self.model)
        with torch.inference_mode():
            expected = plain(**self.inputs)
        self.assertGreater((expected.last_hidden_state - before.last_hidden_state).abs().max().item(), 1e-3)
        for _ in range(3):
            self.assert_same(self.forward(), expected)
        for report, now in zip(reports, w2vbert.explain(self.model).parts, strict=True):
            self.assertEqual(now.fallback_calls, {})
            self.assertEqual(now.engine_calls, report.engine_calls + 3)
        if packings is not None:
            self.assertEqual([now.packings - report.packings for report, now in zip(
                reports, w2vbert.explain(self.model).parts, strict=True)], packings)

    def weight(self, name="encoder.layers.1.ffn1.intermediate_dense.weight"):
        return self.model.get_parameter(name)

    def test_load_state_dict(self):
        other = random_model(30, **SIZES)
        state = {name: value + 0.1 * torch.randn_like(value) for name, value in other.state_dict().items()}
        self.assert_changed(lambda: self.model.load_state_dict(state), [1, 1])
        state = {name: 0.5 * value for name, value in state.items()}
        self.assert_changed(lambda: self.model.load_state_dict(state, assign=True), [1, 1])

    def test_optimizer_steps(self):
        for make in (lambda parameters: torch.optim.SGD(parameters, lr=0.5),
                     lambda parameters: torch.optim.AdamW(parameters, lr=0.05),
                     lambda parameters: torch.optim.AdamW(parameters, lr=0.05, foreach=False)):
            def step(make=make):
                optimizer = make(self.model.parameters())
                self.model.train()
                with torch.enable_grad():
                    output = self.assert_falls_back(lambda: self.model(**self.inputs), "training mode")
                    output.last_hidden_state.square().mean().backward()
                optimizer.step()
                self.model.eval()

            with torch.no_grad():
                before = self.forward().last_hidden_state
                step()
                with torch.inference_mode():
                    expected = copy.deepcopy(self.model)(**self.inputs)
            self.assertGreater((expected.last_hidden_state - before).abs().max().item(), 1e-3)
            self.assert_same(self.forward(), expected)
            w2vbert.accelerate(self.model)  # its warnings come again

    def test_writes_in_place(self):
        self.assert_changed(lambda: self.weight().mul_(1.5), [1, 0])
        self.assert_changed(lambda: self.weight()[3:9].zero_())
        between = slice(1, self.weight().numel() // 31 - 1)  # of the values that are looked at
        self.assert_changed(lambda: self.weight().view(-1)[between].add_(1), [1, 0])
        self.assert_changed(lambda: self.weight("encoder.layers.0.ffn1_layer_norm.bias").add_(1))
        adapter = self.weight("adapter.layers.0.residual_conv.weight")
        self.assert_changed(lambda: nn.init.normal_(adapter, std=0.1), [0, 1])

    def test_writes_through_data(self):
        self.assert_changed(lambda: self.weight().data.mul_(1.5), [1, 0])
        self.assert_changed(lambda: self.weight().data.add_(torch.randn_like(self.weight())))
        self.assert_changed(lambda: self.weight().detach().numpy().__imul__(0.5))
        self.assert_changed(lambda: setattr(self.weight(), "data", torch.randn_like(self.weight())))

    def test_unseen_writes_after_repack(self):
        def write():
            between = slice(1, self.weight().numel() // 31 - 1)
            self.weight().data.view(-1)[between].add_(1)
            w2vbert.repack(self.model)

        self.assert_changed(write, [1, 1])

    def test_replaced_parameters_and_modules(self):
        layer = self.model.encoder.layers[0]

        def replace_parameter():
            layer.self_attn.linear_q.weight = nn.Parameter(torch.randn_like(layer.self_attn.linear_q.weight))

        def replace_module():
            old = layer.ffn2.output_dense
            layer.ffn2.output_dense = nn.Linear(old.in_features, old.out_features).eval()

        def tie():
            self.model.encoder.layers[1].ffn1.intermediate_dense.weight = layer.ffn1.intermediate_dense.weight

        self.assert_changed(replace_parameter, [1, 0])
        self.assert_changed(replace_module, [1, 0])
        self.assert_changed(tie, [1, 0])
        self.assert_changed(lambda: layer.ffn1.intermediate_dense.weight.mul_(2), [1, 0])

    def test_fewer_layers(self):
        def cut():
            self.model.encoder.layers = self.model.encoder.layers[:1]

        before = w2vbert.explain(self.model).parts[0]
        cut()
        with torch.inference_mode():
            expected = copy.deepcopy(self.model)(**self.inputs)
        self.assertEqual(len(expected.hidden_states), 2)
        self.assert_same(self.forward(), expected)
        self.assertEqual(w2vbert.explain(self.model).parts[0].packings, before.packings + 1)

    def test_other_types_and_back(self):
        narrow = {**self.inputs, "input_features": self.inputs["input_features"].bfloat16()}
        self.model.bfloat16()
        with torch.inference_mode():
            self.assertEqual(self.model(**narrow).last_hidden_state.dtype, torch.bfloat16)
        self.model.float()
        with torch.inference_mode():
            expected = copy.deepcopy(self.model)(**self.inputs)
        self.assert_same(self.forward(), expected)
        self.assert_on_engine(self.model)

    def test_another_attention(self):
        self.model = w2vbert.accelerate(random_model(33, add_adapter=False))
        self.inputs = random_inputs(33, batch=2)
        self.inputs["attention_mask"][0] = 0  # where the two differ: queries without a key
        outputs = []
        for name in ("eager", "sdpa", "eager"):
            self.model.set_attn_implementation(name)
            with torch.inference_mode():
                expected = copy.deepcopy(self.model)(**self.inputs)
            outputs.append(self.forward())
            self.assert_same(outputs[-1], expected)
        self.assertGreater((outputs[0].last_hidden_state - outputs[1].last_hidden_state).abs().max().item(), 1e-3)
        self.assert_on_engine(self.model)

    def test_weights_made_in_inference_mode(self):
        with torch.inference_mode():
            self.model = w2vbert.accelerate(random_model(31, add_adapter=False))
            self.forward()
            self.model.encoder.layers[0].ffn1.output_dense.weight.mul_(1.5)
            expected = copy.deepcopy(self.model)(**self.inputs)
            self.assert_same(self.forward(), expected)

    def test_adapters_of_peft(self):
        if peft is None:
            self.skipTest("peft is not installed")
        targets = ["linear_q", "linear_v", "intermediate_dense"]
        wrapped = peft.get_peft_model(random_model(32, add_adapter=False), peft.LoraConfig(target_modules=targets))
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name:
                nn.init.normal_(parameter, std=0.3)
        wrapped.eval()
        with torch.inference_mode():
            expected = wrapped(**self.inputs)
            self.assertIs(w2vbert.accelerate(wrapped), wrapped)
            actual = self.assert_falls_back(lambda: wrapped(**self.inputs), "not merged")
            self.assert_same(actual, expected, 0)
            calls = w2vbert.explain(wrapped).parts[0].engine_calls
            self.assertEqual(calls, 0)
            wrapped.merge_adapter()
            self.assert_same(wrapped(**self.inputs), expected)
            self.assertEqual(w2vbert.explain(wrapped).parts[0].engine_calls, 1)
            wrapped.unmerge_adapter()
            self.assert_same(wrapped(**self.inputs), expected, 1e-4)
            self.assertEqual(w2vbert.explain(wrapped).parts[0].engine_calls, 1)
            with wrapped.disable_adapter():
                base = copy.deepcopy(wrapped)(**self.inputs)
                self.assert_same(wrapped(**self.inputs), base)
            self.assertEqual(w2vbert.explain(wrapped).parts[0].engine_calls, 2)
            merged = wrapped.merge_and_unload()
            self.assert_same(merged(**self.inputs), expected)
            self.assertEqual(w2vbert.explain(merged).parts[0].engine_calls, 3)


if __name__ == "__main__":
    unittest.main(verbosity=2)
