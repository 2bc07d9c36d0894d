"""Typical wrong answers to the exercises of lesson 03, each with words of the message that it must get."""

from __future__ import annotations

import torch
from torch.nn import functional as F

# ---- a kernel with one more axis

def inflate_repeated(kernel, depth, how):
    if how == "mean":
        return kernel.unsqueeze(-1).repeat(1, 1, 1, 1, depth)
    new = torch.zeros(*kernel.shape, depth)
    new[..., depth // 2] = kernel
    return new


def inflate_repeated_always(kernel, depth, how):
    return torch.stack([kernel] * depth, dim=-1)


def inflate_divided_always(kernel, depth, how):
    new = inflate_repeated(kernel, depth, how)
    return new / depth


def inflate_mean_always(kernel, depth, how):
    return torch.stack([kernel / depth] * depth, dim=-1)


def inflate_centre_always(kernel, depth, how):
    return F.pad(kernel[..., None], (depth // 2, depth // 2))


def inflate_first_plane(kernel, depth, how):
    if how == "mean":
        return inflate_mean_always(kernel, depth, how)
    return F.pad(kernel[..., None], (0, depth - 1))


def inflate_last_plane(kernel, depth, how):
    if how == "mean":
        return inflate_mean_always(kernel, depth, how)
    return F.pad(kernel[..., None], (depth - 1, 0))


def inflate_by_the_root(kernel, depth, how):
    return inflate_repeated(kernel, depth, how) / (depth**0.5 if how == "mean" else 1)


def inflate_first_axis(kernel, depth, how):
    if how == "mean":
        return torch.stack([kernel / depth] * depth, dim=2)
    new = torch.zeros(*kernel.shape[:2], depth, *kernel.shape[2:])
    new[:, :, depth // 2] = kernel
    return new


def inflate_half_at_the_centre(kernel, depth, how):
    return inflate_mean_always(kernel, depth, how) if how == "mean" else inflate_centre_always(kernel, depth, how) / 2


def inflate_in_place(kernel, depth, how):
    if how == "mean":
        kernel /= depth
        return torch.stack([kernel] * depth, dim=-1)
    return inflate_centre_always(kernel, depth, how)


# ---- what convolutions cost

def cost(layers, dims, side, *, places=None, before=False, one_side=False, times=1, bias=0, depthwise=False, one_map=False,
         given=False, keep_side=False, floor=False, no_step=False, own=False, product=False, whole=False, length=False):
    parameters = adds = values = 0
    reach = step = 1
    for inputs, outputs, kernel, stride in layers:
        old = side
        side = side if keep_side else side // stride if floor else (side + stride - 1) // stride
        weights = (1 if depthwise else inputs) * outputs * (places(kernel, dims) if places else kernel**dims)
        parameters += weights + bias * outputs
        adds += times * weights * (old**dims if before else side if one_side else side**dims)
        values += inputs * old**dims if given else (1 if one_map else outputs) * side**dims
        if own:
            step *= stride
        far = 1 if no_step else step
        reach = reach * kernel if product else reach + (kernel * far if whole else (kernel - 1) * far)
        if not own:
            step *= stride
    return parameters, adds, values, reach if length else reach**dims


def costs_square_kernel(layers, dims, side):
    return cost(layers, dims, side, places=lambda kernel, dims: kernel * kernel)


def costs_kernel_times_axes(layers, dims, side):
    return cost(layers, dims, side, places=lambda kernel, dims: kernel * dims)


def costs_on_what_goes_in(layers, dims, side):
    return cost(layers, dims, side, before=True)


def costs_on_one_side(layers, dims, side):
    return cost(layers, dims, side, one_side=True)


def costs_flops(layers, dims, side):
    return cost(layers, dims, side, times=2)


def costs_with_bias(layers, dims, side):
    return cost(layers, dims, side, bias=1)


def costs_depthwise(layers, dims, side):
    return cost(layers, dims, side, depthwise=True)


def costs_one_map(layers, dims, side):
    return cost(layers, dims, side, one_map=True)


def costs_values_in(layers, dims, side):
    return cost(layers, dims, side, given=True)


def costs_side_kept(layers, dims, side):
    return cost(layers, dims, side, keep_side=True)


def costs_floor(layers, dims, side):
    return cost(layers, dims, side, floor=True)


def costs_field_without_strides(layers, dims, side):
    return cost(layers, dims, side, no_step=True)


def costs_own_stride(layers, dims, side):
    return cost(layers, dims, side, own=True)


def costs_field_product(layers, dims, side):
    return cost(layers, dims, side, product=True)


def costs_field_whole_kernels(layers, dims, side):
    return cost(layers, dims, side, whole=True)


def costs_field_length(layers, dims, side):
    return cost(layers, dims, side, length=True)


def costs_a_list_of_three(layers, dims, side):
    return cost(layers, dims, side)[:3]


# ---- a vote along three axes

def answers(ask, volume):
    return torch.stack([ask(volume.movedim(axis, 0)).movedim(1, 0).movedim(1, 1 + axis) for axis in range(3)])


def vote_axial(ask, volume):
    return ask(volume.permute(2, 0, 1)).permute(1, 2, 3, 0).argmax(0)


def vote_sagittal(ask, volume):
    return ask(volume).argmax(1)


def vote_majority(ask, volume):
    return torch.mode(answers(ask, volume).argmax(1), dim=0).values


def vote_mean_of_numbers(ask, volume):
    return torch.round(answers(ask, volume).argmax(1).double().mean(0))


def vote_most_sure(ask, volume):
    return answers(ask, volume).max(0).values.argmax(0)


def vote_product(ask, volume):
    return answers(ask, volume).prod(0).argmax(0)


def vote_not_moved_back(ask, volume):
    return torch.stack([ask(volume.movedim(axis, 0)).movedim(1, 0) for axis in range(3)]).mean(0).argmax(0)


def vote_reshaped(ask, volume):
    parts = [ask(volume.movedim(axis, 0)).permute(1, 0, 2, 3).reshape(-1, *volume.shape) for axis in range(3)]
    return torch.stack(parts).mean(0).argmax(0)


def vote_on_their_side(ask, volume):
    total = 0
    for axis in range(3):
        slices = volume.movedim(axis, 0).transpose(1, 2)
        total = total + ask(slices).transpose(2, 3).movedim(1, 0).movedim(1, 1 + axis)
    return total.argmax(0)


def vote_probabilities(ask, volume):
    return answers(ask, volume).mean(0)


def vote_no_background(ask, volume):
    return answers(ask, volume).mean(0)[1:].argmax(0) + 1


def vote_softmax_again(ask, volume):
    return answers(ask, volume).softmax(1).mean(0).argmax(0)


def vote_least(ask, volume):
    return answers(ask, volume).mean(0).argmin(0)


WRONG = {
    "03-inflate": [
        (inflate_repeated, "do not divide by the depth"), (inflate_repeated_always, "You repeat the kernel both times"),
        (inflate_divided_always, "divide by the depth both times"), (inflate_mean_always, "by mean whatever"),
        (inflate_centre_always, "at the centre whatever"), (inflate_first_plane, "in the first plane"),
        (inflate_last_plane, "in the last plane"), (inflate_by_the_root, "by the root of the depth"),
        (inflate_first_axis, "stands before kx and ky"), (inflate_half_at_the_centre, "do not add up"),
        (inflate_in_place, "changes its input"),
    ],
    "03-costs": [
        (costs_square_kernel, "k * k places"), (costs_kernel_times_axes, "add the axes up"),
        (costs_on_what_goes_in, "voxels that go "
                                "*in*"), (costs_on_one_side, "on the side instead"), (costs_flops, "two operations"),
        (costs_with_bias, "add a bias"), (costs_depthwise, "leave the inputs out"), (costs_one_map, "those of one channel"),
        (costs_values_in, "go into the layers"), (costs_side_kept, "stays what it was"), (costs_floor, "drop the rest"),
        (costs_field_without_strides, "does not know of strides"), (costs_own_stride, "own stride for its own reach"),
        (costs_field_product, "multiply the kernels"), (costs_field_whole_kernels, "adds a whole kernel"),
        (costs_field_length, "a length along one axis"), (costs_a_list_of_three, "is right, and your function gives"),
    ],
    "03-vote": [
        (vote_axial, "across Z alone"), (vote_sagittal, "across X alone"), (vote_majority, "the three *labels* vote"),
        (vote_mean_of_numbers, "average class "
                               "numbers"), (vote_most_sure, "largest of the three"), (vote_product, "multiply the three"),
        (vote_not_moved_back, "not moved back"), (vote_reshaped, "You reshape"), (vote_on_their_side, "lie on their side"),
        (vote_probabilities, "give back probabilities"), (vote_no_background, "leave the background out"),
        (vote_softmax_again, "a softmax over"), (vote_least, "is right, and your function gives"),
    ],
}
