// What fmlab's widgets share: elements, labelled controls that follow the state, and a panel that keeps its keys to itself.
// The files beside this one are the only JavaScript of the project; static.py says which of them make up a widget's module and
// joins them to one ES module without dependencies.

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** An element with attributes, properties (by dot, as in ".value") and listeners (functions, by event name). */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(key, value);
    else if (key.startsWith(".")) node[key.slice(1)] = value;
    else if (value !== false) node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

/** What each key does, for the eye: {key: what}. */
function keyList(keys) {
  const rows = Object.entries(keys).flatMap(([key, does]) => [make("dt", {}, key), make("dd", {}, does)]);
  return make("dl", { class: "fm-help fm-keys" }, ...rows);
}

/** The base of a widget's view: state in and out, and one painting for all changes of an event. A subclass has `paint`. */
class Panel {
  constructor(model, el) {
    Object.assign(this, { model, el });
  }

  get(name) {
    return this.model.get(name);
  }

  /** Change the state, paint, and tell the kernel before any message of its own can come in: saving later would let the echo of
   * an older message overwrite what the reader has done since. (jupyterlab_widgets merges what waits for a busy kernel.) */
  set(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.draw();
    if (this.saving) return;
    this.saving = true;
    queueMicrotask(() => ((this.saving = false), this.model.save_changes()));
  }

  /** Paint once for all changes of an event, at its end: for the coming frame, or the next if this has its picture. */
  draw() {
    if (this.waiting) return;
    this.waiting = true;
    const paint = () => {
      this.waiting = false;
      this.paint();
      this.last = performance.now();
    };
    if (performance.now() - (this.last ?? 0) > 16) queueMicrotask(paint);
    else requestAnimationFrame(paint);
  }

  /** The widget's frame. Keys pressed in it must not reach the notebook, where "b" adds a cell and "x" cuts one. */
  frame(label, ...children) {
    const root = { class: "fm-viewer", role: "group", "aria-label": label, "data-lm-suppress-shortcuts": "true" };
    const quiet = (event) => event.stopPropagation();
    return make("div", { ...root, keydown: quiet, keyup: quiet, keypress: quiet }, ...children);
  }
}

/** Labelled controls of one view; `refresh` brings all of them up to date with the state. */
class Fields {
  constructor(view) {
    Object.assign(this, { view, refreshers: [] });
  }

  refresh() {
    this.refreshers.forEach((show) => show());
  }

  /** A labelled control that follows the state: `show` brings the node up to date after each change. */
  field(label, node, show) {
    this.refreshers.push(() => node !== document.activeElement && show(node));
    return make("label", { class: "fm-field" }, label, node);
  }

  /** Buttons of which one is pressed. */
  choice(label, options, name) {
    const buttons = Object.entries(options).map(([value, text]) => {
      const click = () => this.view.set({ [name]: typeof this.view.get(name) === "number" ? Number(value) : value });
      const button = make("button", { type: "button", click }, text);
      this.refreshers.push(() => button.setAttribute("aria-pressed", String(this.view.get(name)) === value));
      return button;
    });
    return make("span", { class: "fm-group", role: "group", "aria-label": label }, ...buttons);
  }

  /** Buttons that do something, side by side: {label: what happens}. */
  actions(acts) {
    const buttons = Object.entries(acts).map(([label, click]) => make("button", { type: "button", click: () => click() }, label));
    return make("span", { class: "fm-group" }, ...buttons);
  }

  tick(label, name) {
    const change = (e) => this.view.set({ [name]: e.target.checked });
    const node = make("input", { type: "checkbox", change });
    this.refreshers.push(() => (node.checked = this.view.get(name)));
    return make("label", { class: "fm-field" }, node, label);
  }

  /** A slider in steps of 1/`per` of the state's number. */
  range(label, name, min = 0, max = 100, per = 100) {
    const input = (e) => this.view.set({ [name]: e.target.value / per });
    const node = make("input", { type: "range", min, max, input });
    return this.field(label, node, () => (node.value = Math.round(this.view.get(name) * per)));
  }
}
