"""Swin UNETR's pretext: what a cut-out really hides, which axis turns, which tokens are read; NT-Xent by hand."""

from __future__ import annotations

import pytest
import torch

from fmlab.backbones import Nano
from fmlab.errors import ModelError, ScanError
from fmlab.pretraining import swin_ssl
from fmlab.pretraining.swin_ssl import SwinSSL, boxes, cut_out, losses, nt_xent, rotated


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def covered(sides: tuple[int, ...], made: list) -> float:
    mask = torch.zeros(sides)
    for box in made:
        mask[box] = 1
    return float(mask.mean())


def test_one_pass_hides_13_percent_and_26_at_most():
    shares = torch.tensor([covered((48,) * 3, boxes((48,) * 3)) for _ in range(200)])
    assert shares.mean() == pytest.approx(0.135, abs=0.015)
    assert 0.22 < shares.max() < 0.3 and shares.min() < 0.02


def test_boxes_have_5_to_25_percent_of_the_sides_and_stay_inside():
    sides = (96, 64, 40)
    for box in (b for _ in range(20) for b in boxes(sides)):
        for cut, n in zip(box, sides):
            assert 0 <= cut.start < cut.stop <= n and cut.stop - cut.start <= n // 4
            assert cut.stop - cut.start >= int(0.05 * n)
    assert all(min(cut.stop - cut.start for cut in box) == 1 for box in boxes((8, 8, 8)))  # tiny ones too, and it ends


def test_the_second_pass_brings_pieces_of_another():
    cubes = torch.stack([torch.full((1, 32, 32, 32), 10.0 * n) for n in (1, 2, 3)])
    hidden, mixed = 0.0, False
    for _ in range(6):
        out = cut_out(cubes)
        for n, cube in enumerate(out):
            mixed |= bool(torch.isin(cube, cubes[:, 0, 0, 0, 0][torch.arange(3) != n]).any())
            hidden = max(hidden, float((cube != cubes[n]).float().mean()))
    assert mixed and 0.2 < hidden < 0.6
    assert torch.equal(cubes[:, 0, 0, 0, 0], torch.tensor([10.0, 20, 30]))  # what was given stays


def test_a_batch_of_one_gets_noise_alone():
    out = cut_out(torch.full((1, 1, 32, 32, 32), 10.0))
    noise = out[out != 10]
    assert len(noise) and 0 <= noise.min() and noise.max() <= 1


def test_turns_are_about_the_left_right_axis():
    cubes = torch.rand(16, 1, 4, 4, 4)
    turned, k = rotated(cubes)
    assert set(k.tolist()) == {0, 1, 2, 3}
    for cube, after, quarters in zip(cubes, turned, k.tolist()):
        assert torch.equal(after, cube.rot90(quarters, (2, 3)))
        assert torch.equal(after.sum((2, 3)).sort().values, cube.sum((2, 3)).sort().values) or torch.allclose(
            after.sum((2, 3)), cube.sum((2, 3)), atol=1e-5)  # a sagittal slice keeps its voxels
    with pytest.raises(ScanError, match="need cubes"):
        rotated(torch.rand(2, 1, 4, 4, 8))


def test_the_three_losses_ask_for_the_turned_clean_view():
    """A network that knows the clean views has no repair loss, though it was shown cut-outs."""
    cubes, seen = torch.rand(3, 1, 16, 16, 16), []

    def knowing(x):
        seen.append(x)
        return torch.zeros(6, 4), torch.randn(6, 8), x

    torch.manual_seed(1)
    clean = torch.cat([rotated(cubes)[0], rotated(cubes)[0]])
    torch.manual_seed(1)
    values = losses(knowing, cubes)
    assert torch.allclose(values["repair"], (seen[0] - clean).abs().mean()) and values["repair"] > 0
    assert torch.allclose(values["rotation"], torch.tensor(4.0).log())
    torch.manual_seed(1)
    assert torch.allclose(swin_ssl.loss(knowing, {"image": cubes}).isfinite(), torch.tensor(True))


def test_weights_are_one_each():
    x = torch.rand(2, 1, 16, 16, 16)
    model = swin_ssl.swin_ssl(width=2, features=8)
    torch.manual_seed(4)
    parts = losses(model, x)
    torch.manual_seed(4)
    assert torch.allclose(swin_ssl.loss(model, {"image": x}), parts["rotation"] + parts["contrast"] + parts["repair"])


def test_nt_xent_by_hand():
    a, b = torch.randn(3, 5), torch.randn(3, 5)
    z = torch.cat([a, b])
    alike = torch.nn.functional.cosine_similarity(z[:, None], z[None], dim=2) / 0.5
    wanted = 0.0
    for i in range(6):
        others = torch.stack([alike[i, j] for j in range(6) if j != i])  # 4 negatives and the positive
        wanted += (others.logsumexp(0) - alike[i, (i + 3) % 6]) / 6
    assert torch.allclose(nt_xent(a, b), wanted)


@torch.no_grad()
def test_which_tokens_the_heads_read():
    x = torch.rand(2, 1, 16, 16, 16)
    corners = SwinSSL(Nano(width=2), "corners", features=8)
    mean = SwinSSL(corners.backbone, "mean", features=8)
    mean.load_state_dict(corners.state_dict())
    deep = corners.backbone.encode(x)[-1].flatten(2)
    rotation, contrast, repaired = corners(x)
    assert torch.allclose(rotation, corners.rotation(deep[..., 0])) and torch.allclose(contrast, corners.contrast(deep[..., 1]))
    assert torch.allclose(mean(x)[1], mean.contrast(deep.mean(2))) and repaired.shape == x.shape


def test_the_repair_head_as_published():
    convolutions = [layer for layer in swin_ssl.repair_head(768, 32, 1) if isinstance(layer, torch.nn.Conv3d)]
    assert [layer.out_channels for layer in convolutions] == [384, 192, 96, 48, 48, 1]
    assert swin_ssl.repair_head(16, 8, 1)(torch.zeros(1, 16, 2, 2, 2)).shape == (1, 1, 16, 16, 16)


def test_gradient_reaches_every_parameter_and_no_decoder_is_left():
    model = swin_ssl.swin_ssl(width=2, features=8)
    swin_ssl.loss(model, {"image": torch.rand(2, 1, 16, 16, 16)}).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] in ([], ["repair.0.bias"],)
    assert not any(".up" in name for name, _ in model.named_parameters())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ScanError, match="single cube"):
        losses(None, torch.rand(1, 1, 16, 16, 16))
    with pytest.raises(ModelError, match="no 'middle' tokens"):
        SwinSSL(Nano(width=2), "middle")
    with pytest.raises(ModelError, match="no backbone 'vit'"):
        swin_ssl.swin_ssl("vit")
