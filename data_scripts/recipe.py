"""What a training of shipped weights is told, and what it writes down about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fmlab.lessons.claims import hardware


@dataclass(frozen=True)
class Plan:
    """steps: None for what the shipped weights took. precision: as in TrainConfig. output: folder of weights and card."""

    steps: int | None
    seed: int
    precision: str
    output: Path
    loss: str = "masked"

    def weights(self, model: str) -> Path:
        """Where the weights of a model are stored; its card lies beside them. "sam_textures" is a sam of that label."""
        for label in ("textures", "swapped"):
            if model.endswith(f"_{label}"):
                return self.output / f"{model.removesuffix(f'_{label}')}-{label}.safetensors"
        return self.output / f"{model}-{self.label}.safetensors"

    @property
    def label(self) -> str:
        """"nano", or with another loss than the usual one "nano_softmax"."""
        return "nano" if self.loss == "masked" else f"nano_{self.loss}"

    def notes(self, model: str, steps: int, log: list[dict]) -> dict[str, object]:
        """What is stored with the weights: the command that makes them again, precision, hardware, seconds."""
        return {
            "command": f"python -m data_scripts.train_course_weights {model} --steps {steps} --seed {self.seed}",
            "precision": self.precision, "hardware": hardware(), "seconds": round(sum(line["seconds"] for line in log)),
        }
