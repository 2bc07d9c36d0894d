"""SAM-Med3D: the published positions by the letter, filled windows in closed form, and prompts that share a call."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from fmlab import hub
from fmlab.errors import ModelError
from fmlab.interactive.prompt_encoder import ABSENT
from fmlab.interactive.sam_med3d import SIZES, SamMed3D
from fmlab.interactive.volume_attention import VolumeAttention
from fmlab.interactive.windows import in_real_windows, in_windows

TINY = dict(size=16, patch=4, channels=24, depth=2, heads=2, everywhere=(1,), window=3, prompt_channels=24, decoder_heads=2,
            mlp=16, hidden=8)


def attention(side, textbook=False, seed=0):
    torch.manual_seed(seed)
    made = VolumeAttention(8, 2, (side,) * 3, textbook)
    for table in (made.rel_pos_d, made.rel_pos_h, made.rel_pos_w, made.qkv.bias):
        torch.nn.init.normal_(table, std=0.7)
    return made.double()


def model(seed=0, **changes):
    torch.manual_seed(seed)
    return SamMed3D(**(TINY | changes)).eval()


@pytest.mark.parametrize("textbook", [False, True])
def test_positions_by_the_letter(textbook):
    """The bias that reaches the softmax, against the formula of the facts, one pair of tokens after the other."""
    side = 3
    made = attention(side, textbook)
    x = torch.randn(1, side, side, side, 8, dtype=torch.float64)
    q, k, v = made.queries_keys_values(x)
    t_d, t_h, t_w = made.rel_pos_d, made.rel_pos_h, made.rel_pos_w
    scores = torch.empty(2, side ** 3, side ** 3, dtype=torch.float64)
    places = list(product(range(side), repeat=3))
    for m, (row, (a, b, c)), (column, (i, j, n)) in product(range(2), enumerate(places), enumerate(places)):
        at = q[0, m]
        if textbook:
            bias = at[a, b, c] @ (t_d[a - i + side - 1] + t_h[b - j + side - 1] + t_w[c - n + side - 1])
        else:
            bias = (at[a, b, c] @ t_d[a - n + side - 1] + at[a, b, i] @ t_h[b - n + side - 1]
                    + at[a, b, j] @ t_w[j - n + side - 1])
        scores[m, row, column] = at[a, b, c] @ k[0, m, i, j, n] / 2 + bias
    read = scores.softmax(-1) @ v[0].flatten(1, 3)
    wanted = made.proj(read.transpose(0, 1).flatten(1)).view(x.shape)
    assert (made(x) - wanted).abs().max() < 1e-12 and (made.literal(x) - wanted).abs().max() < 1e-12


@pytest.mark.parametrize("textbook", [False, True])
@pytest.mark.parametrize("real", [(2, 2, 2), (5, 5, 1), (1, 5, 5), (5, 2, 5), (3, 1, 4), (5, 5, 5)], ids=str)
def test_one_key_stands_for_all_that_is_empty(real, textbook):
    made = attention(5, textbook)
    x = torch.randn(2, *real, 8, dtype=torch.float64)
    gradients = []
    for form in (made, made.literal):
        out = form(x)
        made.zero_grad()
        out.square().sum().backward()
        gradients.append([p.grad.clone() for p in made.parameters()] + [out.detach()])
    assert all(torch.isfinite(a).all() and (a - b).abs().max() < 1e-9 for a, b in zip(*gradients))


def test_large_biases_do_not_overflow():
    made = attention(6).float()
    with torch.no_grad():
        made.qkv.weight *= 30
    x = torch.randn(1, 2, 2, 2, 8)
    assert torch.allclose(made(x), made.literal(x), atol=1e-4) and torch.isfinite(made(x)).all()


@pytest.mark.parametrize("grid", [(8, 8, 8), (7, 4, 5), (2, 2, 2)], ids=str)
def test_windows_of_what_is_there_are_the_filled_windows(grid):
    made = attention(3)
    x = torch.randn(2, *grid, 8, dtype=torch.float64)
    filled = in_windows(made, x, 3)  # zeros are tokens here: the attention is never given less than a whole window
    assert (in_real_windows(made, x, 3) - filled).abs().max() < 1e-12
    assert torch.equal(in_real_windows(made, x[:, :3, :3, :3], 0), made(x[:, :3, :3, :3]))


def test_windows_are_cubes():
    with pytest.raises(ModelError, match="no cube"):
        VolumeAttention(8, 2, (3, 4, 3))


def test_textbook_has_the_same_entries_and_other_numbers():
    published, repaired = model(), model(textbook=True)
    for p in published.image_encoder.blocks:
        torch.nn.init.normal_(p.attn.rel_pos_d)
    hub.load_official(repaired, published.state_dict())
    x = torch.randn(1, 1, 16, 16, 16)
    assert (published.image_encoder(x) - repaired.image_encoder(x)).abs().max() > 0.01


@torch.no_grad()
def test_prompts_of_several_images_in_one_call_come_out_as_if_alone():
    net = model()
    features = net.image_encoder(torch.randn(2, 1, 16, 16, 16))
    points, masks = torch.rand(3, 2, 3) * 15, torch.randn(3, 1, 16, 16, 16)
    labels, image_of = torch.tensor([[1, 0], [1, ABSENT], [0, 1]]), torch.tensor([1, 0, 1])
    together, iou = net.decode(features, points, labels, masks, image_of)
    assert together.shape == (3, 1, 16, 16, 16) and iou.shape == (3, 1)
    for n, count in enumerate((2, 1, 2)):
        alone, _ = net.decode(features[image_of[n]][None], points[n:n + 1, :count], labels[n:n + 1, :count], masks[n:n + 1])
        assert (together[n] - alone[0]).abs().max() < 1e-5
    three, _ = net.decode(features, points, labels, masks, image_of, multimask=True)
    assert three.shape == (3, 3, 16, 16, 16)


@torch.no_grad()
def test_axes_of_clicks_and_image_differ_as_published():
    encoder = model().prompt_encoder
    place = torch.tensor([[[1.5, 9.5, 13.5]]])  # the middle of the token (0, 2, 3)
    token = encoder(place, torch.tensor([[1]]))[0][0, 0] - encoder.point_embeddings[1].weight[0]
    dense = encoder.dense_positions()[0]
    assert torch.allclose(token, dense[:, 2, 0, 3], atol=1e-5) and not torch.allclose(token, dense[:, 0, 2, 3], atol=1e-2)
    sine, _, again = token.chunk(3)
    assert torch.allclose(sine, again, atol=1e-6)  # the token is a difference


def test_a_first_click_has_a_mask_of_zeros():
    net = model()
    assert net.no_mask(2).shape == (2, 1, 16, 16, 16) and not net.no_mask().any()
    assert SamMed3D(**SIZES["nano"]).no_mask().shape == (1, 1, 32, 32, 32)


def test_nano_is_small_and_trains():
    torch.manual_seed(0)
    net = hub.build("sam_med3d", size="nano")
    assert sum(p.numel() for p in net.parameters()) <= 1_400_000
    logits, _ = net(torch.randn(1, 1, 32, 32, 32), torch.tensor([[[16.0, 16, 16]]]), torch.tensor([[1]]), net.no_mask())
    logits.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert all(b.attn.rel_pos_h.grad.abs().sum() > 0 for b in net.image_encoder.blocks)


def test_official_checkpoints_fit():
    theirs, ours = model(1), model(2)
    hub.load_official(ours, {"model_state_dict": {f"module.{k}": v for k, v in theirs.state_dict().items()}, "epoch": 1})
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: hub.build("sam_med3d", size="vit_h"), "vit_b_ori, nano"),
    (lambda: model(size=18), "multiple"),
    (lambda: model(prompt_channels=32), "multiple of 24"),
    (lambda: model()(torch.zeros(1, 1, 16, 16, 20)), "16, 16, 16"),
    (lambda: model().decode(torch.zeros(1, 24, 4, 4, 4), torch.zeros(1, 1, 2), torch.zeros(1, 1)), "(N, P, 3)"),
    (lambda: model().decode(torch.zeros(1, 24, 4, 4, 4), torch.zeros(2, 1, 3)), "belong together"),
    (lambda: model().decode(torch.zeros(3, 24, 4, 4, 4), torch.zeros(2, 1, 3), torch.zeros(2, 1)), "image_of"),
])
def test_refused(call, words):
    with pytest.raises(ModelError) as error:
        call()
    assert words in str(error.value)
