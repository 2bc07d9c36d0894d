"""The map of the systems and the ledger of the claims, as README shows them: ``python -m data_scripts.draw_course``.

Both are drawn from the package's tables and stored runs. What a picture shows is kept in words inside its file too, so that a
test sees when it has grown old.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fmlab.lessons import claims, system_map
from fmlab.lessons.claims.declared import declared
from fmlab.lessons.claims.shown import MARKS
from fmlab.lessons.claims.verdicts import Verdict

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures"
SHARED = "Dice"  # the unit of most claims, which share an axis; each of the others has a scale of its own
INK, QUIET, BAND = "#1b1b1b", "#595959", "#f3f3f3"
Drawn = tuple[Figure, str]


def the_map() -> Drawn:
    """Lesson 01's map on the slides' axes A and B; with what it shows in words."""
    return system_map.the_map(x="B", y="A")


def the_ledger() -> Drawn:
    """Every claim with effect and interval: those in Dice on one axis, each of the others on a scale of its own; and in words."""
    found = [verdict for verdict in map(claims.verdict, (claim.id for claim in declared())) if verdict.outcome in MARKS]
    groups = [ordered(verdict for verdict in found if (verdict.claim.unit == SHARED) == shared) for shared in (True, False)]
    fig = Figure(figsize=(9, 0.26 * (len(found) + 6)))
    panels = fig.subplots(2, sharex=True, height_ratios=[max(len(group), 1) for group in groups])
    fig.subplots_adjust(left=0.355, right=0.7, top=0.92, bottom=0.01, hspace=0.22)
    ends = [end for verdict in groups[0] for end in reach(verdict)]
    panels[0].set_xlim(1.06 * min(0.0, *ends), 1.06 * max(ends))
    _rows(panels[0], groups[0], [1.0] * len(groups[0]))
    _rows(panels[1], groups[1], [max(map(abs, reach(verdict))) / max(ends) for verdict in groups[1]])
    panels[0].tick_params(labelbottom=True, length=3, color=QUIET, labelcolor=QUIET, labelsize=9)
    panels[0].set_xlabel(f"effect in {SHARED}; right of the line, the slides are right", fontsize=9, color=QUIET, labelpad=1)
    panels[1].tick_params(labelbottom=False, length=0)
    panels[1].set_title("in other units, each on a scale of its own from the same zero", fontsize=9, color=QUIET, pad=3)
    fig.text(0.712, 0.93, "effect [95% interval]", fontsize=9, color=QUIET)
    handles = [Line2D([], [], marker=shape, color=colour, markerfacecolor=fill, lw=2, markersize=6,
                      label=f"{outcome}: {sum(verdict.outcome == outcome for verdict in found)}")
               for outcome, (shape, colour, fill) in MARKS.items()]
    fig.legend(handles=handles, loc="upper left", ncols=len(handles), frameon=False, fontsize=9.5, bbox_to_anchor=(0.005, 0.995),
               borderaxespad=0, columnspacing=1.6)
    return fig, claims.forest_alt()


def in_short() -> str:
    """What the ledger's picture shows, in a sentence for its alt text."""
    found = [claims.verdict(claim.id) for claim in declared()]
    hold, undecided = (sum(verdict.outcome == outcome for verdict in found) for outcome in ("holds", "undecided"))
    against = ", ".join(f"{verdict.claim.id} ({verdict.claim.title})" for verdict in found if verdict.contradicts)
    return (f"Forest plot of {len(found)} claims, a row each with its effect and 95% interval: {hold} hold, {undecided} are "
            f"undecided, and what does not hold is {against or 'none'}.")


def ordered(group: Iterable[Verdict]) -> list[Verdict]:
    """By verdict, and within by effect, the largest first."""
    return sorted(group, key=lambda verdict: (list(MARKS).index(verdict.outcome), -verdict.effect.mean))


def reach(verdict: Verdict) -> tuple[float, float]:
    """From where to where the picture has to go for a claim: its interval, or its mean where it has none."""
    effect = verdict.effect
    return (effect.low, effect.high) if effect.has_interval else (effect.mean, effect.mean)


def numbers(verdict: Verdict) -> str:
    """Effect and interval as the ledger prints them; in other units three figures, and the unit."""
    if verdict.claim.unit == SHARED:
        return str(verdict.effect)
    return f"{verdict.effect.mean:.3g} [{', '.join(f'{end:.3g}' for end in reach(verdict))}] {verdict.claim.unit}"


def _rows(ax: Axes, group: Sequence[Verdict], scales: Sequence[float]) -> None:
    across = ax.get_yaxis_transform()
    for row, (verdict, scale) in enumerate(zip(group, scales, strict=True)):
        shape, colour, fill = MARKS[verdict.outcome]
        if row % 2 == 0:
            ax.axhspan(row - 0.5, row + 0.5, xmin=-1.03, xmax=1.87, color=BAND, lw=0, zorder=0, clip_on=False)
        ax.plot([end / scale for end in reach(verdict)], [row, row], color=colour, lw=2.2, solid_capstyle="butt")
        ax.plot(verdict.effect.mean / scale, row, shape, color=colour, markerfacecolor=fill, markersize=5.5, markeredgewidth=1.4)
        for x, text, ink in ((-1.01, verdict.claim.id, QUIET), (-0.9, verdict.claim.title, INK), (1.035, numbers(verdict), INK)):
            ax.text(x, row, text, transform=across, va="center_baseline", fontsize=9.5, color=ink)
    ax.axvline(0, color=INK, lw=0.9, zorder=1)
    ax.set_ylim(len(group) - 0.5, -0.5)
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def save(figure: Figure, words: str, path: Path) -> None:
    """As a small PNG that holds its words."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=170, facecolor="white", bbox_inches="tight", pad_inches=0.08)
    kept = PngInfo()
    kept.add_text("Description", words)
    few = Image.open(buffer).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(path, optimize=True, pnginfo=kept)


PICTURES: dict[str, Callable[[], Drawn]] = {"map": the_map, "ledger": the_ledger}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        save(*draw(), FOLDER / f"{name}.png")
    print(f"The alt text of the ledger: {in_short()}")
