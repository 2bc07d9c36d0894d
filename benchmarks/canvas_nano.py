"""What ``benchmarks/canvas.py --model benchmarks/canvas_nano.py`` runs in the kernel: the nano SAM on a body of 4 mm."""

from fmlab import hub
from fmlab.interactive import nano
from fmlab.interactive.predictor import SamPredictor
from fmlab.lessons.ask_sam import ask_sam

scan = next(iter(nano.bodies({"A": 1}, nano.FINE, 7000)))
ask, prepare = ask_sam(SamPredictor(hub.load("sam", "nano").requires_grad_(False)), scan)
classes = ("liver",)
