"""SuPreM: every layout of its files fills the backbone, the head stays new, what is missing is refused; complete scans only."""

from __future__ import annotations

import pytest
import torch

from fmlab import hub
from fmlab.backbones import SegResNet
from fmlab.errors import ModelError, ScanError
from fmlab.pretraining.published import suprem
from fmlab.pretraining.suprem import RELEASES, SUPREM, fine_tuning, fully_annotated
from fmlab.pretraining.transfer import COURSE

SMALL = {"swin_unetr": dict(feature_size=12), "suprem_unet": dict(width=4), "segresnet": dict(width=8)}
LANGUAGE = ("organ_embedding", "text_to_vision.weight", "precls_conv.0.weight", "GAP.3.weight", "controller.weight")


def published(release, between):
    """A small backbone, and a file of it as released: names behind "module." and ``between``, and what is not of the backbone."""
    torch.manual_seed(1)
    name = RELEASES[release]
    backbone = hub.build(name, **SMALL[name])
    net = {f"module.{between}{key}": value for key, value in backbone.state_dict().items()}
    if name == "segresnet":
        other = {"module.conv_final.2.conv.weight": torch.zeros(25, 8, 1, 1, 1), "module.conv_final.2.conv.bias": torch.zeros(25)}
    else:
        other = {f"module.{key}": torch.zeros(2) for key in LANGUAGE}
    return backbone, {"net": net | other, "optimizer": {}, "epoch": 2100}


@pytest.mark.parametrize("between", ["backbone.", ""])
@pytest.mark.parametrize("release", RELEASES)
def test_every_layout_fills_the_backbone(release, between, capsys):
    theirs, file = published(release, between)
    model = fine_tuning(release, file, classes=3, **SMALL[RELEASES[release]])
    said = capsys.readouterr().out
    assert "(100.0% of encoder and decoder)" in said and "left aside" in said and "head" in said
    for key, value in theirs.state_dict().items():
        assert torch.equal(model.backbone.state_dict()[key], value), key
    assert model.head.weight.shape[0] == 3 and model.head.weight.any()


def test_the_backbones_own_file():
    _, file = published("supervised_suprem_unet_2100", "backbone.")
    file["net"] = {key: value for key, value in file["net"].items() if "backbone" in key}
    fine_tuning("supervised_suprem_unet_2100_backbone", file, classes=2, width=4)


def test_refused():
    _, file = published("supervised_suprem_unet_2100", "backbone.")
    language = {"net": {key: value for key, value in file["net"].items() if "backbone" not in key}}
    with pytest.raises(ModelError, match="Only 0 of"):
        fine_tuning("supervised_suprem_unet_2100", language, classes=2, width=4)
    with pytest.raises(ModelError, match="another shape"):
        fine_tuning("supervised_suprem_unet_2100", file, classes=2, width=8)
    with pytest.raises(ModelError, match="would be fed"):
        fine_tuning("supervised_suprem_unet_2100", file, classes=2, fed=COURSE, width=4)
    with pytest.raises(ModelError, match="did you mean supervised_suprem_unet_2100"):
        fine_tuning("supervised_suprem_unet", file, classes=2)
    fine_tuning("supervised_suprem_unet_2100", file, classes=2, fed=SUPREM.fed, width=4)


def test_segresnet():
    with torch.device("meta"):
        published = hub.build("segresnet", classes=1)
    assert sum(p.numel() for p in published.parameters()) == 4_700_897  # 4.70 M
    from monai.networks.nets import SegResNet as Whole

    torch.manual_seed(0)
    whole = Whole(init_filters=8, out_channels=2, blocks_down=(1, 2, 2, 4), blocks_up=(1, 1, 1)).eval()
    ours, x = hub.build("segresnet", classes=2, width=8).eval(), torch.randn(1, 1, 16, 8, 24)
    hub.load_official(ours, whole.state_dict())
    with torch.no_grad():
        assert torch.allclose(ours(x), whole(x), atol=1e-6)
        deep, z = ours.backbone.deep_and_features(x)
    assert deep.shape == (1, 64, 2, 1, 3) and z.shape == (1, 8, 16, 8, 24)
    with pytest.raises(ModelError, match="multiple of 8"):
        SegResNet(width=12)
    with pytest.raises(ModelError, match="multiple of 8"):
        ours(torch.zeros(1, 1, 16, 16, 12))


def test_complete_scans_only():
    torch.manual_seed(0)
    model = hub.build("nano", classes=2, width=4)
    batch = dict(image=torch.randn(1, 1, 16, 16, 16), target=torch.randint(0, 2, (1, 2, 16, 16, 16)), w=torch.ones(1, 2))
    with torch.no_grad():
        assert torch.equal(fully_annotated(model, batch), suprem(model(batch["image"]), batch["target"], batch["w"]))
    batch["w"][0, 1] = 0
    with pytest.raises(ScanError, match="1 classes of this batch"):
        fully_annotated(model, batch)
