"""Quizzes, predictions and hints for a reader without a kernel: native elements, which need no script and print unfolded."""

from __future__ import annotations

import ast
import re
from html import escape

from fmlab.lessons.exercise import exercises
from fmlab.lessons.quiz import Question, questions
from fmlab.lessons.show import inline

_LETTERS = "ABCDEFGH"
_CHOICE = re.compile(r"(?P<question>.+)\n(?P<options>(?:  \d+\. .+\n)+)Answer by number: .*")  # how a Choice reads as text


def asked(source: str, lesson: str) -> str | None:
    """The HTML that stands for a cell whose only statement is ``quiz``, ``predict`` or ``progress``, or whose only line is a hint
    in a comment; "" for what has no use here, None for any other cell. lesson: two digits.
    """
    if hinted := _hinted(source):
        return hints(hinted, lesson)
    match _only_call(source):
        case ("progress", _):
            return ""
        case ("quiz", [str(name)]):
            found = [question for question in questions(lesson) if question.id == name]
            return quiz(found[0]) if found else None
        case ("predict", [str(name)]):
            return recall(name)
        case ("predict", [str(name), str(question), [_, _, *_] as options]):
            return prediction(name, question, options)
    return None


def computed(source: str, shown: list[str]) -> str | None:
    """A prediction whose words were put together when the cell ran, from the text that it showed; None for any other cell."""
    name = re.match(r'predict\("([\w-]+)",', source)
    found = _CHOICE.fullmatch(shown[0]) if name and len(shown) == 1 else None
    if found is None:
        return None
    return prediction(name[1], found["question"], re.findall(r"^  \d+\. (.+)$", found["options"], re.MULTILINE))


def quiz(question: Question) -> str:
    """A question whose every option unfolds what is right or wrong about it."""
    rows = []
    for letter, option in zip(_LETTERS, question.options, strict=False):
        verdict, tone = ("Right.", "right") if option.right else ("Not right.", "wrong")
        rows.append(f'<details class="{tone}"><summary><span class="letter">{letter}</span> {inline(option.text)}</summary>'
                    f"<p><strong>{verdict}</strong> {inline(option.why)}</p></details>")
    name = escape(question.id)
    return (f'<div class="card quiz" role="group" aria-labelledby="{name}"><p class="kind">Question</p>'
            f'<p class="ask" id="{name}">{inline(question.text)}</p>{"".join(rows)}</div>')


def prediction(name: str, question: str, options: list[str]) -> str:
    """A question to answer before reading on; the page's script remembers the first choice on this computer."""
    rows = "".join(f'<label><input type="radio" name="{escape(name)}" value="{number}"> <span>{inline(text)}</span></label>'
                   for number, text in enumerate(options, start=1))
    return (f'<fieldset class="card predict" data-predict="{escape(name)}"><legend class="kind">Predict</legend>'
            f'<p class="ask">{inline(question)}</p>{rows}<p class="note" role="status"></p></fieldset>')


def recall(name: str) -> str:
    """What was predicted, shown again; where nothing is remembered, a reminder."""
    return f'<p class="card recall" data-recall="{escape(name)}">Compare this with what you predicted.</p>'


def hints(name: str, lesson: str) -> str:
    """The steps of an exercise's hints, each folded; "" if the lesson has no such exercise."""
    steps = next((spec.hints for spec in exercises(lesson) if spec.id == name), ())
    rows = "".join(f"<details><summary>Hint {number} of {len(steps)}</summary><p>{inline(text)}</p></details>"
                   for number, text in enumerate(steps, start=1))
    return f'<div class="hints">{rows}</div>' if rows else ""


def _hinted(source: str) -> str | None:
    """The exercise of a cell that holds nothing but ``# hint("00-dice")``."""
    line = source.strip()
    if not line.startswith("# hint(") or "\n" in line:
        return None
    match _only_call(line.removeprefix("# ")):
        case ("hint", [str(name), *_]):
            return name
    return None


def _only_call(source: str) -> tuple[str, list] | None:
    """The name and the literal arguments of a cell's only statement, a call of a plain name; else None."""
    try:
        body = ast.parse(source).body
        match body:
            case [ast.Expr(value=ast.Call(func=ast.Name(id=name), args=args, keywords=[]))]:
                return name, [ast.literal_eval(one) for one in args]
    except (SyntaxError, ValueError):  # magics; arguments that are computed
        return None
    return None
