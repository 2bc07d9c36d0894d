"""In-context segmentation (section 2.B of the slides): the task comes as examples, and no weight is changed.

    model = hub.load("universeg", "nano")
    found = predict(model, image, support, ensemble=4)

UniverSeg (``universeg``, ``cross_block``), Tyche (``tyche``, ``candidates``), Iris (``iris``); what they are trained on
(``episodes``) and how they are used (``predict``).
"""

from fmlab.incontext.examples import Examples, examples_of
from fmlab.incontext.prediction import Prediction, predict, predict_volume, probability

__all__ = ["Examples", "Prediction", "examples_of", "predict", "predict_volume", "probability"]
