"""On a CUDA device the promptable models say what they say on the CPU, in every form, and learn there."""

import pytest
import torch

from fmlab import hub
from fmlab.interactive import learning
from fmlab.interactive.image_attention import ImageAttention
from fmlab.interactive.predictor import SamPredictor
from fmlab.interactive.prompts import Prompts

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")]


@pytest.fixture(autouse=True)
def full_precision():
    """Convolutions in float32 proper: TF32, their default on CUDA, keeps 10 bits."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def twins(name, **config):
    """The same random network on the CPU and on CUDA."""
    torch.manual_seed(0)
    cpu = hub.build(name, **config).eval()
    cuda = hub.build(name, **config).eval().cuda()
    cuda.load_state_dict(cpu.state_dict())
    return cpu, cuda


def near(here, there, tolerance=1e-4):
    assert (here - there.cpu()).abs().max() <= tolerance * here.abs().max() + 1e-6


@torch.no_grad()
@pytest.mark.parametrize("multimask", [True, False])
def test_sam(multimask):
    cpu, cuda = twins("sam", size="nano")
    images, points = torch.randn(2, 3, 128, 128), torch.rand(5, 3, 2) * 128
    labels, image_of = torch.tensor([[1, 0, -2]] * 5), torch.tensor([0, 0, 1, 1, 0])
    here = cpu(images, points, labels, image_of=image_of, multimask=multimask)
    there = cuda(images.cuda(), points.cuda(), labels.cuda(), image_of=image_of.cuda(), multimask=multimask)
    for a, b in zip(here, there):
        near(a, b)


@torch.no_grad()
def test_sam_med3d():
    cpu, cuda = twins("sam_med3d", size="nano")
    cubes, points, labels = torch.randn(1, 1, 32, 32, 32), torch.rand(3, 2, 3) * 32, torch.tensor([[1, 0]] * 3)
    here = cpu(cubes, points, labels, cpu.no_mask(3))
    there = cuda(cubes.cuda(), points.cuda(), labels.cuda(), cuda.no_mask(3))
    for a, b in zip(here, there):
        near(a, b)


VARIANTS = {  # what each is asked
    "sam_med2d": lambda: ((torch.randn(1, 3, 128, 128), torch.rand(2, 3, 2) * 128, torch.tensor([[1, 0, 1]] * 2)), {}),
    "ma_sam": lambda: ((torch.rand(1, 5, 128, 128),), {}),
    "sam3d_adapter": lambda: ((torch.randn(1, 1, 32, 32, 32), torch.rand(1, 4, 3) * 31), {}),
    "segvol": lambda: ((torch.rand(1, 1, 16, 64, 64),),
                       {"boxes": torch.tensor([[1.0, 5, 5, 9, 30, 40]]), "text": torch.randn(1, 96)}),
}


@torch.no_grad()
@pytest.mark.parametrize("name", VARIANTS)
def test_variants(name):
    cpu, cuda = twins(name, size="nano")
    given, named = VARIANTS[name]()
    here = cpu(*given, **named)
    there = cuda(*(x.cuda() for x in given), **{key: x.cuda() for key, x in named.items()})
    for a, b in zip(*((found,) if isinstance(found, torch.Tensor) else found for found in (here, there))):
        near(a, b)


@torch.no_grad()
def test_attention_by_rows_and_literal():
    torch.manual_seed(0)
    attention = ImageAttention(64, 4, (40, 40))
    for table in (attention.rel_pos_h, attention.rel_pos_w):
        table.normal_()
    x = torch.randn(1, 40, 40, 64)
    here = attention.literal(x)
    attention.cuda()
    near(here, attention(x.cuda()))
    near(here, attention.literal(x.cuda()))


def test_a_predictor_takes_and_gives_what_lies_on_the_cpu():
    cpu, cuda = twins("sam", size="nano")
    image = (torch.rand(90, 70) * 255).byte().numpy()
    found = []
    for model in (cpu, cuda):
        predictor = SamPredictor(model)
        predictor.set_image(image)
        found.append(predictor.predict(Prompts.of(2).click((30, 40)).click((10, 5), positive=False)))
    near(found[0].logits, found[1].logits)
    assert found[1].logits.device.type == "cpu"


@pytest.mark.parametrize(("name", "item"), [
    ("sam", {"image": torch.rand(2, 1, 128, 128), "masks": torch.rand(2, 3, 128, 128) > 0.7}),
    ("sam_med3d", {"image": torch.randn(1, 1, 32, 32, 32), "masks": torch.rand(1, 2, 32, 32, 32) > 0.7})])
def test_a_loss_has_a_gradient_there(name, item):
    loss = {"sam": learning.sam_loss, "sam_med3d": learning.sam_med3d_loss}[name]
    _, cuda = twins(name, size="nano")
    loss(cuda, {key: value.cuda() for key, value in item.items()}).backward()
    assert cuda.image_encoder.pos_embed.grad.isfinite().all() and cuda.image_encoder.pos_embed.grad.any()
