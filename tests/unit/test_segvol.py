"""SegVol: prompts that share a call, text, the glance and the close look at whole CTs."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from threshold_model import OBLIQUE
from torch import nn

from fmlab import hub
from fmlab.errors import ModelError, PromptError
from fmlab.interactive.preprocess_segvol import normalised
from fmlab.interactive.prompt_encoder import ABSENT
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.segvol import SegVol
from fmlab.interactive.segvol_encoder import Patches
from fmlab.interactive.segvol_text import ClipText, looked_up, read_table, save_table
from fmlab.interactive.segvol_zoom import at_a_glance, roi, segment, zoom_out_zoom_in
from fmlab.vocabulary import ID
from fmlab.volume import Volume

TINY = dict(size=(4, 16, 8), patch=(2, 4, 4), channels=24, depth=1, heads=2, encoder_mlp=16, decoder_heads=2, mlp=16, hidden=8)


def model(seed=0, **changes):
    torch.manual_seed(seed)
    return SegVol(**(TINY | changes)).eval()


def test_patches_are_cut_in_the_order_of_the_axes():
    x = torch.randn(2, 1, 4, 6, 9)
    rows = Patches((2, 3, 3))(x)
    assert rows.shape == (2, 2 * 2 * 3, 18)
    assert torch.equal(rows[1, 7], x[1, 0, 2:4, 0:3, 3:6].flatten())  # token (1, 0, 1)


@torch.no_grad()
def test_prompts_of_several_images_in_one_call_come_out_as_if_alone():
    net = model()
    features = net.image_encoder(torch.rand(2, 1, *net.size))
    points, boxes, text = torch.rand(3, 2, 3) * 4, torch.tensor([[0.0, 2, 1, 3, 9, 6]] * 3), torch.randn(3, 24)
    labels, image_of = torch.tensor([[1, 0], [1, ABSENT], [0, 1]]), torch.tensor([1, 0, 1])
    together, iou = net.decode(features, points, labels, boxes, text, image_of)
    assert together.shape == (3, 1, 8, 16, 8) and iou.shape == (3, 1)
    for n, count in enumerate((2, 1, 2)):
        one = slice(n, n + 1)
        alone, _ = net.decode(features[image_of[n]][None], points[one, :count], labels[one, :count], boxes[one], text[one])
        assert (together[n] - alone[0]).abs().max() < 1e-5
    texts, _ = net.decode(features[:1], text=text)
    for n in range(3):
        assert (texts[n] - net.decode(features[:1], text=text[n:n + 1])[0][0]).abs().max() < 1e-5


@torch.no_grad()
def test_heights_and_depths_are_divided_by_each_other_s_size():
    encoder = model().prompt_encoder
    place = encoder.relative(torch.tensor([3.5, 7.5, 3.5]))
    assert place.tolist() == [4 / 16, 8 / 4, 4 / 8]


@torch.no_grad()
def test_text_is_a_token_and_added_to_every_mask():
    net = model()
    features, text = net.image_encoder(torch.rand(1, 1, *net.size)), torch.randn(1, 24)
    box = torch.tensor([[0.0, 2, 1, 3, 9, 6]])
    before = torch.cat([net.decode(features, boxes=box, text=text, multimask=m)[0] for m in (False, True)], 1)
    nn.init.zeros_(net.mask_decoder.txt_align_upscaled_embedding.weight)
    nn.init.zeros_(net.mask_decoder.txt_align_upscaled_embedding.bias)
    after = torch.cat([net.decode(features, boxes=box, text=text, multimask=m)[0] for m in (False, True)], 1)
    likeness = before - after
    assert likeness.abs().max() > 1e-3 and (likeness - likeness[:, :1]).abs().max() < 1e-5
    assert (after[:, :1] - net.decode(features, boxes=box)[0]).abs().max() > 1e-4  # still a token


def test_nano_trains_and_official_checkpoints_fit():
    nano = hub.build("segvol", size="nano")
    assert sum(p.numel() for p in nano.parameters()) < 3_500_000
    logits, _ = nano(torch.rand(1, 1, *nano.size), boxes=torch.tensor([[1.0, 5, 5, 9, 30, 40]]), text=torch.randn(1, 96))
    assert logits.shape == (1, 1, 16, 32, 32)
    logits.square().mean().backward()
    assert nano.image_encoder.patch_embedding.position_embeddings.grad.abs().sum() > 0
    theirs = {f"module.{key}": value for key, value in model(1).state_dict().items()}
    theirs |= {"module.text_encoder.dim_align.weight": torch.zeros(2), "module.text_encoder.clip_text_model.x": torch.zeros(1)}
    ours = model(2)
    with pytest.raises(ModelError, match="2 unexpected"):
        hub.load_official(ours, {"model": theirs})
    hub.load_official(ours, {"model": theirs}, allow_unexpected=("text_encoder",))
    assert all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), model(1).state_dict().values()))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: hub.build("segvol", size="vit_b"), "vit, nano"),
    (lambda: model(size=(4, 15, 8)), "patches must divide"),
    (lambda: model()(torch.zeros(1, 1, 4, 16, 9)), "resize"),
    (lambda: model().decode(torch.zeros(1, 24, 2, 4, 2), text=torch.zeros(24)), "Text is (N, 24)"),
    (lambda: model().decode(torch.zeros(1, 24, 2, 4, 2), boxes=torch.zeros(1, 6), text=torch.zeros(2, 24)), "for 1"),
    (lambda: model().decode(torch.zeros(1, 24, 2, 4, 2), boxes=torch.zeros(1, 4)), "(N, 6)"),
])
def test_refused(call, words):
    with pytest.raises(ModelError) as error:
        call()
    assert words in str(error.value)


# --- text ---------------------------------------------------------


class Tower(nn.Module):
    """Stands in for CLIP's: the mean number of a text's letters."""

    def __init__(self, config):
        super().__init__()

    def forward(self, input_ids):
        return SimpleNamespace(pooler_output=input_ids.float().mean(1, keepdim=True).expand(-1, 512))


def letters(texts, padding, return_tensors):
    longest = max(map(len, texts))
    return {"input_ids": torch.tensor([[ord(c) for c in text.ljust(longest)] for text in texts])}


def test_text_tower_where_the_user_has_it(monkeypatch):
    asked = []
    fake = ModuleType("transformers")
    fake.CLIPTextConfig, fake.CLIPTextModel = lambda: SimpleNamespace(hidden_size=512), Tower
    fake.AutoTokenizer = SimpleNamespace(from_pretrained=lambda name, local_files_only: asked.append(name) or (
        lambda texts, **options: asked.extend(texts) or letters(texts, **options)))
    monkeypatch.setitem(sys.modules, "transformers", fake)
    tower = ClipText("some/folder", channels=24)
    vectors = tower(["liver", "left kidney"])
    assert vectors.shape == (2, 24) and not vectors.requires_grad
    assert asked == ["some/folder", "A computerized tomography of a liver.", "A computerized tomography of a left kidney."]
    assert set(tower.state_dict()) == {"dim_align.weight", "dim_align.bias"}


def test_no_text_tower_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match="not installed"):
        ClipText("anywhere")


def test_tables_of_texts(tmp_path):
    table = {"liver": torch.randn(24), "spleen": torch.randn(24)}
    back = read_table(save_table(tmp_path / "texts.safetensors", table))
    assert torch.equal(looked_up(back, ["spleen", "liver"]), torch.stack([table["spleen"], table["liver"]]))
    with pytest.raises(ModelError, match="has no pancreas; it knows"):
        looked_up(back, ["pancreas"])
    (tmp_path / "no.safetensors").write_text("no")
    with pytest.raises(ModelError, match="no table"):
        read_table(tmp_path / "no.safetensors")


# --- whole CTs ----------------------------------------------------


class Bright(nn.Module):
    """A stand-in for a trained SegVol: what is bright within the box or the box about its positive clicks, at half resolution."""

    def __init__(self, size=(4, 8, 8)):
        super().__init__()
        self.size = size
        self.weight, self.image_encoder, self.asked = nn.Parameter(torch.zeros(1)), nn.Identity(), []

    def decode(self, features, points=None, labels=None, boxes=None, text=None):
        self.asked.append((None if points is None else (points[0].tolist(), labels[0].tolist()),
                           None if boxes is None else boxes[0].tolist(), text is not None))
        inside = torch.full(self.size, text is not None)
        if boxes is not None:
            low, high = boxes[0].round().long().view(2, 3).tolist()
            inside[tuple(slice(max(a - 1, 0), b + 2) for a, b in zip(low, high))] = True
        elif points is not None:
            inside[:] = True
        logits = torch.where(inside & (features[0, 0] > 0.5), 4.0, -4.0)
        return logits[None, None], torch.zeros(1, 1)


def picture(shape=(10, 40, 24), where=(slice(2, 8), slice(5, 31), slice(4, 20))):
    image = torch.zeros(shape)
    image[where] = 1
    return image


def test_the_close_look_is_finer_than_the_glance():
    net, image = Bright(), picture()
    box = Prompts(torch.zeros(0, 3), [], box=[2, 5, 4, 7, 30, 19])
    logits = zoom_out_zoom_in(net, image, box)
    assert torch.equal(logits > 0, image > 0)
    assert net.asked[0][1] == pytest.approx([2 * 0.4, 5 * 0.2, 4 / 3, 7 * 0.4, 30 * 0.2, 19 / 3])  # in the glance's voxels
    closer = [box for _, box, _ in net.asked[1:]]
    assert len(closer) > 8 and all(max(b[:3]) >= 0 and b[3] <= 3 and b[4] <= 7 and b[5] <= 7 for b in closer)


def test_a_window_in_which_nothing_was_asked_outvotes_nobody():
    image = picture((4, 96, 8), (slice(0, 4), slice(23, 49), slice(0, 8)))  # the glance sees 24 to 47
    box = Prompts(torch.zeros(0, 3), [], box=[0, 23, 0, 3, 48, 7])
    assert torch.equal(zoom_out_zoom_in(Bright(), image, box) > 0, image > 0)  # 23 also lies in the window 16 to 23


def test_one_window_gets_the_person_s_own_box():
    net, own = Bright((8, 16, 16)), torch.tensor([5.0, 8, 8, 7, 14, 12])
    image = picture((12, 24, 24), (slice(5, 8), slice(8, 15), slice(8, 13)))
    logits = zoom_out_zoom_in(net, image, Prompts(torch.zeros(0, 3), [], box=own))
    assert torch.equal(logits > 0, image > 0) and len(net.asked) == 2
    shift = own - torch.tensor(net.asked[1][1])
    assert torch.equal(shift[:3], shift[3:]) and shift.min() > 0  # the same box, in the window's voxels


def test_the_close_look_takes_in_a_voxel_of_the_glance_more():
    mask = picture((10, 40, 24), (slice(2, 8), slice(5, 31), slice(10, 12))) > 0
    assert roi(mask, (4, 8, 8)) == (slice(0, 10), slice(0, 36), slice(7, 15))  # w: a window; d, h: 3 and 5 on each side


def test_clicks_of_both_signs_go_to_the_windows_that_hold_them():
    net, image = Bright(), picture()
    logits = zoom_out_zoom_in(net, image, Prompts(torch.tensor([[4.0, 10, 8], [1, 1, 1], [6, 29, 18]]), [1, -1, 0]))
    assert torch.equal(logits > 0, image > 0)
    assert net.asked[0][0][1] == [1, 0] and net.asked[0][1] is None
    labels = {tuple(points[1]) for points, box, _ in net.asked[1:] if points}
    assert labels == {(1,), (0,)} and all(box for _, box, _ in net.asked[1:])


def test_text_alone_needs_no_place():
    net, image = Bright(), picture()
    logits = zoom_out_zoom_in(net, image, Prompts.of(3), torch.zeros(1, 24))
    assert torch.equal(logits > 0, image > 0) and {(p, b) for p, b, _ in net.asked} == {(None, None)}


def test_nothing_at_a_glance_stays_nothing():
    net = Bright()
    logits = zoom_out_zoom_in(net, torch.zeros(6, 9, 9), Prompts.of(3), torch.zeros(1, 24))
    assert logits.shape == (6, 9, 9) and (logits < 0).all() and len(net.asked) == 1


@pytest.mark.parametrize("unit", ["voxel", "mm"])
def test_volumes_come_back_on_their_own_grid(unit):
    hu = torch.full((1, 24, 40, 10), 100.0)
    hu[:, :, 33:] = -1000
    hu[0, 4:20, 5:31, 2:8] = 300
    ct = Volume(hu, OBLIQUE)
    click = Prompts(torch.tensor([[8.0, 10, 4]]), [1])
    labelled = segment(Bright(), ct, {"liver": click.to_mm(ct.affine) if unit == "mm" else click})
    assert torch.equal(labelled.mask("liver"), hu[0] > 200) and labelled.labels.unique().tolist() == [0, ID["liver"]]
    assert labelled.annotated == {"liver"}


def test_a_real_model_takes_all_kinds_and_reads_the_glance_once():
    torch.manual_seed(0)
    net, hu = model(), torch.rand(1, 20, 30, 8) * 1000
    ct, table = Volume(hu, torch.eye(4).numpy()), {"liver": torch.randn(24), "spleen": torch.randn(24)}
    asked = {"liver": Prompts.of(3), "spleen": Prompts(torch.tensor([[3.0, 4, 5]]), [1], box=[1, 2, 3, 9, 9, 6])}
    labelled = segment(net, ct, asked, table)
    assert labelled.shape == ct.shape and set(labelled.labels.unique().tolist()) <= {0, ID["liver"], ID["spleen"]}
    image = torch.from_numpy(normalised(hu[0].numpy())).float()
    again = zoom_out_zoom_in(net, image, Prompts.of(3), table["liver"][None], glance=at_a_glance(net, image))
    assert torch.equal(again, zoom_out_zoom_in(net, image, Prompts.of(3), table["liver"][None]))


@pytest.mark.parametrize(("prompts", "words"), [
    (Prompts.of(3), "asked for nothing"),
    (Prompts(torch.tensor([[4.0, 10, 80]]), [1]), "outside"),
    (Prompts(torch.zeros(1, 2), [1]), "2-D"),
])
def test_unfit_prompts(prompts, words):
    with pytest.raises(PromptError, match=words):
        zoom_out_zoom_in(Bright(), picture(), prompts)
