"""How many numbers each method trains at published size, which of them can never learn, and what rank FSEFT's LoRA has."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache

import pytest
import torch
from torch import Tensor, nn

from fmlab import hub
from fmlab.adaptation import attach
from fmlab.adaptation.report import census
from fmlab.adaptation.sites import attention_blocks
from fmlab.backbones import Segmenter

# Counted on the official code (param_counts_official.json; few_shot.md, section 3): method, options, whether the decoder is
# tuned, what is trained with 1 output and with 10, and all numbers of the model with 1.
OFFICIAL = {
    "swin_unetr": [
        ("full", {}, False, 62_186_659, 62_187_100, 62_186_659),
        ("linear_probe", {}, False, 49, 490, 62_186_659),
        ("linear_probe", {}, True, 19_597_873, 19_598_314, 62_186_659),
        ("decoder", {}, False, 19_597_873, 19_598_314, 62_186_659),
        ("spatial_adapter", {}, False, 124_465, 124_906, 62_311_075),
        ("spatial_adapter", {"kernel": 1}, False, 4_657, 5_098, 62_191_267),
        ("bitfit", {}, False, 210_739, 211_180, 62_186_659),
        ("bitfit", {}, True, 19_808_563, 19_809_004, 62_186_659),
        ("affine", {}, False, 17_329, 17_770, 62_186_659),
        ("affine", {}, True, 19_615_153, 19_615_594, 62_186_659),
        ("lora", {}, False, 69_169, 69_610, 62_255_779),
        ("lora", {}, True, 19_666_993, 19_667_434, 62_255_779),
        ("adaptformer", {}, False, 47_697, 48_138, 62_234_307),
        ("adaptformer", {}, True, 19_645_521, 19_645_962, 62_234_307),
        ("compacter", {}, False, 217_073, 217_514, 62_386_403),
        ("compacter", {}, True, 19_814_897, 19_815_338, 62_386_403),
        ("arena", {}, False, 138_481, 138_922, 62_325_091),
        ("arena", {}, True, 19_736_305, 19_736_746, 62_325_091),
    ],
    "suprem_unet": [
        ("full", {}, False, 19_073_665, 19_074_250, 19_073_665),
        ("linear_probe", {}, False, 65, 650, 19_073_665),
        ("linear_probe", {}, True, 12_045_889, 12_046_474, 19_073_665),
        ("decoder", {}, False, 12_045_889, 12_046_474, 19_073_665),
        ("spatial_adapter", {}, False, 221_249, 221_834, 19_294_849),
        ("spatial_adapter", {"kernel": 1}, False, 8_257, 8_842, 19_081_857),
        ("bitfit", {}, False, 2_945, 3_530, 19_073_665),
        ("bitfit", {}, True, 12_048_769, 12_049_354, 19_073_665),
        ("affine", {}, False, 2_945, 3_530, 19_073_665),
        ("affine", {}, True, 12_048_769, 12_049_354, 19_073_665),
        ("cnn_adapter", {}, False, 260_193, 260_778, 19_333_793),
        ("cnn_adapter", {}, True, 12_306_017, 12_306_602, 19_333_793),
    ],
}
# Other published methods on the same networks: few_shot.md sections 3 and 4, the head's 49 or 65 added.
OTHERS = [
    ("swin_unetr", "lora", {"variant": "paper"}, 34_560 + 49),
    ("swin_unetr", "bitfit", {"variant": "paper"}, 21_648 + 49),
    ("swin_unetr", "adalora", {"rank": 12}, 69_216 + 49),
    ("suprem_unet", "lora", {"rank": 4}, 106_092 + 65),
    ("suprem_unet", "lora", {"rank": 1}, 26_523 + 65),
]


@lru_cache
def network(name: str) -> Segmenter:
    """The network at published size."""
    torch.manual_seed(0)
    return hub.build(name, classes=1)


@lru_cache
def without_numbers(name: str) -> Segmenter:
    """The same on the meta device: shapes alone, so that it is copied and adapted in no time."""
    return copy.deepcopy(network(name)).to("meta")


def rows() -> Iterator:
    """Each of those with 1 and with 10 outputs."""
    for name, methods in OFFICIAL.items():
        for method, options, decoder, one, ten, total in methods:
            for outputs, trained in ((1, one), (10, ten)):
                everything = total + (ten - one if outputs == 10 else 0)
                words = [name, method, *map(str, options.values()), *["decoder"] * decoder, str(outputs)]
                yield pytest.param(name, method, options, decoder, outputs, trained, everything, id="-".join(words))


@pytest.mark.parametrize(("name", "method", "options", "decoder", "outputs", "trained", "everything"), list(rows()))
def test_official_counts(name: str, method: str, options: dict, decoder: bool, outputs: int, trained: int, everything: int):
    adapter = attach(copy.deepcopy(without_numbers(name)), method, outputs, decoder, **options)
    assert adapter.count == trained
    assert sum(weight.numel() for weight in adapter.model.parameters()) == everything


@pytest.mark.parametrize(("name", "method", "options", "trained"), OTHERS)
def test_counts_of_others(name: str, method: str, options: dict, trained: int):
    assert attach(copy.deepcopy(without_numbers(name)), method, **options).count == trained


def test_most_of_bitfit_is_position_tables():
    adapter = attach(copy.deepcopy(without_numbers("swin_unetr")), "bitfit")
    tables = sum(weight.numel() for name, weight in adapter.trainable.items() if "table" in name)
    assert tables == 197_730 and tables / adapter.count > 0.93


class Blocks(nn.Module):
    """The blocks of a Swin stage, x (B, X, Y, Z, d), where one window holds all of it, so that nothing is shifted or padded."""

    def __init__(self, stage: nn.Module):
        super().__init__()
        self.blocks = stage.blocks

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, None)
        return x


def test_dead_numbers_of_bitfit():
    """At 96^3 the stages have 48, 24, 12 and 6 voxels a side: only the last is smaller than its window, 7."""
    model = copy.deepcopy(network("swin_unetr"))
    attach(model, "bitfit")
    tables = keys = others = real = 0
    for number, side in enumerate((7, 7, 7, 6), 1):
        blocks = Blocks(getattr(model.backbone.swinViT, f"layers{number}")[0])
        dim = blocks.blocks[0].norm1.normalized_shape[0]
        real += sum(p.numel() for name, p in blocks.named_parameters() if p.requires_grad and "table" not in name)
        for name, dead in census(blocks, torch.zeros(1, side, side, side, dim)).items():
            if "table" in name:
                tables += dead
            elif name.endswith("qkv.bias"):
                keys += dead
            else:
                others += dead
    attention = model.backbone.swinViT.layers4[0].blocks[0].attn
    reached = attention.relative_position_index[: 6 ** 3, : 6 ** 3].unique().numel()
    rows, heads = attention.relative_position_bias_table.shape
    assert (reached, rows) == (1_415, 2_197)
    assert tables == 2 * heads * (rows - reached) == 37_536
    assert keys == sum(block.attn.qkv.out_features // 3 for _, block in attention_blocks(model)) == 1_440
    assert others == 0
    assert real - keys == 11_520


def test_dead_numbers_of_the_unet():
    """Each of its convolutions is followed by a norm with the batch's mean, which takes any bias out again."""
    adapter = attach(copy.deepcopy(network("suprem_unet")), "bitfit")
    found = census(adapter.model, torch.zeros(1, 1, 16, 16, 16), cubes=2)
    assert {name for name, dead in found.items() if dead} == {name for name in found if name.endswith("conv1.bias")}
    assert sum(found.values()) == 1_440
    assert 2 * sum(found.values()) + 65 == adapter.count


@pytest.mark.parametrize(("variant", "each", "numbers"), [("code", 12, 69_120), ("paper", 4, 34_560)])
def test_rank_of_lora(variant: str, each: int, numbers: int):
    """FSEFT's "rank 4" is one factorisation of rank 12, and q, k and v may have a rank of 12 each."""
    model = hub.build("swin_unetr", classes=1, feature_size=24)
    adapter = attach(model, "lora", rank=4, variant=variant)
    for name, weight in adapter.trainable.items():
        if name.endswith(".B"):
            nn.init.normal_(weight)
    for _, block in attention_blocks(model):
        delta = block.attn.qkv.delta().detach()
        assert int(torch.linalg.matrix_rank(delta)) == 12
        assert [int(torch.linalg.matrix_rank(part)) for part in delta.chunk(3)] == [each] * 3
    assert attach(copy.deepcopy(without_numbers("swin_unetr")), "lora", rank=4, variant=variant).count == numbers + 49
