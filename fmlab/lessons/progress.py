"""``progress``: what the learner has done, counted per lesson; ``fmlab list`` shows the same."""

from __future__ import annotations

from dataclasses import dataclass

from fmlab.lessons.exercise import exercises
from fmlab.lessons.quiz import questions
from fmlab.lessons.records import course_folder, read
from fmlab.lessons.show import Box
from fmlab.lessons.source import lessons


@dataclass(frozen=True)
class Row:
    """One lesson's count: exercises passed of all, quiz questions answered rightly of all."""

    number: str
    title: str
    passed: int
    exercises: int
    right: int
    questions: int

    def sentence(self) -> str:
        """The counts in words."""
        parts = [f"{self.passed} of {self.exercises} exercises"] if self.exercises else []
        parts += [f"{self.right} of {self.questions} questions"] if self.questions else []
        return ", ".join(parts) or "nothing to answer"


def progress() -> Box:
    """What you have done so far, per lesson."""
    lines = tuple(f"{row.number} {row.title}: {row.sentence()}" for row in summary(read()))
    return Box(f"Your progress (in `{course_folder() / 'progress.json'}`)", lines or ("There is no lesson here yet.",))


def summary(records: dict[str, dict]) -> tuple[Row, ...]:
    """One row for each lesson that is there, from the records of progress.json."""
    rows = []
    for lesson in lessons():
        tasks, quizzes = exercises(lesson.number), questions(lesson.number)
        passed = sum(bool(records["exercises"].get(task.id, {}).get("passed")) for task in tasks)
        right = sum(bool(records["quizzes"].get(question.id, {}).get("right")) for question in quizzes)
        rows.append(Row(lesson.number, lesson.title, passed, len(tasks), right, len(quizzes)))
    return tuple(rows)
