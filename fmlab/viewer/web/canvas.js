// The canvas: a scan that is clicked on, and the masks that a model answers with.

const CANVAS_KEYS = {
  Click: "a point; drag: a box", "Right click": "not this", "← → ↑ ↓": "move the cross (Shift: ten)",
  "+ −": "this, not this, at the cross", B: "a corner of a box, twice", "U R": "undo, redo", Delete: "clear this class here",
  "N P": "next, previous class", "Page ↑ ↓": "next, previous slice", "1–4 H": "window, hide masks",
};
const CANVAS_STATE = "index current sign window _kept".split(" ");
const DRAG = 4; // screen pixels that a hand may tremble before a click becomes a box

class CanvasView extends Panel {
  constructor(model, desk, el) {
    super(model, el);
    Object.assign(this, { desk, spec: desk.spec, controls: new Controls(this), down: null });
    this.unit = this.spec.scope === "volume" ? "vx" : "px";
    this.build();
    const redraw = () => this.draw();
    const heard = () => (desk.news && this.say(desk.news), this.draw());
    desk.listeners.add(heard);
    desk.store.listeners.add(redraw);
    CANVAS_STATE.forEach((name) => model.on("change:" + name, redraw));
    const sized = new ResizeObserver(redraw);
    sized.observe(this.canvas);
    const clock = this.spec.ends ? setInterval(() => this.tick(), 250) : null;
    this.close = () => {
      clearInterval(clock);
      sized.disconnect();
      desk.listeners.delete(heard);
      desk.store.listeners.delete(redraw);
      CANVAS_STATE.forEach((name) => model.off("change:" + name, redraw));
    };
  }

  // -- what is on the screen --

  build() {
    const redraw = () => this.draw();
    this.canvas = make("canvas", {
      tabindex: 0, role: "application", "aria-roledescription": "canvas", "aria-label": "",
      focus: redraw, blur: redraw, wheel: (e) => this.wheel(e), contextmenu: (e) => (e.preventDefault(), e.stopPropagation()),
      pointerdown: (e) => this.press(e), pointermove: (e) => this.move(e), pointerup: (e) => this.lift(e),
      pointercancel: () => this.giveUp(),
    });
    this.canvas.style.height = this.spec.height + "px";
    this.easel = new Easel(this.desk, this.canvas);
    this.easel.cross = true; // until a mouse comes
    this.slider = make("input", { type: "range", class: "fm-slice", "aria-label": "Slice", min: 0, input: (e) => this.go(+e.target.value) });
    this.slider.max = this.spec.shape[this.desk.plane.axis] - 1;
    this.slider.hidden = this.slider.max === "0";
    this.readout = make("div", { class: "fm-readout" });
    this.trouble = make("div", { class: "fm-trouble", role: "alert" });
    this.kept = make("div", { class: "fm-help fm-kept" });
    this.live = make("div", { class: "fm-hidden", "aria-live": "polite" });
    const left = make("div", { class: "fm-left" }, this.canvas, this.slider, this.readout, this.trouble, this.kept, this.live);
    const head = make("div", { class: "fm-bar" }, make("b", {}, this.spec.title), ...this.buildClock());
    this.root = this.frame(this.spec.title, head, this.buildTools(), make("div", { class: "fm-body" }, left, this.buildSide()));
    this.root.classList.add("fm-canvas");
    this.root.addEventListener("keydown", (e) => this.key(e));
    this.el.append(this.root);
  }

  /** The time that is left, where there is an end to it. */
  buildClock() {
    if (!this.spec.ends) return [];
    this.left = make("progress", { max: 60 * this.spec.minutes, "aria-hidden": "true" });
    this.clock = make("span", { class: "fm-clock", role: "timer" });
    this.tick();
    return [this.left, this.clock];
  }

  tick() {
    const left = Math.max(0, Math.ceil((this.spec.ends - Date.now()) / 1000));
    this.left.value = left;
    const time = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")} left`;
    this.show(this.clock, left ? time : "Time is up; what you do now does not count");
    if (this.before > 60 && left === 60) this.say("one minute left");
    if (this.before > 0 && !left) this.say("time is up");
    this.before = left;
  }

  buildTools() {
    const sign = this.controls.choice("What a click adds", { 1: "+ this", "-1": "− not this" }, "sign");
    const acts = this.controls.actions({ Undo: () => this.event("undo"), Redo: () => this.event("redo"), Clear: () => this.clear() });
    const [undo, redo] = acts.children;
    this.controls.refreshers.push(() => {
      const { undo: can, redo: again } = this.desk.state;
      [undo.disabled, redo.disabled] = [!can && !this.desk.busy, !again];
    });
    const parts = [make("span", { class: "fm-field" }, "Click adds", sign), acts];
    if (Object.keys(this.spec.windows).length > 1) parts.push(this.controls.windowFields());
    return make("div", { class: "fm-bar", role: "group", "aria-label": "Tools" }, ...parts);
  }

  buildSide() {
    this.rows = this.spec.classes.map(({ name, colour }) => {
      const swatch = make("span", { class: "fm-swatch", style: `background: rgb(${colour})` });
      const [about, label] = [make("span", { class: "fm-about" }), make("span", { class: "fm-name" }, ...breakable(name))];
      const row = make("button", { type: "button", class: "fm-class", click: () => this.take(name) }, swatch, label, about);
      return Object.assign(row, { about });
    });
    const [next] = this.controls.actions({ "Next class": () => this.turn(1) }).children;
    next.hidden = this.rows.length < 2;
    const head = make("div", { class: "fm-head" }, make("b", {}, "Classes"), next);
    const list = make("div", { class: "fm-classes", role: "group", "aria-label": "Classes" }, ...this.rows);
    const keys = Object.fromEntries(Object.entries(CANVAS_KEYS).filter(([key]) => this.applies(key)));
    return make("div", { class: "fm-legend" }, head, list, keyList(keys));
  }

  /** Is there something for this key to do? */
  applies(key) {
    return (key !== "N P" || this.rows.length > 1) && (key !== "Page ↑ ↓" || !this.slider.hidden);
  }

  paint() {
    this.easel.paint();
    this.controls.refresh();
    const { index, layers } = this.desk.slice();
    this.rows.forEach((row, k) => this.paintRow(row, k, layers.find((layer) => layer.class === k)));
    const words = layers.map((layer) => `${this.spec.classes[layer.class].name}: ${this.words(layer)}`).join("; ") || "no prompts";
    this.slider.value = index;
    this.slider.setAttribute("aria-valuetext", this.place(index));
    const slow = this.desk.busy && performance.now() - this.desk.since > 150;
    if (this.desk.busy && !slow) setTimeout(() => this.desk.busy && this.draw(), 160);
    this.show(this.readout, slow ? "Working …" : `${this.place(index)}${this.easel.veiled ? " · masks hidden" : ""}`);
    this.show(this.trouble, this.desk.state.trouble);
    this.show(this.kept, this.get("_kept") || this.spec.resumed);
    this.canvas.setAttribute("aria-label", `${this.spec.title}, ${this.place(index)}. ${words}.`);
    this.root.setAttribute("aria-busy", this.desk.busy);
    // What the picture shows, for tests and for benchmarks/canvas.py.
    Object.assign(this.canvas.dataset, { painted: `${index} ${layers.map(({ area }) => area).join(" ")}`, answers: this.desk.answers });
  }

  paintRow(row, k, layer) {
    row.setAttribute("aria-pressed", k === this.easel.chosen);
    const slices = this.desk.state.slices[k];
    const more = this.spec.scope === "slice" && slices > 1 ? ` · ${slices} slices` : "";
    this.show(row.about, (layer ? this.words(layer) : "no prompts") + more);
  }

  words({ bits, area, iou }) {
    const mask = bits.byteLength ? `${area.toLocaleString("en")} ${this.unit}` : "no mask yet";
    return mask + (iou === null ? "" : ` · IoU ${iou.toFixed(2)}`);
  }

  /** Text that is written once, not at each painting: a screen reader may be on it. */
  show(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  place(index) {
    if (this.slider.hidden) return this.spec.scope === "volume" ? "" : "picture";
    return `${this.spec.plane} slice ${index + 1} of ${this.spec.shape[this.desk.plane.axis]}`;
  }

  say(text) {
    this.live.textContent = text;
  }

  // -- events --

  /** Tell Python, by voxels; a second voxel makes a box. */
  event(kind, voxels, more = {}) {
    this.desk.do({ do: kind, ...(voxels ? { class: this.get("current"), voxels } : {}), ...more });
  }

  point(voxel, sign) {
    this.event("point", [voxel], { label: sign > 0 ? 1 : 0 });
  }

  clear() {
    this.giveUp();
    this.event("clear", [this.desk.cursor]);
  }

  go(index) {
    const last = this.spec.shape[this.desk.plane.axis] - 1;
    this.giveUp();
    this.set({ index: clamp(index, 0, last) });
    this.desk.store.ask();
  }

  take(name) {
    this.set({ current: name });
    this.say(`${name}, ${this.rows[this.easel.chosen].about.textContent}`);
  }

  turn(step) {
    const count = this.spec.classes.length;
    this.take(this.spec.classes[(this.easel.chosen + step + count) % count].name);
  }

  giveUp() {
    this.down = this.easel.rubber = null;
    this.draw();
  }

  // -- mouse, touch and keys --

  press(event) {
    if (!event.isPrimary || (event.button !== 0 && event.button !== 2)) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const voxel = this.easel.voxel(event);
    this.easel.cross = false;
    this.down = this.easel.rubber = null;
    if (!voxel) return this.draw();
    this.desk.spot = voxel;
    this.down = { voxel, x: event.offsetX, y: event.offsetY, other: event.button === 2 || event.ctrlKey };
  }

  move(event) {
    if (!this.down || this.down.other) return;
    const far = Math.hypot(event.offsetX - this.down.x, event.offsetY - this.down.y) > DRAG;
    if (!far && !this.easel.rubber) return;
    this.easel.rubber = this.down.voxel;
    this.desk.spot = this.easel.voxel(event, false);
    this.draw();
  }

  lift(event) {
    const { down, easel } = this;
    if (!down) return;
    const [box, sign] = [easel.rubber, this.get("sign") * (down.other ? -1 : 1)];
    this.down = easel.rubber = null; // the event below paints
    if (box) this.event("box", [box, easel.voxel(event, false)]);
    else this.point(down.voxel, sign);
  }

  wheel(event) {
    if (this.slider.hidden || !this.canvas.matches(":focus")) return; // a reader who scrolls past must not be caught
    event.preventDefault();
    this.rolled = (this.rolled ?? 0) + event.deltaY * (event.deltaMode ? 16 : 1);
    if (Math.abs(this.rolled) < 40) return;
    this.go(this.desk.index - Math.sign(this.rolled));
    this.rolled = 0;
  }

  key(event) {
    if (event.altKey || event.metaKey || event.target.matches("select, input[type=number]")) return;
    if (event.ctrlKey) {
      const kind = { z: event.shiftKey ? "redo" : "undo", Z: "redo", y: "redo" }[event.key];
      if (!kind) return;
      this.event(kind);
    } else if (!(event.target === this.canvas && this.crossKey(event)) && !this.letter(event.key.toLowerCase())) return;
    event.preventDefault(); // Tab and all else keep their usual meaning: the keyboard can always leave
  }

  /** Keys that move the cross or act on it: on the picture alone, for buttons and sliders need some of them too. */
  crossKey({ key, shiftKey }) {
    const { axis, u, v } = this.desk.plane;
    const walk = { ArrowUp: [v, 1], ArrowDown: [v, -1], ArrowLeft: [u, 1], ArrowRight: [u, -1] }[key];
    const scroll = { PageUp: 1, PageDown: -1, Home: -this.desk.index, End: this.spec.shape[axis] }[key];
    const cross = this.desk.cursor;
    if (walk) {
      this.desk.spot[walk[0]] = clamp(cross[walk[0]] + walk[1] * (shiftKey ? 10 : 1), 0, this.spec.shape[walk[0]] - 1);
      this.say(this.under());
    } else if (scroll !== undefined) {
      this.go(this.desk.index + scroll);
      this.say(this.place(this.desk.index));
    } else if (key === "+" || key === "=") this.point(cross, 1);
    else if (key === "-" || key === "−") this.point(cross, -1);
    else if (key === "Enter" || key === " ") this.point(cross, this.get("sign"));
    else if (key === "Escape") this.giveUp();
    else if (key === "Delete" || key === "Backspace") this.clear();
    else return false;
    this.easel.cross = true;
    this.draw();
    return true;
  }

  letter(key) {
    const preset = Object.values(this.spec.windows)[key - 1];
    const actions = {
      b: () => this.corner(),
      u: () => this.event("undo"),
      r: () => this.event("redo"),
      n: () => this.turn(1),
      p: () => this.turn(-1),
      h: () => ((this.easel.veiled = !this.easel.veiled), this.say(this.easel.veiled ? "masks hidden" : "masks shown")),
    };
    if (preset) this.set({ window: preset });
    else actions[key]?.();
    this.draw();
    return Boolean(preset) || key in actions;
  }

  corner() {
    const [first, cross] = [this.easel.rubber, this.desk.cursor];
    this.giveUp();
    this.easel.cross = true;
    if (first) this.event("box", [first, cross]);
    else (this.easel.rubber = cross), this.say(`first corner of a box, ${this.under()}`);
  }

  /** The cross in words: where it is, and in which masks. */
  under() {
    const { u, v } = this.desk.plane;
    const [w, h] = [this.spec.shape[u], this.spec.shape[v]];
    const [column, row] = [w - 1 - this.desk.spot[u], h - 1 - this.desk.spot[v]];
    const inside = this.desk.slice().layers.filter(({ mask }) => mask?.[row * w + column]);
    const names = inside.map((layer) => this.spec.classes[layer.class].name).join(", ");
    return `column ${column + 1}, row ${row + 1}, ${names ? `in ${names}` : "in no mask"}`;
  }
}

export default () => {
  let desk; // one per model: two views of a widget share what is annotated
  return {
    initialize({ model }) {
      desk = new Desk(model);
    },
    render({ model, el }) {
      const view = new CanvasView(model, desk, el);
      return () => view.close();
    },
  };
};
