// The slice viewer: prompts, for lessons in which a model answers: points with a sign, one box, scribbles.

const TOOLS = { look: "Look", point: "Point", box: "Box", scribble: "Scribble" };

/** The box between two voxels, both inside; start is its first voxel, stop one past its last, as Python slices. */
function boxed(a, b, plane) {
  return { plane, start: a.map((n, k) => Math.min(n, b[k])), stop: a.map((n, k) => Math.max(n, b[k]) + 1) };
}

/** Turns presses of a tool (mouse or Enter) into the traits points, box and scribble; `set` changes traits. */
class Prompts {
  constructor(stage, set) {
    Object.assign(this, { stage, set, undoable: [] });
  }

  /** Change prompts so that undo can take the change back. */
  change(values) {
    const before = Object.fromEntries(["points", "box", "scribble"].map((name) => [name, this.stage.get(name)]));
    this.undoable.push(before);
    this.set(values);
  }

  undo() {
    this.stage.pending = null;
    if (this.undoable.length) this.set(this.undoable.pop());
  }

  clear() {
    this.stage.pending = null;
    this.change({ points: [], box: {}, scribble: [] });
  }

  /** The tool goes down on a voxel, by mouse or Enter; a point is done at once, box and scribble wait for lift. */
  press(ijk) {
    const [plane, sign, kind] = ["plane", "sign", "tool"].map((name) => this.stage.get(name));
    if (kind === "point") this.change({ points: [...this.stage.get("points"), { plane, sign, ijk }] });
    else if (kind === "box") this.stage.pending = { kind, from: ijk };
    else if (kind === "scribble") this.stage.pending = { kind, path: [ijk] };
  }

  lift(ijk) {
    const [plane, sign, pending] = [this.stage.get("plane"), this.stage.get("sign"), this.stage.pending];
    this.stage.pending = null;
    if (pending?.kind === "box") this.change({ box: boxed(pending.from, ijk, plane) });
    if (pending?.kind !== "scribble") return;
    this.change({ scribble: [...this.stage.get("scribble"), { plane, sign, ijk: pending.path }] });
  }
}
