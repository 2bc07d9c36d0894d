// The sketch: its data. One book per widget, shared by all its views: the pictures, what is drawn on them, and how to undo it.

const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
const count = (mask) => mask.reduce((sum, value) => sum + value, 0);
const HISTORY = 200; // steps that can be undone

/** Each pixel [x, y] whose centre lies within half a brush of a pixel's centre. */
function disc([x, y], size) {
  const [reach, inside] = [Math.floor(size / 2), []];
  for (let dy = -reach; dy <= reach; dy++)
    for (let dx = -reach; dx <= reach; dx++) if (4 * (dx * dx + dy * dy) <= size * size) inside.push([x + dx, y + dy]);
  return inside;
}

class Book {
  constructor(model) {
    this.model = model;
    [this.count, this.h, this.w] = model.get("_spec").shape;
    this.size = this.h * this.w;
    this.pictures = bytes(model.get("_pictures"));
    this.query = bytes(model.get("_query"));
    this.masks = bytes(model.get("_masks")).slice();
    this.areas = []; // pixels in each mask, counted when asked for
    this.versions = new Array(this.count).fill(0); // grows with each change of a mask, for those who paint it
    this.stroke = null; // what is being drawn: {page, before}
    this.history = []; // steps, each a list of {page, before}
    this.listeners = new Set();
    model.on("change:_masks", () => this.receive(bytes(model.get("_masks"))));
  }

  picture(page) {
    return this.pictures.subarray(page * this.size, (page + 1) * this.size);
  }

  mask(page) {
    return this.masks.subarray(page * this.size, (page + 1) * this.size);
  }

  area(page) {
    return (this.areas[page] ??= count(this.mask(page)));
  }

  /** The page's mask has changed. */
  touch(page) {
    this.areas[page] = undefined;
    this.versions[page] += 1;
  }

  /** Masks that come from Python are a step like any other: undo takes them back. */
  receive(masks) {
    const step = [];
    for (let page = 0; page < this.count; page++) {
      const before = this.mask(page).slice();
      const after = masks.subarray(page * this.size, (page + 1) * this.size);
      if (before.some((value, i) => value !== after[i])) step.push({ page, before });
    }
    if (!step.length) return; // our own change comes back
    this.masks = masks.slice();
    step.forEach(({ page }) => this.touch(page));
    this.remember(step);
    this.listeners.forEach((changed) => changed());
  }

  remember(step) {
    this.history.push(step);
    if (this.history.length > HISTORY) this.history.shift();
  }

  begin(page) {
    this.stroke = { page, before: this.mask(page).slice() };
  }

  /** Draw a straight line from pixel to pixel: value 1 paints, 0 erases. */
  line(from, to, size, value) {
    const mask = this.mask(this.stroke.page);
    const steps = Math.max(1, Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1]));
    for (let k = 0; k <= steps; k++) {
      const at = from.map((start, axis) => Math.round(start + ((to[axis] - start) * k) / steps));
      for (const [x, y] of disc(at, size)) if (x >= 0 && x < this.w && y >= 0 && y < this.h) mask[y * this.w + x] = value;
    }
    this.touch(this.stroke.page);
  }

  /** The stroke is done: keep it for undo and send it; how many pixels it added or (below 0) took away. */
  end() {
    const { page, before } = this.stroke;
    this.stroke = null;
    const mask = this.mask(page);
    if (before.every((value, i) => value === mask[i])) return 0;
    this.remember([{ page, before }]);
    this.send();
    return this.area(page) - count(before);
  }

  restore({ page, before }) {
    this.mask(page).set(before);
    this.touch(page);
  }

  cancel() {
    this.restore(this.stroke);
    this.stroke = null;
  }

  clear(page) {
    this.begin(page);
    this.mask(page).fill(0);
    this.touch(page);
    return this.end();
  }

  /** Take back the last step; the page that it changed, or -1 if there is none. */
  undo() {
    const step = this.history.pop();
    if (!step) return -1;
    step.forEach((page) => this.restore(page));
    this.send();
    return step[0].page;
  }

  send() {
    this.model.set("_masks", new DataView(this.masks.slice().buffer));
    this.model.save_changes();
    this.listeners.forEach((changed) => changed());
  }
}
