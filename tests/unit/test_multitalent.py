"""MultiTalent: the table of regions, both networks against other ways to compute them, scales, fine-tuning, bad input."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from fmlab import hub
from fmlab.errors import ModelError, ScanError
from fmlab.pretraining.masked import multitalent as of_masks
from fmlab.pretraining.multitalent import MultiTalentResEnc, MultiTalentUNet, Residual, load_pretrained, objective
from fmlab.pretraining.multitalent_regions import DATASETS, annotated, channels_of, names_of, targets, values_of
from fmlab.pretraining.uniseg import CUBE, FLAT, UniSeg

TWO = {"A": ("A_liver", "A_tumour"), "B": ("B_liver",)}
TINY = dict(datasets=TWO, base=4, most=12, pools=((1, 2, 2), (2, 2, 2)), kernels=(FLAT, CUBE, CUBE))
NETWORKS = {"U-Net": (MultiTalentUNet, {}), "ResEnc": (MultiTalentResEnc, dict(blocks=(1, 2, 1)))}
both = pytest.mark.parametrize("kind", NETWORKS)


def model(kind="U-Net", seed=0, **changes):
    torch.manual_seed(seed)
    network, settings = NETWORKS[kind]
    return network(**(TINY | settings | changes)).eval()


def shaken(net):
    """All norms and biases other than where they begin, so that none can be left out unnoticed."""
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim == 1:
                p.normal_(0.5, 0.5)
    return net


def test_the_47_regions():
    names = names_of()
    assert len(names) == 47 and len(DATASETS) == 13
    assert sum(name.endswith("_pancreas") for name in names) == 4  # never merged
    values = values_of()
    assert values["03_liver"] == (1, 2) and values["03_cancer"] == (2,) and values["64_both_kidneys"] == (42, 43)
    assert values["18_small_bowel"] == (47,) and [v[0] for v in values.values()] == list(range(1, 48))
    assert names[channels_of("Task055_SegTHOR")] == ["55_esophagus", "55_heart", "55_trachea", "55_aorta"]
    w = annotated(["Task009_Spleen", "Task003_Liver"])
    assert w.shape == (2, 47) and w.sum(1).tolist() == [1, 2] and w[0, names.index("09_spleen")] == 1 and w[1, :2].all()


def test_targets_overlap_within_a_data_set():
    labels = torch.tensor([[0, 1, 2, 3]])[:, None, :, None, None]
    masks = targets(labels, TWO, contains={"A_liver": "A_tumour"})[0, :, :, 0, 0]
    assert masks.int().tolist() == [[0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


@torch.no_grad()
def test_unet_is_unisegs_without_a_prompt():
    """Same weights, same logits as the network whose outputs the parity files know."""
    net = shaken(model())
    other = UniSeg(patch=(4, 8, 8), tasks=0, classes=3, inputs=(1,), **{k: TINY[k] for k in ("base", "most", "pools", "kernels")})
    state = {k.replace("context.0.blocks.0.conv.", "context.0.blocks.0.conv_1."): v for k, v in net.state_dict().items()}
    other.load_state_dict(state)
    x = torch.randn(2, 1, 4, 8, 8)
    assert torch.allclose(net(x), other.eval()(x), atol=1e-5)


@torch.no_grad()
def test_resenc_by_hand():
    """Every layer anew from the tensors by name, as the released code lists them."""
    net = shaken(model("ResEnc"))
    t, x = net.state_dict(), torch.randn(1, 1, 4, 8, 8)

    def conv(h, name, step=1):
        kernel = t[f"{name}.weight"]
        return F.conv3d(h, kernel, stride=step, padding=[k // 2 for k in kernel.shape[2:]])

    def norm(h, name):
        return F.instance_norm(h, weight=t[f"{name}.weight"], bias=t[f"{name}.bias"])

    def block(h, name, step=1):
        skip = norm(conv(h, f"{name}.downsample_skip.0", step), f"{name}.downsample_skip.1") if step != 1 else h
        h = F.leaky_relu(norm(conv(h, f"{name}.conv1", step), f"{name}.norm1"), 0.01)
        return F.leaky_relu(norm(conv(h, f"{name}.conv2"), f"{name}.norm2") + skip, 0.01)

    def up(h, skip, level, step):
        h = torch.cat([F.conv_transpose3d(h, t[f"decoder.tus.{level}.weight"], stride=step), skip], 1)
        name = f"decoder.stages.{level}.convs.0.all"
        return F.leaky_relu(norm(conv(h, f"{name}.0"), f"{name}.2"), 0.01)

    h0 = block(F.leaky_relu(norm(conv(x, "encoder.initial_conv"), "encoder.initial_norm"), 0.01), "encoder.stages.0.convs.0")
    h1 = block(block(h0, "encoder.stages.1.convs.0", (1, 2, 2)), "encoder.stages.1.convs.1")
    h2 = block(h1, "encoder.stages.2.convs.0", (2, 2, 2))
    h = up(up(h2, h1, 0, (2, 2, 2)), h0, 1, (1, 2, 2))
    head = "decoder.deep_supervision_outputs.1"
    assert torch.allclose(net(x), F.conv3d(h, t[f"{head}.weight"], t[f"{head}.bias"]), atol=1e-5)


@torch.no_grad()
def test_a_residual_block_begins_as_its_shortcut():
    net, x = model("ResEnc"), torch.randn(1, 4, 4, 8, 8).abs()
    block = net.encoder.stages[0].convs[0]
    assert isinstance(block, Residual) and torch.equal(block(x), x)


@both
def test_scales_train_and_what_a_data_set_lacks_stays(kind):
    net, x = model(kind).train(), torch.randn(2, 1, 4, 8, 8)
    scales = net.scales(x)
    assert [tuple(z.shape) for z in scales] == [(2, 3, 4, 8, 8), (2, 3, 4, 4, 4)]
    target = targets(torch.randint(0, 4, (2, 1, 4, 8, 8)), TWO, {"A_liver": "A_tumour"})
    loss = objective(scales, target, annotated(["A", "A"], TWO))
    assert torch.isclose(loss, of_masks(scales[0], target, annotated(["A", "A"], TWO)))  # the last scale counts nothing
    loss.backward()
    heads = net.seg_outputs if kind == "U-Net" else net.decoder.deep_supervision_outputs
    assert heads[-1].weight.grad[:2].any() and not heads[-1].weight.grad[2:].any()
    assert len(net.eval().scales(x)) == 1


def test_weights_of_the_scales():
    z = [torch.randn(1, 1, 8 // 2 ** n, 8, 8) for n in range(4)]
    target, w = torch.randint(0, 2, (1, 1, 8, 8, 8)).bool(), torch.ones(1, 1)
    smaller = [F.interpolate(target.float(), x.shape[2:], mode="nearest-exact") for x in z]
    parts = [of_masks(x, y, w) for x, y in zip(z, smaller)]
    assert torch.isclose(objective(z, target, w), (4 * parts[0] + 2 * parts[1] + parts[2]) / 7)


def test_counts():
    with torch.device("meta"):
        unet, resenc = hub.build("multitalent"), hub.build("multitalent", size="resenc")
    assert sum(p.numel() for p in unet.parameters()) == 29_319_560
    assert sum(p.numel() for p in resenc.parameters()) == 69_335_475
    assert sum(p.numel() for p in hub.build("multitalent", size="nano", datasets=TWO).parameters()) <= 1_450_000  # 6 MB


@both
def test_official_layout_and_fine_tuning(kind, capsys):
    theirs, ours, other = model(kind, 1), model(kind, 2), model(kind, 3, datasets={"C": ["a", "b", "c", "d"]})
    checkpoint = {"epoch": 1000, "state_dict": {f"module.{key}": value for key, value in shaken(theirs).state_dict().items()}}
    hub.load_official(ours, checkpoint)
    assert "0 missing, 0 unexpected" in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()))
    report = load_pretrained(other, checkpoint)
    assert all(key.startswith(other.heads) for key in report.missing) and report.missing and not report.unexpected
    kept = [key for key in other.state_dict() if not key.startswith(other.heads)]
    assert kept == list(report.matched) and all(torch.equal(other.state_dict()[k], theirs.state_dict()[k]) for k in kept)


@torch.no_grad()
def test_saved_and_loaded(tmp_path):
    """The residual one holds tensors under two names, which safetensors does not take as they are."""
    torch.manual_seed(0)
    net = hub.build("multitalent", size="resenc", datasets={"A": ["liver"]}, base=2, most=4).eval()
    again = hub.load("multitalent", hub.save(net, tmp_path / "multitalent-small.safetensors"))
    x = torch.randn(1, 1, 16, 32, 64)
    assert torch.equal(net(x), again(x))


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: hub.build("multitalent", size="huge"), ModelError, "published, resenc, nano"),
    (lambda: model(datasets={"A": ["liver"], "B": ["liver"]}), ModelError, "'liver' is named twice"),
    (lambda: model(datasets={}), ModelError, "no region"),
    (lambda: model(kernels=(CUBE, CUBE)), ModelError, "one kernel more"),
    (lambda: model(base=0), ModelError, "at least 1"),
    (lambda: model("ResEnc", blocks=(1, 1)), ModelError, "3 levels"),
    (lambda: model()(torch.zeros(1, 1, 4, 8, 10)), ModelError, "multiples of (2, 4, 4)"),
    (lambda: model("ResEnc")(torch.zeros(1, 1, 2, 4, 4)), ModelError, "single voxel"),
    (lambda: model()(torch.zeros(1, 2, 4, 8, 8)), ModelError, "(B, 1, X, Y, Z)"),
    (lambda: annotated(["Task001"]), ModelError, "no data set 'Task001'"),
    (lambda: targets(torch.full((1, 1, 2, 2, 2), 48)), ScanError, "0 to 47"),
    (lambda: targets(torch.zeros(1, 2, 2, 2)), ScanError, "(B, 1, X, Y, Z)"),
])
def test_refused(call, error, words):
    with pytest.raises(error) as raised:
        call()
    assert words in str(raised.value)
