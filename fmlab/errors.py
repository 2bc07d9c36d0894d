"""The exceptions of fmlab: each carries one sentence that says what was wrong, where, and what to do."""


class FmlabError(Exception):
    """Base class: ``except FmlabError`` catches whatever fmlab refuses."""


class ScanError(FmlabError, ValueError):
    """A scan or label file cannot be read, is not what it was said to be, or does not fit its partner."""


class VocabularyError(FmlabError, KeyError):
    """A structure name, label id or label scheme is not in the vocabulary."""

    def __str__(self) -> str:  # KeyError would show the repr of the sentence
        return str(self.args[0]) if self.args else ""


class SettingsError(FmlabError, ValueError):
    """An environment variable or argument has a value that fmlab does not know."""


class DataError(FmlabError, OSError):
    """A named data set could not be fetched, verified or unpacked."""


class LessonError(FmlabError, RuntimeError):
    """A lesson cannot be built, run or copied."""


class ClaimError(FmlabError, ValueError):
    """A claim is unknown, or a run cannot be kept in its ledger."""


class TrainingError(FmlabError, RuntimeError):
    """A training cannot start, go on or be resumed."""


class ModelError(FmlabError, ValueError):
    """A model, its configuration, its weights or its input does not fit."""


class PromptError(FmlabError, ValueError):
    """A click, box or mask prompt does not fit its image, or there is nothing that it could be drawn from."""


class PromptWarning(UserWarning):
    """A prompt that is allowed and yet not what anyone means: contradictory clicks, or a correction where nothing is wrong."""
