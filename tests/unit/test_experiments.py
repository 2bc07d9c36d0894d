"""The experiments behind the claims: what their figures mean, and that they run from end to end at a tiny size."""

from __future__ import annotations

import math
from copy import deepcopy
from importlib import import_module

import numpy as np
import pytest
import torch
from fake_phantoms import boxed

from data_scripts import run_claims
from fmlab import hub, inference
from fmlab.adaptation import fewshot
from fmlab.incontext import nano
from fmlab.interactive import nano as interactive_nano
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.prompts import Prompts
from fmlab.interactive.sam import Sam
from fmlab.lessons import claims
from fmlab.lessons.experiments import c04, c05, c06, c07, c08, c11, c12, c13, c14, c15, c16, c17, c20, few_shots, transfer_curves
from fmlab.vocabulary import ID
from fmlab.volume import Volume

TINY = c05.Setting(steps=2, bodies=1, held_out=1, spacing=12.0, side=16)


def made_up(masked, unmasked, softmax):
    """Results in which every structure of one case has the same Dice."""
    return {loss: {"body": dict.fromkeys(c05.STRUCTURES, dice)}
            for loss, dice in (("masked", masked), ("unmasked", unmasked), ("softmax", softmax))}


@pytest.mark.parametrize(("dices", "effect"), [((0.8, 0.5, 0.3), 0.3), ((0.8, 0.3, 0.5), 0.3), ((0.4, 0.5, 0.1), -0.1)])
def test_effect_is_masked_less_the_better_of_the_others(dices, effect):
    assert c05.effects(made_up(*dices))["body"] == pytest.approx(effect)


def test_the_better_of_the_others_is_taken_for_each_structure():
    results = made_up(0.8, 0.0, 0.0)
    results["unmasked"]["body"]["liver"] = 0.8
    results["softmax"]["body"]["spleen"] = 0.8
    assert c05.effects(results)["body"] == pytest.approx(0.8 * (len(c05.STRUCTURES) - 2) / len(c05.STRUCTURES))


def test_by_share_sorts_structures_by_how_many_hospitals_draw_them():
    results = made_up(0.5, 0.5, 0.5)
    for name in ("liver", "spleen"):  # the two that three hospitals draw
        results["softmax"]["body"][name] = 0.9
    shares = c05.by_share(results)
    assert list(shares) == ["1", "2", "3"]
    assert shares["3"] == {"masked": 0.5, "unmasked": 0.5, "softmax": 0.9}
    assert shares["1"]["softmax"] == 0.5


def test_mean_of_nothing_is_not_a_number():
    assert math.isnan(c05.mean({"body": {"liver": 0.5}}, ["spleen"]))


def test_runs_from_end_to_end_and_can_be_recorded(fresh_cache, tmp_path):
    run = c05.run(7, TINY, progress=False, workers=1, command="a test")
    assert run.claim == "C05" and run.seed == 7 and len(run.values) == 4
    assert set(run.details["mean"]) == {"masked", "unmasked", "softmax"}
    claims.record(run, tmp_path)
    assert (tmp_path / "C05.jsonl").read_text().count("\n") == 1


def test_all_losses_start_from_the_same_weights_and_see_the_same_patches(fresh_cache, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(c05, "train", lambda model, loss, data, config, folder, progress: seen.append(
        ([p.detach().clone() for p in model.parameters()], config, id(data))))
    data = object()
    for loss in ("masked", "unmasked", "softmax"):
        c05.trained(loss, 3, TINY, data, tmp_path, progress=False)
    weights, configs, patches = zip(*seen)
    assert all(a.equal(b) for other in weights[1:] for a, b in zip(weights[0], other, strict=True))
    assert len(set(configs)) == len(set(patches)) == 1

# ---- C04: what tells the classes apart

def test_text_is_compared_with_the_better_of_the_other_codes():
    def dices(*values):
        return {f"body {n}": {"liver": value} for n, value in enumerate(values)}

    found = {"one_hot": dices(0.5, 0.5), "random": dices(0.7, 0.2), "sentence": dices(0.4, 0.6)}
    assert c04.effects(found) == pytest.approx({"body 0": 0.1, "body 1": -0.1})  # one-hot is better on average


def test_c04_runs_from_end_to_end(fresh_cache, tmp_path):
    run = c04.run(3, c04.Setting(steps=2, bodies=1, held_out=1, spacing=12.0, side=16), tmp_path, progress=False, workers=1)
    assert run.claim == "C04" and set(run.details["mean"]) == set(c04.TEXTS) and len(run.values) == 4


# ---- C11, C12: transfer curves

def test_supervised_on_few_is_compared_with_the_best_self_supervised_arm():
    def curve(*pairs):
        return {1: {"a": pairs[0][0], "b": pairs[0][1]}, 10: {"a": pairs[1][0], "b": pairs[1][1]}}

    found = {"scratch": curve((0, 0), (0, 0)), "supervised on few": curve((0.3, 0.5), (0.5, 0.7)),
             "mae": curve((0.2, 0.2), (0.2, 0.2)), "genesis": curve((0.1, 0.5), (0.3, 0.5)), "swin_ssl": curve((0, 0), (0.9, 0))}
    assert c11.effects(found) == pytest.approx({"a": 0.2, "b": 0.1})


def test_gain_with_the_fewest_labels_less_gain_with_all():
    found = {"scratch": {1: {"a": 0.1}, 10: {"a": 0.9}, 100: {"a": 0.6}},
             "supervised": {1: {"a": 0.5}, 10: {"a": 0.0}, 100: {"a": 0.7}}}
    assert c12.effects(found) == pytest.approx({"a": 0.3})


@pytest.fixture
def tiny_curves(monkeypatch, fresh_cache):
    """Everything coarse and short, and untrained weights in place of those that ship."""
    monkeypatch.setattr(transfer_curves.nano, "SPACING", 12.0)
    monkeypatch.setattr(transfer_curves.nano, "SIDE", 16)
    monkeypatch.setattr(hub, "load", lambda name, label: hub.build(name, **transfer_curves.nano.METHODS[name].config))
    transfer_curves.people.cache_clear()
    yield transfer_curves.Setting(steps=1, pool=2, unseen=1, pre_steps=1)
    transfer_curves.people.cache_clear()


def test_curves_give_all_arms_the_same_people_and_run_once(tiny_curves, tmp_path, monkeypatch):
    seen = []
    tune = transfer_curves.fine_tuned
    monkeypatch.setattr(transfer_curves, "fine_tuned", lambda model, labelled, *rest: seen.append(labelled.patients) or
                        tune(model, labelled, *rest))
    run = c12.run(1, tiny_curves, tmp_path, progress=False, workers=1, counts=(1, 2))
    assert run.claim == "C12" and len(run.values) == 1 and set(run.details["mean"]) == {"scratch", "supervised"}
    assert seen[0] == seen[2] and seen[1] == seen[3] and set(seen[0]) < set(seen[1])
    again = c12.run(1, tiny_curves, tmp_path, progress=False, workers=1, counts=(1, 2))
    assert again.values == run.values and len(seen) == 4


def test_every_self_supervised_method_can_be_an_arm(tiny_curves, tmp_path):
    run = c11.run(0, tiny_curves, tmp_path, progress=False, workers=1, counts=(1,))
    assert set(run.details["mean"]) == {"scratch", "supervised on few", "mae", "genesis", "swin_ssl"}


# ---- C06: UniverSeg on tasks that it never met

TASKS = ("gluteus_maximus_left", "kidney_right", "gluteus_medius_right")
LITTLE = c06.Setting(supports=1, queries=1, shots=2, ensemble=2, steps=2, structures=TASKS)


@pytest.fixture(scope="module")
def small_bodies(tmp_path_factory):
    """Bodies of large voxels, made in this process once for all tests; models with random weights."""
    bodies, settings = nano.bodies, {"universeg": {"encoder_blocks": [4, 4]}, "iris": {}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FMLAB_DATA", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(nano, "SPACING", 12.0)
        patch.setattr(nano, "bodies", lambda counts, first_seed: bodies(counts, first_seed, workers=1))
        patch.setattr(hub, "load", lambda name, label: hub.build(name, **settings[name]))
        yield


def row(lie, one, many, net):
    """Ways of asking -> the Dice of one query."""
    dices = {"a lying support": lie, "S=1": one, "many, ensembled": many, "task net": net}
    return {way: torch.tensor([dice], dtype=torch.float64) for way, dice in dices.items()}


def test_c06_is_as_good_as_the_smallest_of_its_three_differences():
    found = {"a": (("body",), row(0.1, 0.5, 0.8, 0.9)), "b": (("body",), row(0.3, 0.5, 0.6, 0.5))}
    effects, means = c06.differences(found)
    assert means == pytest.approx([0.3, 0.2, 0.0])
    assert effects == {"body": pytest.approx(0.0)}


def test_c06_leaves_out_what_a_query_does_not_show():
    found = {"a": (("body",), row(0.1, 0.5, 0.8, 0.9)), "b": (("body",), row(math.nan, math.nan, math.nan, math.nan))}
    assert c06.differences(found)[1] == pytest.approx([0.4, 0.3, 0.1])


def test_c06_runs_from_end_to_end(small_bodies, tmp_path):
    run = c06.run(3, LITTLE, command="a test")
    assert run.claim == "C06" and run.seed == 3 and run.values
    assert set(run.details["differences"]) == set(c06.DIFFERENCES)
    assert set(run.details["mean"]) == {"a lying support", "S=1", "many, ensembled", "task net"}
    claims.record(run, tmp_path)


# ---- C07: what a query costs

def test_c07_counts_decades_of_time():
    assert c07.effect({"UniverSeg": {"seconds": 5.0}, "Iris": {"seconds": 0.05}}) == pytest.approx(2)
    assert c07.effect({"UniverSeg": {"seconds": 1.0}, "Iris": {"seconds": 10.0}}) == pytest.approx(-1)


def test_c07_runs_from_end_to_end(small_bodies, tmp_path):
    run = c07.run(1, c07.Setting(supports=1, queries=1, shots=2, repeats=1, structures=TASKS[:2]), command="a test")
    assert run.claim == "C07" and run.seed == 1 and len(run.values) == 2 and run.details["encoding"] > 0
    for name, effect in run.by_case().items():
        asked = run.details["queries"][name]
        assert effect == pytest.approx(c07.effect(asked))
        assert all(0 <= each["dice"] <= 1 and each["seconds"] > 0 and each["flops"] > 0 for each in asked.values())
    claims.record(run, tmp_path)


def test_the_cost_of_iris_does_not_grow_with_its_references(small_bodies):
    flops = []
    for shots in (1, 2):
        run = c07.run(0, c07.Setting(supports=1, queries=1, shots=shots, repeats=1, structures=TASKS[:1]))
        flops.append([row["flops"] for asked in run.details["queries"].values() for row in (asked["UniverSeg"], asked["Iris"])])
    (universeg_1, iris_1, *_), (universeg_2, iris_2, *_) = flops
    assert iris_1 == iris_2
    assert universeg_1 < universeg_2


# ---- C08: clicks, with the truth and without

@pytest.fixture
def clicked_bodies(monkeypatch):
    """Two people with a liver and an aorta in a few slices, and models with random weights."""
    def bodies(counts, spacing, first_seed):
        return [blocks(name) for name, count in counts.items() for _ in range(count)]

    torch.manual_seed(0)
    model = Sam(size=64, patch=8, channels=32, depth=1, heads=2, everywhere=(0,), window=4, prompt_channels=32, decoder_heads=2,
                mlp=32, hidden=32).eval()
    monkeypatch.setattr(interactive_nano, "bodies", bodies)
    monkeypatch.setattr(hub, "load", lambda name, label: model)
    return model


def blocks(name):
    """A liver of 16 x 12 x 3 voxels, an aorta of two pieces in each of two slices, noise."""
    labels = torch.zeros(1, 40, 32, 5, dtype=torch.uint8)
    labels[:, 4:20, 6:18, 1:4] = ID["liver"]
    labels[:, 24:28, 8:12, :2], labels[:, 32:36, 20:24, :2] = ID["aorta"], ID["aorta"]
    image = torch.from_numpy(np.random.default_rng(len(name)).normal(40, 30, labels.shape)).float() + 100 * (labels > 0)
    return Volume(image, np.eye(4), labels=labels, name=f"body {name}")


def test_c08_clicks_without_truth_lie_where_the_answer_is_and_say_what_is_there():
    truth, answer = np.zeros((2, 30, 30), bool)
    truth[5:20, 5:20], answer[8:26, 8:26] = True, True
    outline, inside = np.zeros((30, 30), bool), np.zeros((30, 30), bool)
    outline[6:28, 6:28], inside[12:22, 12:22] = True, True
    outline[10:24, 10:24] = False
    for way, allowed in ((c08.on_the_outline, outline), (c08.in_its_own_middle, inside)):
        places = [way(answer, truth, np.random.default_rng(seed)) for seed in range(60)]
        for (x, y), label in ((click.points[0].int().tolist(), int(click.labels)) for click in places):
            assert allowed[y, x] and label == truth[y, x]
        assert len({tuple(click.points[0].tolist()) for click in places}) > 20
        assert {int(click.labels) for click in places} == {0, 1}
        first = way(np.zeros_like(truth), truth, np.random.default_rng(0))
        assert first.points.tolist() == [[12.0, 12.0]] and first.labels.tolist() == [1]


def c08_curves(informed, outline, middle):
    return dict(zip(c08.WAYS, map(np.array, (informed, outline, middle))))


def test_c08_is_as_good_as_the_smallest_of_its_three_differences():
    found = {"a": [c08_curves([0.4, 0.7, 0.8, 0.9], [0.4, 0.5, 0.6, 0.6], [0.4] * 4)],
             "b": [c08_curves([0.5, 0.6, 0.7, 0.8], [0.5] * 4, [0.5, 0.5, 0.6, 0.7]),
                   c08_curves([0.5, 0.6, 0.7, 0.8], [0.5] * 4, [0.5, 0.5, 0.6, 0.7])]}
    effects, means = c08.differences(found)
    assert effects == {"a": pytest.approx(0.2), "b": pytest.approx(0.0)}
    assert means == pytest.approx([0.4, 0.1, 0.2])


def test_c08_runs_from_end_to_end(clicked_bodies, tmp_path):
    run = c08.run(2, c08.Setting(people=1, clicks=3, least=20), command="a test")
    assert run.claim == "C08" and set(run.values) == {f"body {name}" for name in "ABCD"}
    assert run.details["objects"] == 4  # the liver; each piece of the aorta is too small
    assert set(run.details["mean"]) == set(c08.WAYS) and set(run.details["differences"]) == set(c08.DIFFERENCES)
    first = {curve[0] for curve in run.details["mean"].values()}
    assert len(first) == 1  # the first click is the same
    claims.record(run, tmp_path)


# ---- C20: clicks until a model without prompts is reached

def test_c20_counts_rounds_until_the_goal():
    dices = np.array([0.3, 0.5, 0.6, 0.55])
    assert [c20.needed(dices, goal) for goal in (0.2, 0.5, 0.55, 0.9)] == [1, 2, 3, 4]


def drawn_in(body, index):
    """Liver and aorta in an axial slice, upright."""
    return [body.mask(name).numpy()[:, ::-1, index].T for name in ("liver", "aorta")]


def test_c20_pieces_are_connected_and_crumbs_are_left_out():
    masks, owners = c20.pieces(drawn_in(blocks("A"), 1), 4)
    assert owners == [0, 1, 1] and [int(mask.sum()) for mask in masks] == [192, 16, 16]
    assert c20.pieces(drawn_in(blocks("A"), 1), 17)[1] == [0]
    assert c20.pieces(drawn_in(blocks("A"), 4), 4)[1] == []


def test_c20_dice_in_3d_of_pieces_put_together(clicked_bodies, monkeypatch):
    """With a model that is right at once, up to the first piece of each slice, of which it finds nothing in round one."""
    def answers(predictor, image, truth, rounds, rng):
        assert image.shape == truth.shape[1:] == (40, 40)
        for number in range(rounds):
            yield truth & (np.arange(len(truth)) > 0)[:, None, None] if number == 0 else truth

    monkeypatch.setattr(c20, "answers", answers)
    after = c20.clicked(clicked_bodies, blocks("A"), ("liver", "aorta"), 2, 0)
    assert after.objects.tolist() == [3, 4]
    assert after.dices[1].tolist() == [1.0, 1.0]
    assert after.dices[0].tolist() == [0.0, pytest.approx(2 * 48 / (48 + 64))]  # slice 0 has no liver: a piece of aorta is missed


def test_c20_answers_are_those_of_the_predictor(clicked_bodies, monkeypatch):
    body, told, decode = blocks("A"), [], clicked_bodies.decode
    predictor, rng = SamPredictor(clicked_bodies), np.random.default_rng(5)
    picture, masks = c20.squared(c20.grey(body, "axial", 1)), c20.squared(c20.pieces(drawn_in(body, 1), 4)[0])
    monkeypatch.setattr(clicked_bodies, "decode", lambda features, points, **others: told.append(points) or decode(
        features, points, **others))
    first = next(c20.answers(predictor, picture, masks, 1, rng))
    rng = np.random.default_rng(5)
    for number, (mask, answer) in enumerate(zip(masks, first)):
        click = c20.worst(np.zeros_like(mask), mask, rng)
        alone = predictor.predict(Prompts(click.points, click.labels)).mask.numpy()
        torch.testing.assert_close(told[0][number, None], told[-1])
        assert (alone != answer).mean() < 0.03  # resized at once or in two steps: only edges differ


def test_c20_runs_from_end_to_end(clicked_bodies, monkeypatch, tmp_path):
    monkeypatch.setattr(inference, "segment", lambda model, volume: volume)  # a model without prompts that is always right
    run = c20.run(1, c20.Setting(people=1, rounds=2, structures=("liver", "aorta", "spleen")), command="a test")
    assert run.claim == "C20" and len(run.values) == 4
    for name, scan in run.details["scans"].items():
        assert scan["without prompts"] == 1.0 and not scan["reached"] and scan["structures"] == 2 and scan["clicks a round"] == 7
        assert run.values[name] == 2 * 7 / 2  # a lower bound: all clicks that were made, for each structure
    claims.record(run, tmp_path)


# ---- the script that records

@pytest.mark.parametrize("claim", sorted(run_claims.EXPERIMENTS))
def test_every_experiment_can_be_run_by_the_script(claim, monkeypatch, tmp_path):
    experiment, given = import_module(run_claims.EXPERIMENTS[claim]), {}

    def run(seed, setting=None, folder=None, command=""):
        given.update(setting=setting, folder=folder)
        return claims.Run.now(claim, seed, {"a case": 0.5}, command=command)

    if claim != "C05":
        whole = run
        run = lambda seed, setting=None, command="": whole(seed, setting, command=command)  # noqa: E731
    monkeypatch.setattr(experiment, "run", run)
    assert run_claims.main([claim, "--seeds", "4", "5", "--ledger", str(tmp_path)]) == 0
    lines = (tmp_path / f"{claim}.jsonl").read_text().splitlines()
    assert [f"--seeds {seed}" in line for seed, line in zip((4, 5), lines)] == [True, True]
    assert (given["folder"] is not None) == (given["setting"] is not None) == (claim == "C05")


# ---- C13 to C17: few shots

@pytest.fixture
def tiny_few_shots(monkeypatch):
    """Untrained weights, people made of boxes, and one step."""
    base = hub.build("fseft")
    monkeypatch.setattr(fewshot, "base", lambda label: deepcopy(base))
    monkeypatch.setattr(fewshot, "people", lambda protocol: tuple(
        boxed(protocol.structures, count, protocol.centre, first) for count, first in ((5, 0), (2, 50))))
    return few_shots.Setting(steps=1, cubes=2)


@pytest.mark.parametrize("experiment, arms, centres", [
    (c13, c13.METHODS, {"E", "F"}), (c15, c15.METHODS, {"F"}), (c17, c17.ARMS, {"F"})])
def test_few_shot_experiments_run_and_go_on(experiment, arms, centres, tiny_few_shots, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "SHOTS", (1,))
    run = experiment.run(2, tiny_few_shots, tmp_path, progress=False)
    assert run.claim == experiment.__name__[-3:].upper() and set(run.details["mean"]) == set(arms)
    assert {person.split("-")[1] for person in run.values} == centres
    monkeypatch.setattr(fewshot, "one", None)  # every task has its result already
    assert experiment.run(2, tiny_few_shots, tmp_path, progress=False).values == run.values


def test_c14_is_against_what_is_printed():
    exact = {outputs: {method: printed[k] for method, printed in c14.PRINTED.items()} for k, outputs in enumerate((1, 10))}
    assert set(c14.effects(exact).values()) == {c14.TOLERATED}
    exact[1]["lora"] = 69_169
    assert c14.effects(exact)["lora, 1 output"] == pytest.approx(0.5 - 100 * 1_069 / 68_100)


def test_c15_holds_only_where_both_halves_do():
    found = {"linear_probe": {"a": 0.1, "b": 0.1}, "spatial_adapter": {"a": 0.2, "b": 0.3}, "decoder": {"a": 0.7, "b": 0.2}}
    found |= {method: {"a": 0.8, "b": 0.8} for method in c15.ADDITIVE}
    found |= {method: {"a": 0.7, "b": 0.7} for method in c15.SELECTIVE}
    assert c15.effects(found) == pytest.approx({"a": 0.1, "b": -0.1})


def test_c16_chooses_ranks_on_others_than_it_scores():
    people = ("a", "b", "c", "d")

    def flat(value):
        return dict.fromkeys(people, value)

    tasks = {"x": {1: flat(0.9), 2: flat(0.1), 4: flat(0.5), 8: flat(0.1)},
             "y": {1: flat(0.1), 2: flat(0.9), 4: flat(0.6), 8: flat(0.1)}}
    assert c16.effects(tasks) == pytest.approx(flat(0.35))  # one rank for all: 4, as 0.55 is above 0.5
    lucky = {"x": {rank: {"a": 1.0, "b": 0.0, "c": 1.0, "d": 0.0} if rank == 8 else flat(0.5) for rank in c16.RANKS}}
    assert c16.effects(lucky) == pytest.approx(flat(0.0))  # of one task, its own rank is that for all
