// The canvas: its stage: the slice under the masks of all classes, with the marks of the prompts.

const MASK_FILL = 0.3;
const IN_MASK = Uint8Array.from({ length: 256 }, (_, code) => (code ? 1 : 0));
const INK = { 1: ["#fff", "#000"], 0: ["#000", "#fff"] }; // of a point's disc and its sign; its rim has the class's colour

class Easel extends Stage {
  constructor(desk, canvas) {
    super(desk.face, desk.store, canvas);
    Object.assign(this, { desk, cross: false, rubber: null, veiled: false });
  }

  colour(k) {
    return this.spec.classes[k].colour;
  }

  get chosen() {
    return this.spec.classes.findIndex(({ name }) => name === this.get("current"));
  }

  paintLayers(ctx, [w, h]) {
    if (this.veiled) return;
    const pane = this.panes[0];
    for (const layer of this.desk.slice().layers) {
      if (!layer.mask) continue;
      const colour = this.colour(layer.class);
      layer.shown ??= { fill: tinted(layer.mask, w, h, colour), lines: edges(layer.mask, w, h, IN_MASK)[1] }; // once an answer
      ctx.imageSmoothingEnabled = false; // a pixel is in the mask or it is not
      ctx.drawImage(layer.shown.fill, pane.x, pane.y, pane.w, pane.h);
      ctx.fillStyle = `rgb(${colour})`;
      strokeEdges(ctx, layer.shown.lines, pane.x, pane.y, pane.w / w, pane.h / h);
    }
  }

  paintMarks(ctx, pane) {
    if (!this.spec.flat) super.paintMarks(ctx, pane);
  }

  paintPrompts(ctx, pane) {
    const known = this.veiled ? [] : this.desk.slice().layers;
    for (const { class: k, points, box } of known) {
      ctx.globalAlpha = k === this.chosen ? 1 : 0.45; // whose turn it is not, steps back
      if (box) this.paintFrame(ctx, pane, box, this.colour(k));
      for (const [i, j, l, label] of points) this.paintPoint(ctx, pane, [i, j, l], label, this.colour(k));
    }
    ctx.globalAlpha = 1;
    for (const { do: kind, class: name, voxels, label } of this.desk.waiting) {
      const { colour } = this.spec.classes.find((one) => one.name === name);
      if (kind === "point") this.paintPoint(ctx, pane, voxels[0], label, colour);
      else this.paintFrame(ctx, pane, around(...voxels), colour);
    }
    if (this.rubber) this.paintFrame(ctx, pane, around(this.rubber, this.get("cursor")), this.colour(this.chosen), true);
    if (this.cross && this.canvas.matches(":focus")) this.paintCross(ctx, pane);
  }

  paintPoint(ctx, pane, voxel, label, colour) {
    if (voxel[this.plane.axis] !== this.index) return;
    const [x, y] = this.screen(pane, voxel);
    const [disc, ink] = INK[label];
    for (const [fill, radius] of [["rgba(0,0,0,.6)", 9.5], [`rgb(${colour})`, 8.5], [disc, 6]]) {
      ctx.fillStyle = fill;
      ctx.beginPath();
      ctx.arc(x, y, radius, 0, 7);
      ctx.fill();
    }
    ctx.fillStyle = ink;
    ctx.fillRect(x - 4, y - 1, 8, 2);
    if (label) ctx.fillRect(x - 1, y - 4, 2, 8);
  }

  /** A box [start, stop) in voxels; dashed while it is being drawn. */
  paintFrame(ctx, pane, [start, stop], colour, open = false) {
    const { axis } = this.plane;
    if (this.index < start[axis] || this.index >= stop[axis]) return;
    const [[x1, y1], [x0, y0]] = [this.screen(pane, start, -0.5), this.screen(pane, stop, -0.5)];
    for (const [line, wide] of [["rgba(0,0,0,.75)", 4], [`rgb(${colour})`, 2]]) {
      Object.assign(ctx, { strokeStyle: line, lineWidth: wide });
      ctx.setLineDash(open ? [6, 4] : []);
      ctx.strokeRect(x0, y0, x1 - x0, y1 - y0);
    }
    ctx.setLineDash([]);
  }
}

/** A mask as a picture in a class's colour. */
function tinted(mask, w, h, [r, g, b]) {
  const sheet = new Sheet(w, h);
  const fill = (Math.round(MASK_FILL * 255) << 24) | (b << 16) | (g << 8) | r;
  for (let i = 0; i < mask.length; i++) if (mask[i]) sheet.pixels[i] = fill;
  return sheet.show();
}

/** The box around two voxels, as Python slices: its first voxel, and one past its last. */
function around(a, b) {
  return [a.map((n, k) => Math.min(n, b[k])), a.map((n, k) => Math.max(n, b[k]) + 1)];
}
