"""An adapter's head and its file: which rows begin as what, what is written, what comes back, and what is refused."""

from __future__ import annotations

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_models import base, logits, original, same, state_of, trained

from fmlab import hub
from fmlab.adaptation import arena, attach, load
from fmlab.adaptation.heads import RARE
from fmlab.errors import ModelError, VocabularyError


@pytest.mark.parametrize("method", ["linear_probe", "spatial_adapter"])
def test_known_rows_are_kept_and_novel_ones_begin_at_random_by_seed(method):
    own = original("unet")
    heads = []
    for seed in (0, 0, 1):
        adapter = attach(base("unet"), method, ["lung_lower_lobe_left", "liver"], seed=seed)
        heads.append(adapter.trainable[[key for key in adapter.trainable if key.startswith("head") and "weight" in key][0]])
        assert adapter.trainable[[key for key in adapter.trainable if key.endswith("bias")][0]][0] == RARE
        assert adapter.model.structures == adapter.structures == ("lung_lower_lobe_left", "liver")
        assert torch.allclose(logits(adapter.model)[:, 1], logits(own)[:, own.structures.index("liver")], atol=1e-5)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0][0], heads[2][0])


def test_one_name_is_one_structure_and_a_number_has_no_names():
    assert attach(base("unet"), "linear_probe", "liver").structures == ("liver",)
    adapter = attach(base("unet"), "linear_probe", 3)
    assert logits(adapter.model).shape[1] == 3 and adapter.structures is None and not hasattr(adapter.model, "structures")
    model = base("unet")
    model.structures = ("my_own", *model.structures[1:])  # what the model knows need not be in the vocabulary
    assert torch.equal(attach(model, "linear_probe", ["my_own"]).model.head.weight, original("unet").head.weight[:1])


@pytest.mark.parametrize(("structures", "error", "match"), [
    (["livr"], VocabularyError, "did you mean liver"), (["liver", "liver"], ModelError, "each of them once"),
    ([], ModelError, "at least one structure"), (0, ModelError, "at least one structure")])
def test_a_head_that_cannot_be(structures, error, match):
    model = base("unet")
    before = state_of(model)
    with pytest.raises(error, match=match):
        attach(model, "lora", structures)
    assert same(state_of(model), before)


def test_a_novel_head_comes_back_as_it_began(tmp_path):
    adapter = attach(base("unet"), "lora", ["lung_lower_lobe_left"], decoder=True, seed=5)
    assert {"backbone.up1.mix.conv.weight", "head.weight"} <= adapter.trainable.keys() and adapter.lr == 1e-4
    first = logits(adapter.model)
    again = load(base("unet"), trained(adapter).save(tmp_path / "lobe"))
    for one in (adapter, again):
        with one.without() as model:
            assert torch.equal(logits(model), first)


def test_hub_keeps_a_fully_tuned_model_with_its_new_head(tmp_path):
    adapter = trained(attach(base("unet"), "full", ["liver", "heart"]))
    again = hub.load("universal", hub.save(adapter.model, tmp_path / "full.safetensors"))
    assert torch.equal(logits(again), logits(adapter.model)) and again.structures == ("liver", "heart")
    assert original("unet").recipe["config"] == {"width": 4}


# --- files ----------------------------------------------------------


def written(tmp_path, method="lora", model="unet", **options):
    adapter = trained(attach(base(model), method, **options), 1)
    return adapter, adapter.save(tmp_path / "adapter")


def refused(path, match, model=None):
    """Loading the file into the model (by default the U-Net) is refused, and changes nothing."""
    model = base("unet") if model is None else model
    before = state_of(model)
    with pytest.raises(ModelError, match=match):
        load(model, path)
    assert same(state_of(model), before)


def test_it_is_never_written_over_another(tmp_path):
    adapter, path = written(tmp_path)
    before = path.read_bytes()
    for name in ("adapter", "adapter.safetensors"):
        with pytest.raises(ModelError, match="adapter.safetensors is there already"):
            adapter.save(tmp_path / name)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path] and path.stat().st_mode & 0o444 == 0o444
    assert path.stat().st_size < 4 * adapter.count + 3000
    assert torch.equal(logits(load(base("unet"), tmp_path / "adapter").model), logits(adapter.model))


def test_another_base_is_refused(tmp_path):
    path = written(tmp_path)[1]
    other = base("unet")
    other.backbone.level1.conv.weight.data[0] += 1e-3
    refused(path, "was trained on a base model with the hash", other)
    refused(path, "with the hash", base("suprem"))
    refused(path, "has an adapter already", attach(base("unet"), "lora").model)
    refused(path, "this is a Nano", base("unet").backbone)


def test_what_is_no_adapter_or_damaged_is_refused(tmp_path):
    path = written(tmp_path)[1]
    with safe_open(path, framework="pt") as file:
        said, tensors = file.metadata(), load_file(path)
    refused(tmp_path / "nothing", "is no adapter")
    refused(tmp_path, "is no adapter")
    refused(hub.save(original("unet"), tmp_path / "model.safetensors"), "is no adapter")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-100])
    refused(cut, "is no adapter")
    for number, (old, new) in enumerate([('"lora"', '"lorra"'), ('"lora"', "3"), ('"rank"', '"r"'), ("{", "[")]):
        changed = {"fmlab-adapter": said["fmlab-adapter"].replace(old, new)}
        save_file(tensors, broken := tmp_path / f"said{number}.safetensors", changed)
        refused(broken, "method" if number == 0 else "is no adapter|no option")
    first = next(name for name in tensors if name.endswith(".A"))
    for number, others in enumerate([{name: value for name, value in tensors.items() if name != first},
                                     tensors | {first: tensors[first][:1]}, tensors | {"mine": torch.zeros(1)}]):
        save_file(others, broken := tmp_path / f"tensors{number}.safetensors", said)
        refused(broken, "does not fit Nano with its head, as at '" + ("mine" if number == 2 else first))


def test_another_head_is_refused_where_the_adapter_kept_it(tmp_path):
    path = written(tmp_path)[1]
    other = base("unet")
    other.head = torch.nn.Conv3d(4, 2, kernel_size=1)
    refused(path, "does not fit Nano with its head", other)


def test_it_survives_pruning(tmp_path):
    adapter = trained(attach(base("swin"), "arena", rank=2))
    arena.prune_at_random(adapter.model, 5, torch.Generator().manual_seed(0))
    closed = logits(adapter.model)
    assert arena.prune(adapter.model) == (5, 36)
    again = load(base("swin"), adapter.save(tmp_path / "pruned"))
    assert torch.equal(logits(again.model), logits(adapter.model)) and arena.prune(again.model) == (5, 5)
    assert torch.allclose(logits(again.model), closed, atol=1e-6) and again.count == adapter.count


def test_neither_saved_nor_merged_while_it_is_taken_away(tmp_path):
    adapter = attach(base("unet"), "bitfit")
    with adapter.without():
        for act in (lambda: adapter.save(tmp_path / "base"), adapter.merge):
            with pytest.raises(ModelError, match="Within without"):
                act()
    assert not list(tmp_path.iterdir())


def test_frozen_after_training_it_is_saved_all_the_same(tmp_path):
    adapter = trained(attach(base("unet"), "bitfit"))
    adapter.model.requires_grad_(False)
    after = logits(adapter.model)
    with adapter.without() as model:
        assert torch.equal(logits(model), logits(original("unet")))
    assert torch.equal(logits(adapter.model), after)
    assert torch.equal(logits(load(base("unet"), adapter.save(tmp_path / "frozen")).model), after)


def test_what_was_unfrozen_by_hand_is_saved_too(tmp_path):
    adapter = attach(base("unet"), "lora")
    adapter.model.backbone.up1.requires_grad_(True)
    again = load(base("unet"), trained(adapter).save(tmp_path / "more"))
    assert torch.equal(logits(again.model), logits(adapter.model))
    with again.without() as model:
        assert torch.equal(logits(model), logits(original("unet")))


def test_running_statistics_move_in_training_though_frozen(tmp_path):
    adapter = trained(attach(base("running"), "linear_probe"))
    again = load(base("running"), adapter.save(tmp_path / "probe"))
    assert torch.equal(logits(again.model), logits(adapter.model))
    for one in (adapter, again):
        with one.without() as model:
            assert torch.equal(logits(model), logits(original("running")))
    assert len(attach(base("running"), "linear_probe").saved()) == 2  # what did not move is the base model's


def test_a_model_on_meta_counts():
    with torch.device("meta"):
        model = hub.build("universal", width=4)
    assert attach(model, "lora", rank=4).count == attach(base("unet"), "lora", rank=4).count
