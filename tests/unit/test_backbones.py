"""Backbones give Z of the promised shape, refuse what does not fit in one sentence, and can be trained, cached and saved."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from fmlab import hub
from fmlab.backbones import Backbone, FeatureCache, Nano, Segmenter, SuPreMUNet, SwinUNETR, linear_head
from fmlab.backbones.caching import tensor_hash, weights_hash
from fmlab.backbones.swin_unetr import HistoricalPatchMerging
from fmlab.errors import ModelError

SMALL = {  # each backbone at its cheapest, with a volume that is no cube
    "nano": (lambda: Nano(width=4), (16, 8, 24)),
    "suprem_unet": (lambda: SuPreMUNet(width=4), (8, 16, 8)),
    "swin_unetr": (lambda: SwinUNETR(feature_size=12), (64, 32, 32)),
}


@pytest.fixture(params=SMALL)
def small(request: pytest.FixtureRequest) -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    make, sides = SMALL[request.param]
    return make(), torch.randn(1, 1, *sides)


def test_features_have_the_promised_shapes(small):
    backbone, x = small
    assert isinstance(backbone, Backbone)
    deep, z = backbone.deep_and_features(x)
    assert z.shape == (1, backbone.channels, *x.shape[2:])
    assert deep.shape == (1, backbone.deep_channels, *(side // backbone.stride for side in x.shape[2:]))
    assert torch.equal(z, backbone(x))


def test_segmenter_gives_logits_and_gradient_reaches_everything(small):
    backbone, x = small
    model = Segmenter(backbone, linear_head(backbone.channels, 3))
    y = model(x)
    assert y.shape == (1, 3, *x.shape[2:]) and y.min() < 0
    (y * torch.randn_like(y)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("sides", "words"), [((17, 16, 16), "multiple of"), ((0, 16, 16), "multiple of")])
def test_bad_sides_are_refused_in_one_sentence(small, sides, words):
    backbone, _ = small
    with pytest.raises(ModelError, match=words) as caught:
        backbone.features(torch.zeros(1, 1, *sides))
    assert "x".join(map(str, sides)) in str(caught.value).replace(" ", "") and str(caught.value).endswith(".")


def test_bad_shapes_are_refused(small):
    backbone, _ = small
    one = backbone.stride
    for shape, words in (((1, 2, 64, 64, 64), "takes"), ((1, 64, 64, 64), "takes"), ((1, 1, one, one, one), "single voxel")):
        with pytest.raises(ModelError, match=words):
            backbone.features(torch.zeros(shape))


@pytest.mark.parametrize("make", [
    lambda: SwinUNETR(merging="legacy"), lambda: SwinUNETR(feature_size=20), lambda: SuPreMUNet(statistics="group"),
    lambda: SuPreMUNet(width=0), lambda: Nano(width=0), lambda: linear_head(16, 0),
])
def test_bad_configs_are_refused(make):
    with pytest.raises(ModelError):
        make()


def test_historical_merging_reads_two_slices_twice_and_two_never():
    merging = HistoricalPatchMerging(1)
    merging.norm = torch.nn.Identity()
    merging.reduction = torch.nn.Identity()
    block = torch.tensor([100.0 * i + 10 * j + k for i in (0, 1) for j in (0, 1) for k in (0, 1)]).reshape(1, 2, 2, 2, 1)
    assert merging(block).flatten().tolist() == [0, 100, 10, 1, 101, 10, 1, 111]


def test_merging_changes_the_output_and_no_key():
    torch.manual_seed(0)
    old, new = SwinUNETR(feature_size=12), SwinUNETR(feature_size=12, merging="monai")
    new.load_state_dict(old.state_dict())  # strict: this is why nothing warns
    x = torch.randn(1, 1, 64, 32, 32)
    with torch.no_grad():
        a, b = old.features(x), new.features(x)
    assert (a - b).abs().max() > 0.01 * a.abs().max()
    assert weights_hash(old) != weights_hash(new)


def test_swin_equals_monai_as_it_stands(monkeypatch):
    from monai.networks.nets import swin_unetr

    def rearrange(x, pattern):  # MONAI wants the package einops for these two moves of an axis
        return x.movedim(1, -1) if pattern.endswith(" c") else x.movedim(-1, 1)

    monkeypatch.setattr(swin_unetr, "rearrange", rearrange)
    Whole = swin_unetr.SwinUNETR
    torch.manual_seed(0)
    whole, ours = Whole(1, 2, feature_size=12), hub.build("swin_unetr", classes=2, feature_size=12, merging="monai")
    hub.load_official(ours, whole.state_dict())
    x = torch.randn(1, 1, 64, 32, 32)
    with torch.no_grad():
        assert torch.allclose(ours(x), whole(x), atol=1e-5)


def test_batch_statistics_couple_samples_and_running_ones_do_not():
    torch.manual_seed(0)
    x = torch.randn(2, 1, 16, 16, 16)
    coupled, apart = SuPreMUNet(width=4).eval(), SuPreMUNet(width=4, statistics="running").eval()
    with torch.no_grad():
        assert not torch.allclose(coupled.features(x)[:1], coupled.features(x[:1]), atol=1e-3)
        assert torch.allclose(apart.features(x)[:1], apart.features(x[:1]), atol=1e-5)


def test_nano_is_small():
    parameters = sum(p.numel() for p in hub.build("nano", classes=30).parameters())
    assert 1_000_000 <= parameters <= 1_400_000 and 4 * parameters < 6_000_000


class TestFeatureCache:
    def test_second_time_is_read_and_equal(self, tmp_path):
        cache, x = FeatureCache(Nano(width=4), tmp_path), torch.randn(2, 1, 16, 16, 16)
        first = cache(x)
        assert torch.equal(cache(x.flip(0)), first.flip(0))  # by sample, so the order within a batch is free
        assert (cache.hits, cache.misses) == (2, 2) and first.dtype == x.dtype and not first.requires_grad
        assert torch.allclose(first, cache.backbone.features(x), atol=2e-3)
        assert torch.equal(FeatureCache(cache.backbone, tmp_path)(x), first)
        assert not list(tmp_path.rglob(".*"))

    def test_other_weights_and_other_inputs_are_other_files(self, tmp_path):
        cache, x = FeatureCache(Nano(width=4), tmp_path), torch.randn(1, 1, 16, 16, 16)
        before = cache(x)
        cache(x + 1e-3)
        with torch.no_grad():
            cache.backbone.level1.conv.weight.mul_(-1)
        assert not torch.equal(cache(x), before) and cache.misses == 3

    def test_default_folder_and_mode(self, fresh_cache):
        backbone = Nano(width=4).train()
        FeatureCache(backbone)(torch.randn(1, 1, 16, 16, 16))
        assert len(list((fresh_cache / "features").rglob("*.safetensors"))) == 1 and backbone.training

    def test_broken_file_is_computed_again(self, tmp_path):
        cache, x = FeatureCache(Nano(width=4), tmp_path), torch.randn(1, 1, 16, 16, 16)
        z = cache(x)
        next(tmp_path.rglob("*.safetensors")).write_bytes(b"half a fi")
        assert torch.equal(cache(x), z) and cache.misses == 2

    def test_what_float16_cannot_hold_is_refused(self, tmp_path):
        backbone = Nano(width=4)
        with torch.no_grad():
            backbone.up1.mix.norm.weight.fill_(1e6)
        with pytest.raises(ModelError, match="float16"):
            FeatureCache(backbone, tmp_path)(torch.randn(1, 1, 16, 16, 16))

    def test_hash_tells_shape_and_type(self):
        x = torch.zeros(4)
        assert len({tensor_hash(x), tensor_hash(x.reshape(2, 2)), tensor_hash(x.half()), tensor_hash(torch.tensor(0.0))}) == 4


class TestModelsByName:
    def test_unknown_name_gives_the_near_ones(self):
        with pytest.raises(ModelError, match="swin_unetr"):
            hub.build("swinunetr")
        with pytest.raises(ModelError, match="nano"):
            hub.load("nan")

    def test_unknown_option_is_refused(self):
        with pytest.raises(ModelError, match="depth"):
            hub.build("nano", depth=3)

    @pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"net": s, "epoch": 3}, lambda s: {"state_dict": s}])
    def test_official_prefixes_and_wrappers(self, wrap, capsys):
        source, target = (hub.build("suprem_unet", classes=2, width=2) for _ in range(2))
        official = {"module." + key.replace("head.", "classifier.final_conv."): v for key, v in source.state_dict().items()}
        report = hub.load_official(target, wrap(official))
        assert not report.missing and not report.unexpected and "0 missing, 0 unexpected" in capsys.readouterr().out
        assert weights_hash(source) == weights_hash(target)

    def test_less_than_a_full_match_is_refused_and_changes_nothing(self):
        source, target = hub.build("nano", classes=2, width=4), hub.build("nano", classes=3, width=4)
        before = weights_hash(target)
        with pytest.raises(ModelError, match="head.weight"):  # another shape
            hub.load_official(target, source.state_dict())
        headless = source.backbone.state_dict()
        with pytest.raises(ModelError, match="2 missing"):
            hub.load_official(target, headless)
        with pytest.raises(ModelError, match="1 unexpected"):
            hub.load_official(source, {**source.state_dict(), "extra": torch.zeros(1)})
        assert weights_hash(target) == before
        assert hub.load_official(target, headless, allow_missing=["head"]).missing == ("head.weight", "head.bias")
        assert hub.load_official(target, source.state_dict(), allow_missing=["head."]).missing
        assert weights_hash(target.backbone) == weights_hash(source.backbone)

    def test_a_bare_backbone_leaves_a_head_aside_when_told(self):
        source, target = hub.build("nano", classes=2, width=4), hub.build("nano", width=4)
        report = hub.load_official(target, source.state_dict(), allow_unexpected=["head"])
        assert report.unexpected == ("head.weight", "head.bias") and not report.missing

    def test_keys_that_fall_together_are_not_mixed_up(self):
        model = torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1), "backbone": torch.nn.ModuleDict({"a": torch.nn.Linear(1, 1)})})
        numbered = enumerate(model.state_dict().items())
        state = {"module." + key: torch.full_like(value, number) for number, (key, value) in numbered}
        assert len(hub.load_official(model, state).matched) == 4
        assert [float(value) for value in model.state_dict().values()] == [0, 1, 2, 3]
        state = hub.build("nano", width=4).state_dict()
        with pytest.raises(ModelError, match="twice"):
            hub.load_official(Nano(width=4), {**state, "module.level1.conv.weight": state["level1.conv.weight"]})

    def test_no_tensors_is_said(self):
        with pytest.raises(ModelError, match="no tensors"):
            hub.load_official(Nano(width=4), {"epoch": 3})

    def test_saved_weights_come_back_with_their_config(self, tmp_path):
        model = hub.build("nano", classes=2, width=4)
        path = hub.save(model, tmp_path / "mine.safetensors", seed=7)
        again = hub.load("nano", path)
        assert again.recipe == model.recipe and not again.training
        assert weights_hash(again) == weights_hash(model) and [p.name for p in tmp_path.iterdir()] == ["mine.safetensors"]
        with pytest.raises(ModelError, match="not of suprem_unet"):
            hub.load("suprem_unet", path)
        with pytest.raises(ModelError, match="width"):
            hub.load("nano", path, width=8)

    def test_files_without_our_header_take_the_config_given(self, tmp_path):
        model = hub.build("nano", width=4)
        save_file(model.state_dict(), tmp_path / "plain.safetensors")
        torch.save({"net": model.state_dict()}, tmp_path / "official.pth")
        for name in ("plain.safetensors", "official.pth"):
            assert weights_hash(hub.load("nano", tmp_path / name, width=4)) == weights_hash(model)

    def test_what_is_not_there_or_not_weights_is_said(self, tmp_path):
        (tmp_path / "broken.pt").write_bytes(b"no")
        (tmp_path / "broken.safetensors").write_bytes(b"no")
        torch.save(torch.nn.Linear(1, 1), tmp_path / "pickle.pt")  # code, not weights
        for weights in ("broken.pt", "broken.safetensors", "pickle.pt"):
            with pytest.raises(ModelError, match="cannot be read"):
                hub.load("nano", tmp_path / weights, width=4)
        with pytest.raises(ModelError, match="There are no weights"):
            hub.load("nano", "enormous")
        with pytest.raises(ModelError, match="not fetched"):
            hub.load("swin_unetr", "official")

    def test_saving_needs_a_recipe(self, tmp_path):
        with pytest.raises(ModelError, match="hub.build"):
            hub.save(Nano(width=4), tmp_path / "x.safetensors")
