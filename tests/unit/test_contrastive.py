"""Section 1.A: fundus photographs, captions, losses, zero-shot, probe, the small image-text model, and FLAIR's own layout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from data_scripts import contrastive_recipes
from fmlab import hub
from fmlab.contrastive import everything, flair, nano, photographs, probe, words, zero_shot
from fmlab.contrastive.bert import Bert, BertSize
from fmlab.contrastive.cameras import CAMERAS
from fmlab.contrastive.clip_loss import clip_loss
from fmlab.contrastive.conditions import CONDITIONS, KNOWN, NOVEL, caption, instance, report
from fmlab.contrastive.eyes import eye
from fmlab.contrastive.findings import BEFORE, COUNTED, PAINTED, PLACES, Finding, somewhere
from fmlab.contrastive.fundus import fundus
from fmlab.contrastive.pairing_loss import pairing_loss, targets
from fmlab.errors import DataError, ModelError
from fmlab.lessons.experiments import c01
from fmlab.phantom.visits import any_visit

EVERY = [Finding(name, "many" if name in COUNTED else "", place) for name, places in PLACES.items() for place in places]


def generator(seed=0):
    return np.random.default_rng(seed)


# ---- fundus photographs

def test_a_fundus_is_reddish_in_a_dark_frame_and_follows_from_its_seed():
    picture = fundus(3)
    assert picture.shape == (3, 64, 64) and picture.dtype == np.float32 and 0 <= picture.min() and picture.max() <= 1
    red, green, blue = picture[:, 20:44, 20:44].mean((1, 2))
    assert red > 1.4 * green > 1.4 * blue and picture[:, 0, 0].max() < 0.1
    assert np.array_equal(picture, fundus(3)) and not np.array_equal(picture, fundus(4))


def test_findings_are_read_from_their_words():
    assert all(Finding.read(str(finding)) == finding for finding in EVERY)
    with pytest.raises(DataError, match="'many freckles' names no finding"):
        Finding.read("many freckles")


@pytest.mark.parametrize("finding", EVERY, ids=str)
def test_each_finding_shows_and_stays_in_the_field(finding):
    plain, ill = fundus(5), fundus(5, [finding])
    assert np.abs(ill - plain).max() > 0.1
    assert np.abs(ill - plain)[:, :3, :3].max() < 0.05


@pytest.mark.parametrize("place", ["in the macula", "in the periphery"])
def test_findings_lie_where_they_are_said_to_lie(place):
    for seed in range(20):
        rng = generator(seed)
        one = eye(rng)
        x, y = somewhere(one, place, rng)
        assert np.hypot(x, y) < 0.95 and np.hypot(x - one.disc[0], y - one.disc[1]) > 0.2
        assert np.hypot(x - one.macula[0], y - one.macula[1]) < 0.5 if place == "in the macula" else np.hypot(x, y) > 0.6


def test_with_a_finding_it_is_the_same_eye_still():
    """Vessels and disc stay where they are: away from the finding hardly a pixel differs."""
    ill = fundus(7, [Finding("large haemorrhage", "", "in the macula")])
    assert (np.abs(ill - fundus(7)).max(0) < 0.02).mean() > 0.85


def test_haemorrhages_are_dark_and_exudates_bright():
    plain = fundus(8).mean()
    assert fundus(8, [Finding("dot haemorrhages", "many", "in all quadrants")]).mean() < plain - 0.005
    assert fundus(8, [Finding("pale patch of atrophy", "", "in the macula")]).mean() > plain + 0.005


def test_many_change_more_than_few():
    few, many = (fundus(2, [Finding("drusen", amount, "in the macula")]) for amount in ("few", "many"))
    assert np.abs(many - fundus(2)).sum() > 1.5 * np.abs(few - fundus(2)).sum()


def test_cameras_differ_in_tone_and_the_shifted_ones_most():
    tones = {name: np.mean([fundus(k, camera=name)[:, 16:48, 16:48].mean((1, 2)) for k in range(6)], axis=0) for name in CAMERAS}
    assert tones["E"].sum() < min(tones[name].sum() for name in "ABC")
    assert tones["D"][2] > max(tones[name][2] for name in "AB")


def test_other_sizes_and_unknown_words():
    assert fundus(1, size=96).shape == (3, 96, 96)
    with pytest.raises(DataError, match="no finding 'freckles'"):
        fundus(1, [Finding("freckles")])
    with pytest.raises(DataError, match="no camera 'Z'"):
        fundus(1, camera="Z")


# ---- captions

def test_every_condition_can_be_drawn_and_described():
    for name, one in CONDITIONS.items():
        assert one.says and all(text == text.strip() and text for text in one.says)
        for finding in (*one.always, *one.sometimes):
            assert finding.name in PAINTED or finding.name in BEFORE
            assert finding.place in PLACES[finding.name]
            assert bool(finding.amount) == (finding.name in COUNTED)
        assert set(one.always) <= set(instance(name, generator()))


def test_captions_are_names_or_knowledge():
    assert {caption("glaucoma", generator(k), knowledge=0.0).split(" of ")[1] for k in range(9)} == {"glaucoma"}
    said = {caption("glaucoma", generator(k), knowledge=1.0).split(" of ", 1)[1] for k in range(30)}
    assert said == set(KNOWN["glaucoma"].says)


def test_reports_list_what_is_there_and_never_a_novel_condition():
    for seed in range(300):
        found, text = report(generator(seed), most=4)
        assert all(str(finding) in text for finding in found)
        names = {finding.name for finding in found}
        assert not any({finding.name for finding in one.always} <= names for one in NOVEL.values())


def test_no_novel_condition_is_in_the_diet_by_name():
    made = nano.fundus_pictures(60, seed=1, size=32)
    assert {category for *_, category in made} & set(KNOWN) and not {category for *_, category in made} & set(NOVEL)
    assert any(text for _, text, _ in made) and not any(name in text for _, text, _ in made for name in NOVEL)


# ---- what a generalist sees

def test_shapes_have_the_colour_that_the_caption_names():
    for seed in range(10):
        picture, text, category = everything.shapes(generator(seed), 48)
        assert picture.shape == (3, 48, 48) and category in text
        colour = np.array(everything.COLOURS[category.split()[0]])[:, None, None]
        assert (np.abs(picture - colour).max(0) < 0.2).mean() > 0.01


def test_slices_of_bodies_name_organs_that_are_there(fresh_cache):
    body = any_visit(3, "A", 16.0)
    made = everything.body_slices([body], generator(), 40, 6)
    assert len(made) == 6
    for picture, text, _ in made:
        assert picture.shape == (3, 40, 40) and 0 <= picture.min() and picture.max() <= 1
        assert text.startswith("a CT slice, ") and "showing" in text and np.array_equal(picture[0], picture[2])


def test_a_diet_has_its_share_of_fundus_photographs(fresh_cache, monkeypatch):
    monkeypatch.setattr(nano, "SPACING", 16.0)
    made = nano.diet(0.25, nano.Budget(pictures=16, bodies=1), seed=0, size=32)
    assert len(made) == 16
    kinds = [text[:4] for _, text, _ in made[4:]]
    assert kinds.count("a CT") == 6 and kinds.count("a pi") == 6


# ---- words

def test_words_become_numbers_and_back():
    known = words.vocabulary(["Few drusen, in the macula", "drusen"])
    assert known == ("drusen", "few", "in", "macula", "the")
    rows = words.numbers(["drusen few", "", "FEW freckles"], known)
    assert rows.shape == (3, words.LONGEST) and rows[:, :3].tolist() == [[2, 3, 0], [0, 0, 0], [3, 1, 0]]
    assert words.numbers(["few " * 60], known).tolist() == [[3] * words.LONGEST]


# ---- losses

def test_clip_loss_of_who_guesses_and_of_who_knows():
    assert float(clip_loss(torch.zeros(8, 8))) == pytest.approx(math.log(8))
    assert float(clip_loss(50 * torch.eye(8))) == pytest.approx(0, abs=1e-6)


def test_pairing_loss_is_clips_where_all_categories_differ():
    logits = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))
    assert float(pairing_loss(logits, torch.arange(6))) == pytest.approx(float(clip_loss(logits)), rel=1e-6)
    assert float(pairing_loss(logits, torch.tensor([0, 0, 1, 2, 3, 4]))) != pytest.approx(float(clip_loss(logits)), rel=1e-3)


def test_targets_are_distributions_over_the_own_category():
    goal = targets(torch.tensor([4, 1, 4, 4]))
    assert goal.tolist()[1] == [0, 1, 0, 0] and goal[0].tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])


def test_a_model_that_knows_the_categories_is_left_alone_by_flair_and_not_by_clip():
    categories = torch.tensor([0, 0, 1, 1, 2])
    logits = (30.0 * (categories[:, None] == categories[None])).requires_grad_()
    push = {name: torch.autograd.grad(value, logits)[0].abs().max().item() for name, value in
            (("clip", clip_loss(logits)), ("flair", pairing_loss(logits, categories)))}
    assert push["flair"] < 1e-6 and push["clip"] > 0.05


# ---- zero-shot

def test_ensembles_point_to_the_mean_and_keep_or_lose_its_length():
    agree, argue = torch.eye(3)[[0, 0]], torch.eye(3)[[1, 2]]
    assert zero_shot.ensemble([agree, argue]).norm(dim=1).tolist() == pytest.approx([1, 1])
    raw = zero_shot.ensemble([agree, argue], normalise=False)
    assert raw.norm(dim=1).tolist() == pytest.approx([1, math.sqrt(0.5)])
    assert F.cosine_similarity(raw, zero_shot.ensemble([agree, argue])).tolist() == pytest.approx([1, 1])


def test_a_class_whose_texts_argue_is_chosen_less_often_without_length_one():
    """The same angle to both classes, and the one with shorter mean loses."""
    picture = F.normalize(torch.tensor([[math.sqrt(2), 1.0, 1.0]]), dim=1)
    texts = [torch.eye(3)[[0, 0]], torch.eye(3)[[1, 2]]]
    near = picture @ zero_shot.ensemble(texts).T
    raw = picture @ zero_shot.ensemble(texts, normalise=False).T
    assert float(near[0, 0] - near[0, 1]) == pytest.approx(0, abs=1e-6) and raw[0, 0] - raw[0, 1] > 0.2


def test_texts_of_classes():
    named, known = zero_shot.names_only(["glaucoma"]), zero_shot.with_knowledge(["glaucoma"])
    assert named == {"glaucoma": ["a fundus photograph of glaucoma"]}
    assert len(known["glaucoma"]) == len(KNOWN["glaucoma"].says) + 1 and set(named["glaucoma"]) <= set(known["glaucoma"])
    assert zero_shot.with_knowledge(["glaucoma"]) == known  # asking twice adds nothing
    with pytest.raises(ModelError, match="'empty' has no text"):
        zero_shot.class_embeddings(hub.build("image_text", words=["a"]), {"empty": []})


def test_balanced_accuracy_weighs_classes_alike():
    truth = torch.tensor([0] * 9 + [1])
    assert zero_shot.balanced_accuracy(torch.zeros(10, dtype=torch.long), truth) == pytest.approx(0.5)


# ---- probe

def test_probe_is_logistic_regression():
    """Two classes on a line: the gradient of its objective is zero where it stops."""
    rng = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.randn(60, 5, generator=rng) + F.one_hot(y, 5)
    fit = probe.fitted(x, y, c=0.5, steps=200)
    z, weight = (x - fit.mean) / fit.deviation, fit.weight.clone().requires_grad_()
    cost = 0.5 * F.cross_entropy(z @ weight.T + fit.bias, y, reduction="sum") + weight.square().sum() / 2
    assert torch.autograd.grad(cost, weight)[0].abs().max() < 1e-2
    assert zero_shot.balanced_accuracy(fit(x).argmax(1), y) > 0.6


def test_probe_weighs_rare_classes_up_and_takes_features_of_any_size():
    rng = torch.Generator().manual_seed(1)
    y = torch.tensor([0] * 50 + [1] * 5)
    x = torch.randn(55, 4, generator=rng) + 1.5 * y[:, None]
    one, scaled = probe.fitted(x, y), probe.fitted(1000 * x + 5, y)
    assert torch.allclose(one(x), scaled(1000 * x + 5), atol=1e-2)
    assert (one(x).argmax(1)[y == 1] == 1).float().mean() >= 0.8


@pytest.mark.parametrize(("count", "labels"), [(3, [0, 1]), (2, [0, 2]), (0, [])])
def test_probe_refuses_labels_that_do_not_fit(count, labels):
    with pytest.raises(DataError, match="a probe needs one label"):
        probe.fitted(torch.zeros(count, 2), torch.tensor(labels, dtype=torch.long))


# ---- the small model

@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return hub.build("image_text", words=list(nano.WORDS)).eval()


def test_both_towers_end_on_one_sphere(model):
    with torch.no_grad():
        pictures, texts = model.images(torch.rand(3, 3, 64, 64)), model.texts(["few drusen", "glaucoma"])
        logits = model(torch.rand(3, 3, 64, 64), ["few drusen", "glaucoma"])
    assert torch.allclose(pictures.norm(dim=1), torch.ones(3)) and torch.allclose(texts.norm(dim=1), torch.ones(2))
    assert logits.shape == (3, 2) and float(model.scale.detach()) == pytest.approx(1 / 0.07, rel=1e-4)
    assert sum(p.numel() for p in model.parameters()) < 400_000


def test_a_texts_embedding_does_not_depend_on_the_texts_beside_it(model):
    with torch.no_grad():
        alone, beside = model.texts(["few drusen"]), model.texts(["few drusen", "many flame haemorrhages in all quadrants", ""])
    assert torch.allclose(alone[0], beside[0], atol=1e-6) and torch.isfinite(beside).all()


def test_the_order_of_words_counts(model):
    with torch.no_grad():
        one, other = model.texts(["a swollen disc with drusen", "drusen with a swollen disc"])
    assert (one - other).norm() > 1e-3


def test_every_word_of_every_caption_is_in_the_vocabulary():
    known = set(nano.WORDS)
    texts = [text for name in CONDITIONS for group in (zero_shot.with_knowledge([name]), zero_shot.names_only([name]))
             for text in group[name]]
    texts += [report(generator(k))[1] for k in range(50)] + [caption(name, generator(k)) for k, name in enumerate(KNOWN)]
    texts += [everything.shapes(generator(k), 16)[1] for k in range(50)]
    assert not {word for text in texts for word in words.split(text)} - known


def test_pairs_draw_a_new_caption_each_time_and_keep_the_category():
    pairs = nano.Pairs([(fundus(1, size=32), "", "glaucoma"), (fundus(2, size=32), "a fundus photograph of haze", "haze")])
    torch.manual_seed(0)
    items = [pairs[0] for _ in range(12)]
    assert len({tuple(item["text"].tolist()) for item in items}) > 2 and {item["category"] for item in items} == {0}
    assert {tuple(pairs[1]["text"].tolist()) for _ in range(4)} == {
        tuple(words.numbers(["a fundus photograph of haze"], nano.WORDS)[0].tolist())}
    assert all(0 <= item["image"].min() and item["image"].max() <= 1 for item in items)


def test_training_lowers_the_loss(tmp_path):
    pictures = nano.fundus_pictures(24, seed=0, size=32)
    budget = nano.Budget(steps=12, batch=12)
    model, log = nano.trained(pictures, 0, tmp_path, budget, progress=False)
    assert log[-1]["loss"] < log[0]["loss"] - 0.05 and not model.training


def test_examinations_are_balanced_and_no_picture_of_the_diet():
    pictures, truth = nano.examined(["glaucoma", "healthy"], "D", 3, seed=0, size=32)
    assert pictures.shape == (6, 3, 32, 32) and truth.tolist() == [0, 0, 0, 1, 1, 1]
    assert not torch.equal(pictures, nano.examined(["glaucoma", "healthy"], "E", 3, seed=0, size=32)[0])


def test_a_model_without_words_is_refused():
    with pytest.raises(ModelError, match="needs words"):
        hub.build("image_text", words=[])


# ---- photographs of one's own

def test_a_photograph_is_cut_to_its_field_and_squared(tmp_path):
    picture = (fundus(1, size=64).transpose(1, 2, 0) * 255).astype(np.uint8)
    framed = np.zeros((100, 160, 3), np.uint8)
    framed[20:84, 40:104] = picture
    Image.fromarray(framed).save(tmp_path / "eye é.png")
    read = photographs.read_photograph(tmp_path / "eye é.png")
    assert read.shape == (1, 3, 64, 64)
    assert np.abs(read[0].numpy() - fundus(1)).mean() < 0.06


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_what_is_no_picture_is_refused(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read"):
        photographs.read_photograph(tmp_path / "a.png")
    with pytest.raises(DataError, match="cannot be read"):
        photographs.read_photograph(tmp_path / "none.png")


def test_a_black_picture_is_refused():
    with pytest.raises(DataError, match="Nothing but black"):
        photographs.squared_field(np.zeros((10, 12, 3), np.float32))


# ---- FLAIR's own layout

TINY = BertSize(words=40, width=24, layers=3, heads=2, hidden=48, places=16)


def official(text: bool) -> dict[str, torch.Tensor]:
    """A made-up checkpoint with the keys of FLAIR's: torchvision's ResNet-50 without its head, BERT, two projections, a scale."""
    made = {f"vision_model.model.{key}": value for key, value in resnet50_keys().items()}
    made |= {"vision_model.projection_head_vision.projection.weight": torch.randn(512, 2048), "logit_scale": torch.tensor(3.5)}
    if text:
        made |= {f"text_model.model.{key}": value for key, value in bert_keys(TINY).items()}
        made["text_model.projection_head_text.projection.weight"] = torch.randn(512, TINY.width)
    return made


def resnet50_keys() -> dict[str, torch.Tensor]:
    """Names and shapes of torchvision's ResNet-50, written down from its architecture."""
    made: dict[str, torch.Tensor] = {}

    def conv(name, out, of, side):
        made[f"{name}.weight"] = 0.05 * torch.randn(out, of, side, side)

    def norm(name, out):
        made.update({f"{name}.{key}": torch.ones(out) for key in ("weight", "running_var")})
        made.update({f"{name}.{key}": torch.zeros(out) for key in ("bias", "running_mean")})
        made[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv("conv1", 64, 3, 7), norm("bn1", 64)
    channels = 64
    for level, (blocks, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512)), start=1):
        for block in range(blocks):
            name = f"layer{level}.{block}"
            for k, (out, of, side) in enumerate(((width, channels, 1), (width, width, 3), (4 * width, width, 1)), start=1):
                conv(f"{name}.conv{k}", out, of, side), norm(f"{name}.bn{k}", out)
            if block == 0:
                conv(f"{name}.downsample.0", 4 * width, channels, 1), norm(f"{name}.downsample.1", 4 * width)
            channels = 4 * width
    return made


def bert_keys(size: BertSize) -> dict[str, torch.Tensor]:
    """Names and shapes of transformers' BertModel."""
    counts = {"word": size.words, "position": size.places, "token_type": 2}
    made = {f"embeddings.{name}_embeddings.weight": torch.randn(count, size.width) for name, count in counts.items()}

    def linear(name, out, of):
        made.update({f"{name}.weight": 0.1 * torch.randn(out, of), f"{name}.bias": torch.zeros(out)})

    def norm(name):
        made.update({f"{name}.weight": torch.ones(size.width), f"{name}.bias": torch.zeros(size.width)})

    norm("embeddings.LayerNorm")
    for k in range(size.layers):
        layer = f"encoder.layer.{k}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            linear(f"{layer}.attention.{part}", size.width, size.width)
        norm(f"{layer}.attention.output.LayerNorm")
        linear(f"{layer}.intermediate.dense", size.hidden, size.width), linear(f"{layer}.output.dense", size.width, size.hidden)
        norm(f"{layer}.output.LayerNorm")
    linear("pooler.dense", size.width, size.width)
    return made


def test_a_checkpoint_in_flairs_layout_loads_whole():
    model = flair.Flair(TINY)
    report = hub.load_official(model, {"state_dict": official(text=True)})
    assert not report.missing and not report.unexpected and not report.misfit
    assert float(model.logit_scale.detach()) == pytest.approx(3.5)


def test_the_vision_tower_alone_leaves_the_text_aside(tmp_path, capsys):
    extra = {"text_model.model.embeddings.position_ids": torch.arange(16)[None]}
    torch.save({**official(text=True), **extra}, tmp_path / "flair_resnet.pth")
    model = flair.load(tmp_path / "flair_resnet.pth")
    assert model.text_model is None and not model.training and "0 missing" in capsys.readouterr().out
    with torch.no_grad():
        features = model.features(torch.rand(1, 3, 64, 64))
    assert features.shape == (1, 2048) and torch.isfinite(features).all()
    with pytest.raises(ModelError, match="no text tower"):
        model(torch.rand(1, 3, 64, 64), torch.ones(1, 2, dtype=torch.long), torch.ones(1, 2))


def test_safetensors_are_read_too_and_what_fits_not_is_refused(tmp_path):
    from safetensors.torch import save_file

    state = official(text=False)
    save_file(state, tmp_path / "model.safetensors")
    loaded = flair.load(tmp_path / "model.safetensors").vision_model.model
    assert loaded.conv1.weight.equal(state["vision_model.model.conv1.weight"])
    state.pop("vision_model.model.layer4.2.conv3.weight")
    torch.save(state, tmp_path / "cut.pth")
    with pytest.raises(ModelError, match="1 missing"):
        flair.load(tmp_path / "cut.pth")
    (tmp_path / "no.pth").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read as plain weights"):
        flair.load(tmp_path / "no.pth")


def test_text_features_mix_three_layers_and_count_padding():
    torch.manual_seed(0)
    tower = flair.TextTower(TINY).eval()
    tokens, there = torch.tensor([[3, 4, 5, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]])
    with torch.no_grad():
        states = tower.model(tokens, there)
        h = (states[1].mean(1) + states[2].mean(1) + states[3].mean(1)) / 3
        expected = F.normalize(F.normalize(h, dim=1) @ tower.projection_head_text.projection.weight.T, dim=1)
        assert torch.allclose(tower(tokens, there), expected, atol=1e-6)
        assert not torch.allclose(tower(tokens, there), tower(tokens[:, :3], there[:, :3]), atol=1e-4)


def test_bert_attends_to_no_padding():
    torch.manual_seed(0)
    model = Bert(TINY).eval()
    with torch.no_grad():
        short = model(torch.tensor([[3, 4]]), torch.ones(1, 2))[-1]
        long = model(torch.tensor([[3, 4, 9]]), torch.tensor([[1, 1, 0]]))[-1]
    assert torch.allclose(short[0], long[0, :2], atol=1e-6)


def test_preprocessing_fits_the_longer_side_and_fills_with_black():
    picture = np.full((50, 100, 3), 255, np.uint8)
    made = flair.preprocessed(picture, side=64)
    assert made.shape == (1, 3, 64, 64) and made[0, :, :32].min() > 0.99 and made[0, :, 32:].max() == 0


# ---- claim C01

def test_the_effect_is_the_smaller_of_two_differences():
    def made(knowledge, linear):
        return {"set": {"names": 0.0, "knowledge": knowledge, "linear probe": linear}}

    found = {"specialist": made(0.9, 0.8), "generalist": made(0.5, 0.7), "few fundus pictures": made(0, 0)}
    assert c01.effects(found) == pytest.approx({"set": 0.1})
    found["generalist"] = made(0.95, 0.1)
    assert c01.effects(found) == pytest.approx({"set": -0.05})


def test_the_third_arm_has_the_generalists_fundus_pictures_and_no_other(fresh_cache, monkeypatch):
    monkeypatch.setattr(nano, "SPACING", 16.0)
    made = c01.diets(c01.Setting(budget=nano.Budget(pictures=20, bodies=1), share=0.3), seed=0)
    assert [len(made[arm]) for arm in ("specialist", "generalist", "few fundus pictures")] == [20, 20, 6]
    assert not any(text.startswith(("a CT", "a picture")) for _, text, _ in made["few fundus pictures"] + made["specialist"])


def test_c01_runs_from_end_to_end(fresh_cache, monkeypatch):
    monkeypatch.setattr(nano, "SPACING", 16.0)
    sets = {"known": (("glaucoma", "healthy"), "D"), "novel": (("geographic atrophy", "cataract"), "A")}
    monkeypatch.setattr(c01, "SETS", sets)
    setting = c01.Setting(nano.Budget(pictures=20, steps=2, batch=4, bodies=1), 0.3, pictures=4, shots=2)
    run = c01.run(3, setting, progress=False, command="a test")
    assert run.claim == "C01" and set(run.values) == {"known", "novel"}
    assert set(run.details["accuracy"]) == {"specialist", "generalist", "few fundus pictures", "untrained"}
    assert run.details["chance"] == {"known": 0.5, "novel": 0.5}


# ---- the weights that ship

@pytest.mark.parametrize("kind", nano.SHARES)
def test_weights_are_small_and_their_card_says_what_they_do(kind):
    path = hub.models.WEIGHTS / f"image_text_{kind}-nano.safetensors"
    model, card = hub.load(f"image_text_{kind}", "nano"), path.with_suffix(".md").read_text(encoding="utf-8")
    assert path.stat().st_size < 2e6 and model.text.words == nano.WORDS
    assert f"train_course_weights image_text_{kind} --steps {nano.Budget().steps} --seed 0" in card
    classes, camera = c01.SETS["novel conditions, camera A"]
    found = c01.scores(model, *nano.examined(classes, camera, 24, contrastive_recipes.EXAMINED), classes, 8)
    row = next(line for line in card.splitlines() if line.startswith("| novel conditions, camera A"))
    said = [float(cell) for cell in row.strip("| ").split("|")[1:]]
    assert said[1:] == pytest.approx([found[way] for way in ("names", "knowledge", "linear probe")], abs=0.05)


def test_the_specialist_knows_novel_conditions_by_description_and_not_by_name():
    model, (classes, camera) = hub.load("image_text_specialist", "nano"), c01.SETS["novel conditions, camera A"]
    found = c01.scores(model, *nano.examined(classes, camera, 10, 77), classes, 2)
    assert found["knowledge"] > 0.6 > found["names"]
