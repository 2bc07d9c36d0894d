"""Typical wrong answers to the exercises of lesson 14, each with words of the message that it must get."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def image(deep):
    return deep.flatten(2).mean(-1)


def code_of(task, tasks):
    code = torch.zeros(len(task), tasks)
    code[torch.arange(len(task)), task] = 1
    return code


def question_code_first(deep, task, tasks):
    return torch.hstack([code_of(task, tasks), image(deep)])


def question_first_task(deep, task, tasks):
    code = torch.zeros(len(deep), tasks)
    code[:, task[0]] = 1
    return torch.hstack([image(deep), code])


def question_all_tasks(deep, task, tasks):
    code = torch.zeros(len(deep), tasks)
    code[:, task] = 1
    return torch.hstack([image(deep), code])


def question_softmax(deep, task, tasks):
    return torch.hstack([image(deep), torch.softmax(code_of(task, tasks), -1)])


def question_number(deep, task, tasks):
    return torch.hstack([image(deep), task.reshape(-1, 1)])


def question_short_code(deep, task, tasks):
    return torch.hstack([image(deep), F.one_hot(task)])


def question_from_one(deep, task, tasks):
    return torch.hstack([image(deep), code_of((task + 1) % tasks, tasks)])


def question_a_column_more(deep, task, tasks):
    return torch.hstack([image(deep), code_of(task + 1, tasks + 1)])


def question_code_on_its_side(deep, task, tasks):
    code = torch.zeros(tasks, len(task))
    code[task, torch.arange(len(task))] = 1
    return torch.hstack([image(deep), code])


def question_sum(deep, task, tasks):
    return torch.hstack([deep.flatten(2).sum(-1), code_of(task, tasks)])


def question_max(deep, task, tasks):
    return torch.hstack([F.adaptive_max_pool3d(deep, 1).flatten(1), code_of(task, tasks)])


def question_pooled_over_the_batch(deep, task, tasks):
    return torch.hstack([image(deep).mean(0).repeat(len(deep), 1), code_of(task, tasks)])


def question_pooled_over_channels(deep, task, tasks):
    return torch.hstack([image(deep).mean(1, keepdim=True), code_of(task, tasks)])


def question_no_image(deep, task, tasks):
    return code_of(task, tasks)


def question_maps(deep, task, tasks):
    code = code_of(task, tasks)[..., None, None, None] * torch.ones(1, 1, *deep.shape[2:])
    return torch.cat([deep, code], dim=1)


def question_as_a_cube(deep, task, tasks):
    pooled = F.adaptive_avg_pool3d(deep, 1)
    return torch.cat([pooled, code_of(task, tasks)[..., None, None, None]], dim=1)


def question_cut_off(deep, task, tasks):
    return torch.hstack([image(deep.detach()), code_of(task, tasks)])


def question_centred(deep, task, tasks):
    return torch.hstack([image(deep) - image(deep).mean(0), code_of(task, tasks)])


def question_samples_last(deep, task, tasks):
    return torch.hstack([image(deep), code_of(task, tasks)]).T


def heard(queries, context, softmax=lambda w: torch.softmax(w, dim=-1), by=None):
    scale = queries.shape[-1] ** 0.5 if by is None else by
    return torch.einsum("bqn,bnc->bqc", softmax(torch.einsum("bqc,bnc->bqn", queries, context) / scale), context)


def both(features, priors, **settings):
    priors = priors + heard(priors, features, **settings)
    return features + heard(features, priors, **settings), priors


def exchange_features_first(features, priors):
    features = features + heard(features, priors)
    priors = priors + heard(priors, features)
    return features, priors


def exchange_at_once(features, priors):
    return features + heard(features, priors), priors + heard(priors, features)


def exchange_old_priors_back(features, priors):
    return both(features, priors)[0], priors


def exchange_old_features_back(features, priors):
    return features, both(features, priors)[1]


def exchange_posteriors_first(features, priors):
    features, priors = both(features, priors)
    return priors, features


def exchange_no_residual(features, priors):
    priors = heard(priors, features)
    return heard(features, priors), priors


def exchange_no_scale(features, priors):
    return both(features, priors, by=1)


def exchange_by_c(features, priors):
    return both(features, priors, by=features.shape[-1])


def exchange_softmax_over_queries(features, priors):
    return both(features, priors, softmax=lambda w: torch.softmax(w, dim=1))


def exchange_no_softmax(features, priors):
    return both(features, priors, softmax=lambda w: w)


def exchange_sigmoid(features, priors):
    return both(features, priors, softmax=torch.sigmoid)


def exchange_one_softmax(features, priors):
    return both(features, priors, softmax=lambda w: torch.stack([row.flatten().softmax(0).view_as(row) for row in w]))


def exchange_first_list(features, priors):
    return both(features, torch.stack([priors[0]] * len(priors)))


def exchange_features_alone(features, priors):
    return both(features, priors)[0]


def exchange_bare_exp(features, priors):
    return both(features, priors, softmax=lambda w: w.exp() / w.exp().sum(-1, keepdim=True))


def exchange_causal(features, priors):
    """Each prior as one that heard its predecessors: the order of the list counts."""
    features, priors = both(features, priors)
    return features, priors.cumsum(1)


def exchange_all_in_one(features, priors):
    return torch.cat(both(features, priors), 1)


def exchange_cut_off(features, priors):
    return tuple(part.detach() for part in both(features, priors))


def exchange_stops(features, priors):
    return features + (features @ priors).softmax(-1) @ priors, priors


WRONG = {
    "14-question": [
        (question_code_first, "code first"), (question_first_task, "task of the first"),
        (question_all_tasks, "questions of the whole batch"), (question_softmax, "softmax on your code"),
        (question_number, "the task's number"), (question_short_code, "always has T"), (question_from_one, "task 0 is column 0"),
        (question_a_column_more, "a column too many"), (question_code_on_its_side, "stops with RuntimeError"),
        (question_sum, "add up the voxels"), (question_max, "largest voxel"),
        (question_pooled_over_the_batch, "over the batch as well"), (question_pooled_over_channels, "over the channels as well"),
        (question_no_image, "forgotten the image"), (question_maps, "have not pooled"),
        (question_as_a_cube, "three axes of length 1"), (question_cut_off, "cut off from deep"),
        (question_centred, "changes with the others"),
        (question_samples_last, "has not the shape (B, C + T)"),
    ],
    "14-exchange": [
        (exchange_features_first, "features ask first"), (exchange_at_once, "before they saw the image"),
        (exchange_old_priors_back, "return the old priors"), (exchange_old_features_back, "then forgotten"),
        (exchange_posteriors_first, "posteriors first"), (exchange_no_residual, "takes the place of the queries"),
        (exchange_no_scale, "not divided by sqrt(C)"), (exchange_by_c, "its square root"),
        (exchange_softmax_over_queries, "over the queries"), (exchange_no_softmax, "left the softmax out"),
        (exchange_sigmoid, "sigmoid in place"), (exchange_one_softmax, "over everything at once"),
        (exchange_first_list, "first one's questions"), (exchange_features_alone, "features alone"),
        (exchange_bare_exp, "is right, and your function gives"), (exchange_causal, "depends on the order"),
        (exchange_all_in_one, "should return two things"), (exchange_cut_off, "cut off from what came in"),
        (exchange_stops, "stops with RuntimeError"),
    ],
}
