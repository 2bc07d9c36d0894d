"""Transfer: matched and expected tensors are printed, a silent miss is refused, and the checklist is gone through."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fmlab import hub
from fmlab.backbones import Nano, SwinUNETR, by_name
from fmlab.cohorts import Case, Cohort
from fmlab.errors import DataError, ModelError, TrainingError
from fmlab.pretraining import desd, genesis, mae, sparse_mae, swin_ssl, unimiss
from fmlab.pretraining.pyramid import PyramidBackbone
from fmlab.pretraining.transfer import ARMS, COURSE, Input, Transfers, intended_keys, transfer, without_decoder
from fmlab.pretraining.unlabelled import Unlabelled
from fmlab.volume import Volume
from fmlab.windows import WIDE

WIDTH = 4
PRETEXTS = {
    "genesis": (genesis.genesis, genesis.TRANSFERS, "backbone."), "mae": (mae.mae, mae.TRANSFERS, "backbone."),
    "sparse_mae": (sparse_mae.sparse_mae, sparse_mae.TRANSFERS, "backbone."),
    "swin_ssl": (swin_ssl.swin_ssl, swin_ssl.TRANSFERS, "backbone."),
    "desd": (desd.desd, desd.TRANSFERS, "teacher.net.encoder."),
}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def task():
    return by_name.nano(classes=3, width=WIDTH)


@pytest.mark.parametrize("arm", ARMS)
@pytest.mark.parametrize("name", PRETEXTS)
def test_what_each_pretext_hands_to_the_nano_unet(name, arm, capsys):
    make, of, inside = PRETEXTS[name]
    pretrained, model = make(width=WIDTH), task()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    if set(ARMS[arm][0]) - set(of.parts):
        with pytest.raises(ModelError, match="trained the encoder only"):
            transfer(model, pretrained, of, arm)
        assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
        return
    report = transfer(model, pretrained.state_dict(), of, arm, fed=COURSE)
    expected = {"scratch": 0, "encoder": 21, "frozen": 21, "encoder+decoder": 36}[arm]
    assert (report.expected, len(report.tensors.matched), report.share) == (expected, expected, 1)
    theirs = pretrained.state_dict()
    for key, value in model.state_dict().items():
        taken = key in report.tensors.matched
        assert torch.equal(value, theirs[inside + key.removeprefix("backbone.")] if taken else before[key])
    assert len(report.frozen) == (21 if arm == "frozen" else 0) and {"head.weight", "head.bias"} <= set(report.fresh)
    assert [p.requires_grad for n, p in model.named_parameters()] == [n not in report.frozen for n, _ in model.named_parameters()]
    assert f"{expected} of {expected} matched" in capsys.readouterr().out


def test_a_pyramid_takes_the_student():
    pretrained = unimiss.unimiss(dims=(4, 8, 8, 16), sides=(16, 16, 8), outputs=8)
    model = PyramidBackbone(dims=(4, 8, 8, 16), sides=(16, 16, 8))
    report = transfer(model, pretrained, unimiss.TRANSFERS, "encoder+decoder")
    assert report.fresh == ("finish.weight", "finish.bias") and report.share == 1
    assert torch.equal(model.net.encoder[1].embed3D.weight, pretrained.student.net.encoder[1].embed3D.weight)


# --- 1: tensors ---------------------------------------------------


def published(model: SwinUNETR) -> dict:
    """As ``model_swinvit.pt`` has it: "module." and no "swinViT.", fc1 and fc2."""
    return {"state_dict": {"module." + key.removeprefix("swinViT.").replace("linear", "fc"): value
                           for key, value in model.state_dict().items() if key.startswith("swinViT.")}}


def test_the_published_swin_names_load_with_their_rename_and_are_refused_without(capsys):
    pretrained, model = SwinUNETR(feature_size=12), by_name.swin_unetr(classes=2, feature_size=12)
    assert len(intended_keys(model, ("encoder",))) == 126
    before = model.backbone.swinViT.patch_embed.proj.weight.clone()
    with pytest.raises(ModelError, match="Only 0 of 126 intended tensors match.*nothing was loaded"):
        transfer(model, published(pretrained), replace(swin_ssl.OFFICIAL, named=str))
    assert torch.equal(model.backbone.swinViT.patch_embed.proj.weight, before)
    report = transfer(model, published(pretrained), swin_ssl.OFFICIAL)
    assert report.share == 1 and len(report.tensors.unexpected) == 0
    assert torch.equal(model.backbone.swinViT.patch_embed.proj.weight, pretrained.swinViT.patch_embed.proj.weight)
    assert "126 of 126 matched (100.0% of encoder)" in capsys.readouterr().out


@pytest.mark.parametrize(("dropped", "fits"), [(1, True), (2, False)])
def test_95_percent_is_the_limit(dropped, fits):
    """20 of 21 are 95.2 %, 19 are 90.5 %."""
    weights = mae.mae(width=WIDTH).state_dict()
    for key in [key for key in weights if "level4" in key][:dropped]:
        del weights[key]
    model = task()
    if fits:
        report = transfer(model, weights, mae.TRANSFERS)
        assert len(report.tensors.missing) == 1 and "missing: backbone.level4" in str(report)
    else:
        with pytest.raises(ModelError, match="Only 19 of 21.*at least 95%"):
            transfer(model, weights, mae.TRANSFERS)
        assert transfer(model, weights, mae.TRANSFERS, least=0.9).share == pytest.approx(19 / 21)


def test_another_shape_is_named():
    with pytest.raises(ModelError, match="is of another shape"):
        transfer(task(), mae.mae(width=8), mae.TRANSFERS)
    report = transfer(by_name.nano(classes=2, width=WIDTH, in_channels=2), mae.mae(width=WIDTH), mae.TRANSFERS)
    assert report.tensors.misfit == ("backbone.level1.conv.weight: (4, 1, 3, 3, 3) for (4, 2, 3, 3, 3)",)


def test_wrapped_weights_and_what_is_none():
    weights = {f"module.{key}": value for key, value in mae.mae(width=WIDTH).state_dict().items()}
    for wrapper in ("state_dict", "network_weights", "model"):
        assert transfer(task(), {wrapper: weights, "epoch": 3}, mae.TRANSFERS).share == 1
    with pytest.raises(ModelError, match="no tensors by name"):
        transfer(task(), {"epoch": 3}, mae.TRANSFERS)


def test_the_student_of_a_pair_is_not_taken_for_the_teacher():
    pretrained = desd.desd(width=WIDTH)
    weights = {key: value for key, value in pretrained.state_dict().items() if key.startswith("student.")}
    with pytest.raises(ModelError, match="Only 0 of 21"):
        transfer(task(), weights, desd.TRANSFERS)


# --- 2 to 6 -------------------------------------------------------


def test_another_input_is_refused():
    other = Input("-175 to 250 HU to [0, 1]", 1.5)
    with pytest.raises(ModelError, match=r"8 mm, RAS, and the model would be fed -175 to 250 HU to \[0, 1\], 1.5 mm"):
        transfer(task(), mae.mae(width=WIDTH), mae.TRANSFERS, fed=other)
    assert transfer(task(), mae.mae(width=WIDTH), mae.TRANSFERS, "scratch", fed=other).expected == 0
    assert "any spacing" in str(genesis.OFFICIAL.fed)


def test_test_patients_may_not_lie_in_the_pool():
    with pytest.raises(TrainingError, match="1 of 2 test patients lie in the unlabelled pool, as 'b'"):
        transfer(task(), mae.mae(width=WIDTH), mae.TRANSFERS, pool=["a", "b"], tested=["b", "c"])
    report = transfer(task(), mae.mae(width=WIDTH), mae.TRANSFERS, pool=["a", "b"], tested=["c"])
    assert "6 pool: none of 1 test patients among its 2" in str(report) and [line[0] for line in report.lines[:1]] == ["1"]


def test_norms_may_begin_anew():
    pretrained, model = mae.mae(width=WIDTH), task()
    for parameter in pretrained.parameters():
        torch.nn.init.normal_(parameter)
    report = transfer(model, pretrained, mae.TRANSFERS, fresh_norms=True)
    assert (model.backbone.level2[0].norm.weight == 1).all() and "backbone.level2.0.norm.weight" in report.fresh
    assert torch.equal(model.backbone.level2[0].conv.weight, pretrained.backbone.level2[0].conv.weight)
    assert "backbone.level2.0.conv.weight" not in report.fresh


def test_what_is_unknown_is_refused():
    with pytest.raises(ModelError, match="no arm 'head'"):
        transfer(task(), mae.mae(width=WIDTH), mae.TRANSFERS, "head")
    with pytest.raises(ModelError, match="no backbone whose parts are known"):
        transfer(torch.nn.Linear(1, 1), {}, Transfers(("encoder",), COURSE))


def test_without_its_decoder_a_backbone_encodes_as_before():
    whole = Nano(width=2)
    x = torch.rand(1, 1, 16, 16, 16)
    deep = whole.encode(x)[-1]
    assert torch.equal(without_decoder(whole).encode(x)[-1], deep) and not hasattr(whole, "up1")
    assert {name.split(".")[0] for name in without_decoder(SwinUNETR(feature_size=12)).state_dict()} == {"swinViT"}


# --- the pool -----------------------------------------------------


def cohort(*volumes: Volume) -> Cohort:
    return Cohort("pool", tuple(Case(v.name, f"patient of {v.name}", lambda v=v: v) for v in volumes))


def body(name: str, side: int = 24) -> Volume:
    import numpy as np

    image = torch.full((1, side, side, side), -1000.0)
    image[:, side // 2:] = torch.randint(-100, 200, (1, side - side // 2, side, side)).float()
    return Volume(image, np.diag([4.0, 4, 4, 1]), name=name)  # no labels


def test_cubes_need_no_labels():
    data = Unlabelled(cohort(body("one"), body("two")), side=(8, 8, 16))
    assert len(data) == 2 and data.patients == ("patient of one", "patient of two")
    torch.manual_seed(1)
    item = data[1]
    torch.manual_seed(1)
    assert torch.equal(data[1]["image"], item["image"]) and not torch.equal(data[1]["image"], item["image"])
    assert set(item) == {"image", "name"} and item["image"].shape == (1, 8, 8, 16) and item["name"] == "two"
    assert 0 <= item["image"].min() and item["image"].max() <= 1


def test_air_is_mostly_left_out():
    data = Unlabelled(cohort(body("one")), side=8, air=0.2)
    shares = [float((data[0]["image"] < float(WIDE(torch.tensor([-500.0])))).float().mean()) for _ in range(20)]
    assert sum(share <= 0.2 for share in shares) >= 19


def test_a_cube_as_large_as_the_scan_is_the_scan():
    volume = body("one", 16)
    assert torch.allclose(Unlabelled(cohort(volume), side=16)[0]["image"], WIDE(volume.image), atol=1e-4)


def test_an_empty_pool_is_refused():
    with pytest.raises(DataError, match="'pool' is empty"):
        Unlabelled(cohort())


# --- by name ------------------------------------------------------


@pytest.mark.parametrize("name", [*PRETEXTS, "unimiss"])
def test_a_pretext_is_saved_and_loaded_by_name(name, tmp_path):
    small = dict(dims=(4, 8, 8, 16), sides=(16, 16, 8)) if name == "unimiss" else dict(width=WIDTH)
    model = hub.build(name, **small)
    again = hub.load(name, hub.save(model, tmp_path / "small.safetensors"))
    theirs = again.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in model.state_dict().items())
