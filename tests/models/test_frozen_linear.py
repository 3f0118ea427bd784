"""Products with frozen matrices: the same numbers and gradients as PyTorch's own, and only where they are meant."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from cosdpo.models import frozen_linear
from cosdpo.models.base import load_base
from cosdpo.models.frozen_linear import FrozenConv1D, FrozenLinear, linear, speed_up
from tests import tiny_models

needs_onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"),
    reason="PyTorch was built without oneDNN",
)


@pytest.fixture
def always(monkeypatch):
    """oneDNN for products of every size, on every CPU; holds how often it was asked."""
    asked: list[tuple[int, ...]] = []
    real = frozen_linear._onednn

    def counted(x, weight, bias):
        asked.append(tuple(x.shape))
        return real(x, weight, bias)

    monkeypatch.setattr(frozen_linear, "FEWEST", 0)
    monkeypatch.setattr(frozen_linear, "mkl_is_slow", lambda: True)
    monkeypatch.setattr(frozen_linear, "_onednn", counted)
    return asked


def matrices(*shape: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(*shape, 5), torch.randn(7, 5), torch.randn(7)


@needs_onednn
class TestProducts:
    @pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 3), (0,), (1,)], ids=str)
    @pytest.mark.parametrize("with_bias", [True, False], ids=["bias", "no bias"])
    def test_equal_pytorchs_in_double_precision(self, always, shape, with_bias):
        x, weight, bias = matrices(*shape)
        product = linear(x, weight, bias if with_bias else None)
        expected = F.linear(x.double(), weight.double(), bias.double() if with_bias else None).float()
        torch.testing.assert_close(product, expected, rtol=1e-5, atol=1e-5)
        assert product.is_contiguous()
        assert always == [(*shape, 5)]

    def test_any_strides(self, always):
        x, weight, bias = matrices(6)
        for rows in (x[::2], x.T.contiguous().T, x.expand(2, 6, 5)):
            torch.testing.assert_close(linear(rows, weight.T.contiguous().T, bias), F.linear(rows, weight, bias))
        assert len(always) == 3

    @pytest.mark.parametrize("shape", [(4,), (2, 4)], ids=str)
    def test_gradients_of_the_input(self, always, shape):
        x, weight, bias = matrices(*shape)
        upstream = torch.randn(*shape, 7)
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        linear(ours, weight, bias).backward(upstream)
        F.linear(theirs, weight, bias).backward(upstream)
        torch.testing.assert_close(ours.grad, theirs.grad)
        assert len(always) == 2

    def test_gradients_that_are_the_same_number_everywhere(self, always):
        x, weight, bias = matrices(4)
        x.requires_grad_()
        linear(x, weight, bias).sum().backward()  # an expanded gradient, whose strides are 0
        torch.testing.assert_close(x.grad, weight.sum(0).expand(4, 5))


class TestWhereTheyStayPyTorchs:
    def test_trained_parameters_get_their_gradients(self, always):
        x, weight, bias = matrices(4)
        weight.requires_grad_()
        linear(x, weight, bias).sum().backward()
        torch.testing.assert_close(weight.grad, x.sum(0).expand(7, 5))
        linear(x, weight.detach(), bias.requires_grad_()).sum().backward()
        assert bias.grad.tolist() == [4.0] * 7
        assert not always

    def test_other_types_and_autocast(self, always):
        x, weight, bias = matrices(4)
        assert linear(x.double(), weight.double(), bias.double()).dtype == torch.float64
        assert linear(x.bfloat16(), weight.bfloat16(), bias.bfloat16()).dtype == torch.bfloat16
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(x, weight, bias).dtype == torch.bfloat16
        assert not always

    def test_small_products(self, always, monkeypatch):
        x, weight, bias = matrices(4)
        monkeypatch.setattr(frozen_linear, "FEWEST", 4 * 5 * 7 + 1)
        linear(x, weight, bias)
        assert not always
        if hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            monkeypatch.setattr(frozen_linear, "FEWEST", 4 * 5 * 7)
            linear(x, weight, bias)
            assert always

    def test_processors_whose_units_mkl_uses(self, monkeypatch, tmp_path):
        cpus = tmp_path / "cpuinfo"
        monkeypatch.setattr(frozen_linear, "Path", lambda name: cpus)
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
        told = []
        for capability, text in [
            ("AVX512", "vendor_id : AuthenticAMD"),
            ("AVX512", "vendor_id : GenuineIntel"),
            ("AVX2", "vendor_id : AuthenticAMD"),
            ("AVX512", None),
        ]:
            monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda value=capability: value)
            cpus.unlink(missing_ok=True)
            if text:
                cpus.write_text(text)
            told.append(frozen_linear.mkl_is_slow.__wrapped__())
        assert told == [hasattr(torch.ops.mkldnn, "_linear_pointwise"), False, False, False]

    @needs_onednn
    @pytest.mark.parametrize(("switch", "taken"), [("1", True), ("0", False)])
    def test_a_variable_leaves_all_products_to_pytorch(self, monkeypatch, tmp_path, switch, taken):
        cpus = tmp_path / "cpuinfo"
        cpus.write_text("vendor_id : AuthenticAMD")
        monkeypatch.setattr(frozen_linear, "Path", lambda name: cpus)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
        monkeypatch.setenv("COSDPO_FAST_PRODUCTS", switch)
        assert frozen_linear.mkl_is_slow.__wrapped__() == taken


class TestLayers:
    def test_a_frozen_model_keeps_its_function_names_and_kinds(self, always):
        model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), Conv1D(3, 7))
        model.requires_grad_(False)
        names, x = list(model.state_dict()), torch.randn(4, 5)
        expected = model(x)
        speed_up(model)
        assert [type(layer) for layer in model] == [FrozenLinear, nn.ReLU, FrozenConv1D]
        assert list(model.state_dict()) == names
        torch.testing.assert_close(model(x), expected)

    def test_layers_that_others_made_of_linear_ones_stay(self):
        class Quantised(nn.Linear):
            pass

        model = nn.Sequential(Quantised(2, 2))
        speed_up(model)
        assert type(model[0]) is Quantised

    @needs_onednn
    @pytest.mark.parametrize("family", ["gpt2-tied", "llama-untied"])
    def test_a_base_with_low_rank_updates(self, always, monkeypatch, tmp_path, family):
        base = load_base(str(tiny_models.write_model(tmp_path, family)), torch.float32)
        speed_up(base)
        stored = {"fan_in_fan_out": family.startswith("gpt2")}
        lora = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, **stored)
        model = get_peft_model(base, lora)
        ids = torch.arange(6)[None]

        def gradients() -> list[torch.Tensor]:
            model.zero_grad()
            model(inputs_embeds=base.get_input_embeddings()(ids)).logits.square().mean().backward()
            return [p.grad.clone() for p in model.parameters() if p.requires_grad]

        ours = gradients()
        assert always
        monkeypatch.setattr(frozen_linear, "mkl_is_slow", lambda: False)
        for fast, slow in zip(ours, gradients(), strict=True):
            torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-6)
