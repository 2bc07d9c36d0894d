"""Typical wrong answers to the exercises of lesson 08, each with words of the message that it must get."""

from __future__ import annotations

import math

import torch


def waves(c, matrix, turn=2 * math.pi):
    angles = turn * ((2 * c - 1) @ matrix)
    return torch.cat((torch.sin(angles), torch.cos(angles)), dim=1)


def code_height_first(points, size, matrix):
    width, height = size
    return waves((points + 0.5) / torch.tensor([height, width]), matrix)


def code_rows_and_columns(points, size, matrix):
    c = torch.stack([(points[:, 1] + 0.5) / size[1], (points[:, 0] + 0.5) / size[0]], dim=1)
    return waves(c, matrix)


def code_no_half_pixel(points, size, matrix):
    c = torch.stack([points[:, 0] / size[0], points[:, 1] / size[1]], dim=1)
    return waves(c, matrix)


def code_half_a_picture(points, size, matrix):
    return waves(points / torch.tensor(size) + 0.5, matrix)


def code_last_pixel_at_one(points, size, matrix):
    return waves(points / torch.tensor([size[0] - 1, size[1] - 1]), matrix)


def code_cosine_first(points, size, matrix):
    sines, cosines = waves((points + 0.5) / torch.tensor(size), matrix).chunk(2, dim=1)
    return torch.hstack([cosines, sines])


def code_interleaved(points, size, matrix):
    whole = waves((points + 0.5) / torch.tensor(size), matrix)
    mixed = torch.empty_like(whole)
    mixed[:, 0::2], mixed[:, 1::2] = whole.chunk(2, dim=1)
    return mixed


def code_from_zero(points, size, matrix):
    return waves(((points + 0.5) / torch.tensor(size) + 1) / 2, matrix)


def code_no_two_pi(points, size, matrix):
    return waves((points + 0.5) / torch.tensor(size), matrix, turn=1)


def code_one_pi(points, size, matrix):
    return waves((points + 0.5) / torch.tensor(size), matrix, turn=math.pi)


def code_angles(points, size, matrix):
    return 2 * math.pi * (2 * (points + 0.5) / torch.tensor(size) - 1) @ matrix


def code_sines(points, size, matrix):
    return waves((points + 0.5) / torch.tensor(size), matrix)[:, : matrix.shape[1]]


def code_transposed(points, size, matrix):
    return waves((points + 0.5) / torch.tensor(size), matrix).T


def code_in_place(points, size, matrix):
    points += 0.5
    return waves(points / torch.tensor(size), matrix)


def code_no_brackets(points, size, matrix):
    """+ 0.5 / size: the half pixel is divided, the points are not."""
    return waves(points + 0.5 / torch.tensor(size), matrix)


def attend(q, k, v, scale=None):
    scores = torch.einsum("tc,nc->tn", q, k) * (1 / math.sqrt(q.shape[1]) if scale is None else scale)
    return torch.softmax(scores, dim=1) @ v


def read_values_with_places(tokens, token_pe, image, image_pe):
    k = v = image + image_pe
    return tokens + attend(tokens + token_pe, k, v)


def read_softmax_over_tokens(tokens, token_pe, image, image_pe):
    scores = (tokens + token_pe) @ (image + image_pe).T / math.sqrt(tokens.shape[1])
    return tokens + torch.softmax(scores, dim=0) @ image


def read_no_scale(tokens, token_pe, image, image_pe):
    return tokens + attend(tokens + token_pe, image + image_pe, image, scale=1.0)


def read_scaled_by_channels(tokens, token_pe, image, image_pe):
    return tokens + attend(tokens + token_pe, image + image_pe, image, scale=1 / tokens.shape[1])


def read_no_residual(tokens, token_pe, image, image_pe):
    return attend(tokens + token_pe, image + image_pe, image)


def read_residual_twice(tokens, token_pe, image, image_pe):
    return tokens + (tokens + attend(tokens + token_pe, image + image_pe, image))


def read_residual_with_place(tokens, token_pe, image, image_pe):
    tokens = tokens + token_pe
    return tokens + attend(tokens, image + image_pe, image)


def read_token_without_place(tokens, token_pe, image, image_pe):
    return tokens + attend(tokens, image + image_pe, image)


def read_image_without_place(tokens, token_pe, image, image_pe):
    return tokens + attend(tokens + token_pe, image, image)


def read_no_places(tokens, token_pe, image, image_pe):
    return tokens + attend(tokens, image, image)


def read_other_way(tokens, token_pe, image, image_pe):
    return image + attend(image + image_pe, tokens + token_pe, tokens)


def read_no_softmax(tokens, token_pe, image, image_pe):
    scores = (tokens + token_pe) @ (image + image_pe).T / math.sqrt(tokens.shape[1])
    return tokens + scores @ image


def read_weights(tokens, token_pe, image, image_pe):
    return torch.softmax((tokens + token_pe) @ (image + image_pe).T / math.sqrt(tokens.shape[1]), dim=1)


def read_in_place(tokens, token_pe, image, image_pe):
    tokens += attend(tokens + token_pe, image + image_pe, image)
    return tokens


def read_transposed_product(tokens, token_pe, image, image_pe):
    return tokens + torch.softmax((tokens + token_pe) @ (image + image_pe), dim=1) @ image


def again_thresholded(low, iou):
    mask = low[iou.argmax()] > 0
    return mask.float()


def again_probabilities(low, iou):
    return torch.sigmoid(low)[torch.argmax(iou)]


def again_least(low, iou):
    return low[iou.argmin()]


def again_first(low, iou):
    return low[0]


def again_last(low, iou):
    return low[len(low) - 1]


def again_largest(low, iou):
    areas = [(mask > 0).sum() for mask in low]
    return low[areas.index(max(areas))]


def again_mean(low, iou):
    return low.mean(dim=0)


def again_weighted(low, iou):
    weights = iou / iou.sum()
    return torch.einsum("m,mhw->hw", weights, low)


def again_union(low, iou):
    return low.max(dim=0).values


def again_which(low, iou):
    return int(iou.argmax())


def again_keeps_an_axis(low, iou):
    best = iou.argmax()
    return low[best : best + 1]


def again_flat(low, iou):
    return low[iou.argmax()].flatten()


WRONG = {
    "08-code": [
        (code_height_first, "divide x by the height"), (code_rows_and_columns, "exchange x and y"),
        (code_no_half_pixel, "forgot the half pixel"), (code_half_a_picture, "half after dividing"),
        (code_last_pixel_at_one, "divide by size - 1"), (code_cosine_first, "cosines first"),
        (code_interleaved, "side by side"), (code_no_two_pi, "left out 2 pi"), (code_one_pi, "by pi, not by 2 pi"),
        (code_angles, "return the angles"), (code_sines, "sines alone"), (code_transposed, "not the shape (N, 2 F)"),
        (code_in_place, "changes its input"), (code_no_brackets, "very middle of the picture"),
    ],
    "08-read": [
        (read_values_with_places, "values with their code"), (read_softmax_over_tokens, "over the tokens"),
        (read_no_scale, "left out the scale"), (read_scaled_by_channels, "divide by C"),
        (read_no_residual, "forgot to add the token"), (read_residual_twice, "the token twice"),
        (read_residual_with_place, "You add q"), (read_token_without_place, "ask without their place"),
        (read_image_without_place, "image has no places"), (read_no_places, "Neither tokens nor image"),
        (read_other_way, "exchanged the roles"), (read_no_softmax, "left out the softmax"),
        (read_weights, "return the weights"), (read_in_place, "changes its input"), (read_transposed_product, "in its line 2"),
    ],
    "08-again": [
        (again_thresholded, "feed back the thresholded"), (again_probabilities, "feed back probabilities"),
        (again_least, "trusts least"), (again_first, "always take the first"), (again_last, "always take the last"),
        (again_largest, "largest mask"), (again_mean, "average the masks"), (again_weighted, "weigh the masks"),
        (again_union, "largest logit at each pixel"), (again_which, "which mask is best"),
        (again_keeps_an_axis, "keep the axis"), (again_flat, "not the shape (h, w)"),
    ],
}


def code_zero_to_one(points, size, matrix):
    angles = 2 * torch.pi * (points + 0.5) / torch.tensor(size) @ matrix
    return torch.cat([angles.sin(), angles.cos()], -1)


def read_values_with_places_in_place(tokens, token_pe, image, image_pe):
    image = image + image_pe
    return attend(tokens + token_pe, image, image) + tokens


def again_thresholded_as_bool(low, iou):
    return low[iou.argmax()] > 0


SAME_MESSAGE = {"08-code": [(code_zero_to_one, "from 0 to 1"), (code_from_zero, "from 0 to 1")],
                "08-read": [(read_values_with_places_in_place, "values with their code")],
                "08-again": [(again_thresholded_as_bool, "feed back the thresholded")]}
"""Other ways to the same wrong idea."""
