// The slice viewer: the stage, a canvas that shows the state: slices, label maps, marks, ruler, prompts.

/** Paints what the model says on a canvas, and knows which voxel lies where. `pending` is a prompt that is being drawn. */
class Stage {
  constructor(model, store, canvas) {
    Object.assign(this, { model, store, canvas, spec: store.spec, panes: [], sheets: {}, pending: null });
    this.painted = () => {};
  }

  get(name) {
    return this.model.get(name);
  }

  get plane() {
    return PLANES[this.get("plane")];
  }

  get index() {
    return this.get("cursor")[this.plane.axis];
  }

  /** From a stored value to a grey pixel; made anew only when the window changes. */
  table() {
    const window = this.get("window");
    if (String(window) !== this.tabled) [this.tabled, this.greyTable] = [String(window), greyTable(this.spec, window)];
    return this.greyTable;
  }

  sheet(name, [w, h]) {
    const known = this.sheets[name];
    if (known?.canvas.width !== w || known.canvas.height !== h) this.sheets[name] = new Sheet(w, h);
    return this.sheets[name];
  }

  layersShown() {
    if (!this.spec.layers.length) return [];
    return this.get("layout") === "single" ? [this.get("pair")[0]] : this.get("pair");
  }

  paint() {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth, this.spec.height];
    if (!width) return;
    if (this.canvas.width !== Math.round(width * ratio)) this.canvas.width = Math.round(width * ratio);
    if (this.canvas.height !== Math.round(height * ratio)) this.canvas.height = Math.round(height * ratio);
    const ctx = this.canvas.getContext("2d", { alpha: false });
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = "#000";
    ctx.fillRect(0, 0, width, height);
    const beside = this.get("layout") === "side by side" && this.spec.layers.length > 1;
    this.panes = beside
      ? [this.place(0, 0, width / 2 - 1, height), this.place(width / 2 + 1, 0, width / 2 - 1, height)]
      : [this.place(0, 0, width, height)];
    const { u, v } = this.plane;
    const size = [this.spec.shape[u], this.spec.shape[v]];
    const sheet = this.sheet("image", size);
    this.store.cut(this.store.image, this.get("plane"), this.index, sheet.pixels, this.table());
    const grey = sheet.show();
    this.panes.forEach((pane) => {
      ctx.imageSmoothingEnabled = true;
      ctx.drawImage(grey, pane.x, pane.y, pane.w, pane.h);
    });
    this.paintLayers(ctx, size);
    this.panes.forEach((pane) => this.paintMarks(ctx, pane));
    this.panes.forEach((pane) => this.paintPrompts(ctx, pane));
    if (!this.store.complete(this.get("plane"), this.index)) {
      ctx.font = "13px sans-serif";
      write(ctx, "loading slices … (without a running kernel, run the cell again)", width / 2, height / 2);
    }
    this.painted();
  }

  /** Where a slice goes in a part of the canvas: as large as fits, at its true aspect. */
  place(left, top, width, height) {
    const { u, v } = this.plane;
    const mm = [this.spec.shape[u] * this.spec.spacing[u], this.spec.shape[v] * this.spec.spacing[v]];
    const scale = Math.min(width / mm[0], height / mm[1]);
    const [w, h] = [mm[0] * scale, mm[1] * scale];
    return { left, top, width, height, scale, w, h, x: left + (width - w) / 2, y: top + (height - h) / 2 };
  }

  paintLayers(ctx, size) {
    const shown = this.layersShown();
    const pane = this.panes[0];
    if (shown.length < 2) return shown.forEach((k) => this.paintLayer(ctx, k, pane, size));
    if (this.panes.length === 2) return shown.forEach((k, side) => this.paintLayer(ctx, k, this.panes[side], size));
    const split = pane.x + pane.w * this.get("swipe"); // swipe: one map left of the line, the other right of it
    [[pane.x, split - pane.x], [split, pane.x + pane.w - split]].forEach(([left, width], side) => {
      ctx.save();
      ctx.beginPath();
      ctx.rect(left, pane.y, width, pane.h);
      ctx.clip();
      this.paintLayer(ctx, shown[side], pane, size);
      ctx.restore();
    });
    ctx.fillStyle = "#fff";
    ctx.fillRect(split - 1, pane.y, 2, pane.h);
    ctx.fillRect(split - 4, pane.y + pane.h / 2 - 16, 8, 32);
  }

  paintLayer(ctx, k, pane, [w, h]) {
    const sheet = this.sheet(k, [w, h]);
    const codes = this.store.cut(this.store.layers[k], this.get("plane"), this.index, sheet.codes);
    const shown = new Uint8Array(256); // code -> itself, or 0 where the structure is off
    const paint = new Uint32Array(256);
    const alpha = Math.round(this.get("opacity") * 255) << 24;
    for (const { code, id, colour } of this.spec.structures) {
      if (this.get("hidden").includes(id)) continue;
      shown[code] = code;
      paint[code] = alpha | (colour[2] << 16) | (colour[1] << 8) | colour[0]; // ImageData bytes run R, G, B, A
    }
    if (this.get("fill")) {
      ctx.imageSmoothingEnabled = false; // a label is a label: no colours between two structures
      for (let i = 0; i < codes.length; i++) sheet.pixels[i] = paint[codes[i]];
      ctx.drawImage(sheet.show(), pane.x, pane.y, pane.w, pane.h);
    }
    if (!this.get("outline")) return;
    const lines = edges(codes, w, h, shown);
    const [sx, sy] = [pane.w / w, pane.h / h];
    for (const { code, colour } of this.spec.structures) {
      ctx.fillStyle = `rgb(${colour})`;
      strokeEdges(ctx, lines[code], pane.x, pane.y, sx, sy);
    }
  }

  paintMarks(ctx, pane) {
    const { left, top, width, height } = pane;
    const [west, east, north, south] = this.plane.marks;
    ctx.font = "600 14px sans-serif";
    write(ctx, west, left + 12, top + height / 2);
    write(ctx, east, left + width - 12, top + height / 2);
    write(ctx, north, left + width / 2, top + 14);
    write(ctx, south, left + width / 2, top + height - 14);
    const shown = this.layersShown();
    ctx.font = "12px sans-serif";
    if (this.panes.length === 2) write(ctx, this.spec.layers[shown[this.panes.indexOf(pane)]], left + 10, top + 14, "left");
    else if (shown.length === 2) {
      write(ctx, this.spec.layers[shown[0]], left + 10, top + 14, "left");
      write(ctx, this.spec.layers[shown[1]], left + width - 10, top + 14, "right");
    }
    const wish = width / 4 / pane.scale; // the ruler: the longest of 1, 2, 5, 10, ... mm within a quarter of the width
    const ten = 10 ** Math.floor(Math.log10(wish));
    const mm = ten * (wish >= 5 * ten ? 5 : wish >= 2 * ten ? 2 : 1);
    const [x, y] = [left + 12, top + height - 12];
    ctx.fillStyle = "rgba(0,0,0,.8)";
    ctx.fillRect(x - 1, y - 2, mm * pane.scale + 2, 5);
    ctx.fillStyle = "#f5f5f5";
    ctx.fillRect(x, y - 1, mm * pane.scale, 3);
    write(ctx, `${mm} mm`, x, y - 12, "left");
  }

  /** Screen position of a voxel's centre (or, with shift -0.5, of its corner with the lowest indices). */
  screen(pane, ijk, shift = 0) {
    const { u, v } = this.plane;
    const [su, sv] = [this.spec.spacing[u] * pane.scale, this.spec.spacing[v] * pane.scale];
    return [pane.x + (this.spec.shape[u] - 0.5 - ijk[u] - shift) * su, pane.y + (this.spec.shape[v] - 0.5 - ijk[v] - shift) * sv];
  }

  paintCross(ctx, pane) {
    const [x, y] = this.screen(pane, this.get("cursor"));
    for (const [colour, wide] of [["rgba(0,0,0,.7)", 3], ["#f0e442", 1.25]]) {
      Object.assign(ctx, { strokeStyle: colour, lineWidth: wide });
      ctx.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        ctx.moveTo(x + 5 * dx, y + 5 * dy);
        ctx.lineTo(x + 14 * dx, y + 14 * dy);
      }
      ctx.stroke();
    }
  }

  paintPrompts(ctx, pane) {
    const axis = this.plane.axis;
    if (this.canvas.matches(":focus")) this.paintCross(ctx, pane);
    if (!this.spec.tools) return;
    this.paintScribble(ctx, pane, axis);
    this.paintBox(ctx, pane, axis);
    for (const { sign, ijk } of this.get("points")) {
      if (ijk[axis] !== this.index) continue;
      const [x, y] = this.screen(pane, ijk);
      Object.assign(ctx, { fillStyle: SIGN_COLOUR[sign], strokeStyle: "#000", lineWidth: 2 });
      ctx.beginPath();
      ctx.arc(x, y, 8, 0, 7);
      ctx.stroke();
      ctx.fill();
      ctx.fillStyle = "#000";
      ctx.fillRect(x - 5, y - 1.25, 10, 2.5);
      if (sign > 0) ctx.fillRect(x - 1.25, y - 5, 2.5, 10);
    }
  }

  paintScribble(ctx, pane, axis) {
    const strokes = [...this.get("scribble")];
    if (this.pending?.kind === "scribble") strokes.push({ sign: this.get("sign"), ijk: this.pending.path });
    for (const { sign, ijk } of strokes) {
      const path = ijk.filter((voxel) => voxel[axis] === this.index).map((voxel) => this.screen(pane, voxel));
      if (path.length === 1) path.push(path[0]);
      Object.assign(ctx, { strokeStyle: SIGN_COLOUR[sign], lineWidth: 4, lineCap: "round", lineJoin: "round" });
      ctx.setLineDash(sign > 0 ? [] : [1, 7]); // dotted: not this
      ctx.beginPath();
      path.forEach(([x, y], i) => (i ? ctx.lineTo(x, y) : ctx.moveTo(x, y)));
      ctx.stroke();
      ctx.setLineDash([]);
    }
  }

  paintBox(ctx, pane, axis) {
    const box = this.pending?.kind === "box" ? boxed(this.pending.from, this.get("cursor"), this.get("plane")) : this.get("box");
    if (box.start && box.start[axis] <= this.index && this.index < box.stop[axis]) {
      const [x1, y1] = this.screen(pane, box.start, -0.5);
      const [x0, y0] = this.screen(pane, box.stop, -0.5);
      for (const [colour, wide] of [["#000", 4], ["#f0e442", 2]]) {
        Object.assign(ctx, { strokeStyle: colour, lineWidth: wide });
        ctx.strokeRect(x0, y0, x1 - x0, y1 - y0);
      }
    }
  }

  /** The voxel under the mouse, or null beside the slice. */
  voxel(event, inside = true) {
    const { u, v, axis } = this.plane;
    const pane = this.panes?.[event.offsetX > this.canvas.clientWidth / 2 ? this.panes.length - 1 : 0];
    if (!pane) return null;
    const ijk = [0, 0, 0];
    ijk[axis] = this.index;
    ijk[u] = this.spec.shape[u] - 1 - Math.floor((event.offsetX - pane.x) / (this.spec.spacing[u] * pane.scale));
    ijk[v] = this.spec.shape[v] - 1 - Math.floor((event.offsetY - pane.y) / (this.spec.spacing[v] * pane.scale));
    const held = ijk.map((n, k) => clamp(n, 0, this.spec.shape[k] - 1));
    return inside && held.some((n, k) => n !== ijk[k]) ? null : held;
  }
}
