// The sketch: example pictures on which the reader draws masks, and a query on which Python paints its answer.

const SKETCH_KEYS = {
  "← → ↑ ↓": "move the brush (Shift: by ten)", Space: "paint; hold it and move to draw",
  Enter: "brush down, brush up", "[ ]": "brush size", "B E": "brush, eraser", "U Delete": "undo, clear",
  "N P": "next, previous example", X: "use this example or not",
};
const SKETCH_STATE = "_answer _busy _trouble picks current tool brush".split(" ");
const LARGE = 400; // screen pixels of the two large pictures, at most
const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const pixels = (n) => `${n.toLocaleString("en")} ${n === 1 ? "pixel" : "pixels"}`;

class SketchView extends Panel {
  constructor(model, book, el) {
    super(model, el);
    Object.assign(this, { book, spec: model.get("_spec"), fields: new Fields(this), pen: null, hovering: false });
    this.at = [Math.floor(book.w / 2), Math.floor(book.h / 2)]; // the pixel under the brush
    this.build();
    const redraw = () => this.draw();
    book.listeners.add(redraw);
    SKETCH_STATE.forEach((name) => model.on("change:" + name, redraw));
    const sized = new ResizeObserver(redraw);
    sized.observe(this.root);
    this.close = () => {
      sized.disconnect();
      book.listeners.delete(redraw);
      SKETCH_STATE.forEach((name) => model.off("change:" + name, redraw));
    };
  }

  // -- what is on the screen --

  build() {
    this.tiles = this.spec.names.map((name, page) => new Tile(this, name, page));
    this.tally = make("span", { class: "fm-tally" });
    const head = make("div", { class: "fm-bar" }, make("b", {}, this.spec.title), this.tally);
    const strip = make("div", { class: "fm-strip", role: "group", "aria-label": "Examples" }, ...this.tiles.map((tile) => tile.node));
    const desks = this.spec.query ? [this.buildDesk(), this.buildQuery()] : [this.buildDesk()];
    this.trouble = make("div", { class: "fm-trouble", role: "alert" });
    desks.at(-1).append(this.trouble); // below the pictures: an error must not move what is being drawn on
    const large = make("div", { class: "fm-body" }, ...desks, keyList(SKETCH_KEYS));
    this.live = make("div", { class: "fm-hidden", "aria-live": "polite" });
    this.root = this.frame(this.spec.title, head, strip, this.buildTools(), large, this.live);
    this.root.classList.add("fm-sketch");
    this.root.addEventListener("keydown", (e) => this.key(e));
    this.el.append(this.root);
  }

  buildTools() {
    const size = this.fields.range("Size", "brush", 1, this.spec.largest, 1);
    const number = make("span", { class: "fm-ml" });
    this.fields.refreshers.push(() => (number.textContent = `${this.get("brush")} px`));
    size.append(number);
    const acts = this.fields.actions({ Undo: () => this.undo(), Clear: () => this.clear() });
    const tool = this.fields.choice("Tool", { brush: "Brush", eraser: "Eraser" }, "tool");
    return make("div", { class: "fm-bar", role: "group", "aria-label": "Drawing" }, tool, size, acts);
  }

  buildDesk() {
    const redraw = () => this.draw();
    this.canvas = make("canvas", {
      class: "fm-paper", tabindex: 0, role: "application", "aria-roledescription": "drawing", "aria-label": "",
      keyup: (e) => e.key === " " && this.pen === " " && this.lift(), focus: redraw, blur: () => (this.lift(), this.draw()),
      pointerdown: (e) => this.down(e), pointermove: (e) => this.move(e), pointerleave: () => ((this.hovering = false), this.draw()),
      pointerup: () => this.pen === "mouse" && this.lift(), pointercancel: () => this.lift(),
    });
    this.paper = new Paper(this.canvas, this.book.w, this.book.h, LARGE);
    [this.deskTitle, this.readout] = [make("b"), make("div", { class: "fm-readout" })];
    const head = make("div", { class: "fm-head" }, this.deskTitle, swatch(ORANGE), "your mask");
    return make("div", { class: "fm-desk" }, head, this.canvas, this.readout);
  }

  buildQuery() {
    this.queryCanvas = make("canvas", { role: "img", "aria-label": "" });
    this.queryPaper = new Paper(this.queryCanvas, this.book.w, this.book.h, LARGE);
    this.verdict = make("div", { class: "fm-readout", "aria-live": "polite" });
    const head = make("div", { class: "fm-head" }, make("b", {}, "Query"), swatch(BLUE), "the answer");
    return make("div", { class: "fm-desk" }, head, this.queryCanvas, this.verdict);
  }

  paint() {
    this.fields.refresh();
    this.tiles.forEach((tile) => tile.paint());
    const used = this.tiles.filter((tile) => tile.used).length;
    this.tally.textContent = `${used} of ${this.book.count} examples in the support`;
    this.paintDesk();
    if (this.spec.query) this.paintQuery();
    this.trouble.textContent = this.get("_trouble");
    this.root.setAttribute("aria-busy", this.get("_busy"));
  }

  paintDesk() {
    const page = this.get("current");
    const mask = this.book.mask(page);
    const [x, y] = this.at;
    this.deskTitle.textContent = this.spec.names[page];
    const ctx = this.paper.paint(this.book.picture(page), [{ values: mask, full: 1, colour: ORANGE }]);
    const shown = this.hovering || this.canvas.matches(":focus");
    if (ctx && shown) this.paper.ring(ctx, this.at, this.get("brush"), this.get("tool") === "eraser");
    const said = this.book.area(page) ? `Mask: ${pixels(this.book.area(page))}` : "No mask yet";
    this.readout.textContent = said + (shown ? ` · ${this.place()}` : "");
    this.canvas.setAttribute("aria-label", `${this.spec.names[page]}. ${said}.`);
    this.canvas.dataset.painted = `${page} ${this.book.area(page)} ${x} ${y}`; // what the picture shows; tests read it
  }

  paintQuery() {
    const answer = bytes(this.get("_answer"));
    const layers = answer.length ? [{ values: answer, full: 255, colour: BLUE }] : [];
    this.queryPaper.paint(this.book.query, layers);
    const sure = answer.reduce((sum, value) => sum + (value >= 128), 0);
    const old = this.get("_trouble") ? ", from before the error" : "";
    const said = answer.length ? `Answer: ${pixels(sure)}${old}` : "No answer yet";
    const text = this.get("_busy") ? "Working …" : said;
    if (this.verdict.textContent !== text) this.verdict.textContent = text; // said once, not at each painting
    this.queryCanvas.setAttribute("aria-label", `Query. ${said}.`);
    this.queryCanvas.dataset.painted = answer.length ? sure : "";
  }

  place() {
    return `column ${this.at[0] + 1}, row ${this.at[1] + 1}`;
  }

  say(text) {
    this.live.textContent = text; // a screen reader hears keys and finished strokes, not every mouse move
  }

  // -- strokes: set the pen down, move it, lift it --

  press(pen) {
    this.pen = pen;
    this.book.begin(this.get("current"));
    this.go(this.at);
  }

  go(at) {
    if (this.pen) this.book.line(this.at, at, this.get("brush"), this.get("tool") === "brush" ? 1 : 0);
    this.at = at;
    this.draw();
  }

  lift() {
    if (!this.pen) return;
    this.pen = null;
    const change = this.book.end();
    const done = change ? `${change > 0 ? "Painted" : "Erased"} ${pixels(Math.abs(change))}` : "Nothing changed";
    this.say(`${done}; the mask has ${pixels(this.book.area(this.get("current")))}`);
    this.draw();
  }

  undo() {
    this.lift();
    const page = this.book.undo();
    if (page >= 0) this.set({ current: page });
    const left = page < 0 ? "" : `; the mask of ${this.spec.names[page]} has ${pixels(this.book.area(page))}`;
    this.say(page < 0 ? "Nothing to undo" : `Undone${left}`);
  }

  clear() {
    this.lift();
    this.book.clear(this.get("current"));
    this.say(`The mask of ${this.spec.names[this.get("current")]} is empty`);
  }

  open(page) {
    this.lift();
    this.set({ current: clamp(page, 0, this.book.count - 1) });
    this.say(this.tiles[this.get("current")].words());
  }

  use(page, picked) {
    this.set({ picks: this.get("picks").map((before, k) => (k === page ? picked : before)) });
    this.say(`${this.spec.names[page]} ${picked ? "picked" : "left out"}`);
  }

  // -- mouse, touch and keys --

  down(event) {
    if (event.button !== 0 || !event.isPrimary) return; // a second finger draws nothing
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.lift();
    this.at = this.paper.pixel(event);
    this.press("mouse");
  }

  move(event) {
    if (!event.isPrimary) return;
    this.hovering = true;
    if (this.pen === null || this.pen === "mouse") this.go(this.paper.pixel(event));
  }

  key(event) {
    if (event.altKey || event.metaKey) return;
    if (event.ctrlKey) {
      if (event.key !== "z") return;
      this.undo();
    } else if (!(event.target === this.canvas && this.brushKey(event)) && !this.letter(event.key.toLowerCase())) return;
    event.preventDefault(); // Tab and all else keep their usual meaning: the keyboard can always leave
  }

  /** Keys that move or press the brush: on the large picture alone, for buttons and boxes need them too. */
  brushKey({ key, shiftKey, repeat }) {
    if (STEPS[key]) {
      const [w, h] = [this.book.w, this.book.h];
      const [x, y] = this.at.map((n, axis) => n + STEPS[key][axis] * (shiftKey ? 10 : 1));
      this.go([clamp(x, 0, w - 1), clamp(y, 0, h - 1)]);
      const inside = this.book.mask(this.get("current"))[this.at[1] * w + this.at[0]];
      this.say(`${this.place()}, ${inside ? "in the mask" : "outside"}`);
    } else if (key === " ") {
      if (!this.pen && !repeat) this.press(" ");
    } else if (key === "Enter") {
      if (this.pen) this.lift();
      else (this.press("Enter"), this.say(`${this.get("tool")} down`));
    } else if (key === "Escape" && this.pen) {
      this.pen = null;
      this.book.cancel();
      this.say("Stroke given up");
      this.draw();
    } else if (key === "Delete") this.clear();
    else return false;
    return true;
  }

  letter(key) {
    const [page, size] = [this.get("current"), this.get("brush")];
    const resize = (brush) => (this.set({ brush: clamp(brush, 1, this.spec.largest) }), this.say(`${this.get("brush")} pixels wide`));
    const take = (tool) => (this.set({ tool }), this.say(tool));
    const actions = {
      "[": () => resize(size - 1),
      "]": () => resize(size + 1),
      e: () => take(this.get("tool") === "eraser" ? "brush" : "eraser"),
      b: () => take("brush"),
      u: () => this.undo(),
      n: () => this.open(page + 1),
      p: () => this.open(page - 1),
      x: () => this.use(page, !this.get("picks")[page]),
    };
    actions[key]?.();
    return key in actions;
  }
}

export default () => {
  let book; // one per model: two views of a widget share what is drawn
  return {
    initialize({ model }) {
      book = new Book(model);
    },
    render({ model, el }) {
      const view = new SketchView(model, book, el);
      return () => view.close();
    },
  };
};
