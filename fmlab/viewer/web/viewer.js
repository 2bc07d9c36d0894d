// The slice viewer: puts stage, controls, keys and mouse together; the module that anywidget loads.

const MOUSE = "R is the patient's right. Click the image; then wheel: slice, drag: read values, right drag: window.";
const KEYS = "↑ ↓ slice, Page Up/Down ten, Home/End, Shift+arrows move the cross, A C S plane, 1–4 window, F fill, O outline";
const DRAWING = ", Enter puts a prompt at the cross (box and scribble end with Enter), U undo";
const STATE = "cursor plane window fill outline opacity hidden layout pair swipe tool sign points box scribble".split(" ");

class View extends Panel {
  constructor(model, store, el) {
    super(model, el);
    Object.assign(this, { store, spec: store.spec });
    const redraw = () => this.draw();
    this.canvas = make("canvas", {
      tabindex: 0, role: "application", "aria-label": `${this.spec.title}: slice viewer`, "aria-roledescription": "slice viewer",
      keydown: (e) => this.key(e), wheel: (e) => this.wheel(e), focus: redraw, blur: redraw,
      pointerdown: (e) => this.down(e), pointermove: (e) => this.hover(e), pointerup: (e) => this.up(e),
      contextmenu: (e) => (e.preventDefault(), e.stopPropagation()),
    });
    this.canvas.style.height = this.spec.height + "px";
    this.stage = new Stage(model, store, this.canvas);
    this.prompts = new Prompts(this.stage, (values) => this.set(values));
    this.stage.painted = () => this.refresh();
    this.controls = new Controls(this);
    this.build();
    this.arrived = () => (this.read(this.get("cursor")), this.draw());
    store.listeners.add(this.arrived);
    STATE.forEach((name) => model.on("change:" + name, redraw));
    const sized = new ResizeObserver(redraw);
    sized.observe(this.canvas);
    this.read(this.get("cursor"));
    this.close = () => {
      sized.disconnect();
      store.listeners.delete(this.arrived);
      STATE.forEach((name) => model.off("change:" + name, redraw));
    };
  }

  paint() {
    this.stage.paint();
  }

  build() {
    const several = this.spec.layers.length > 1;
    const fields = [this.controls.planeButtons(), this.controls.windowFields()];
    const tools = make("div", { class: "fm-bar", role: "group", "aria-label": "View" }, ...fields);
    if (several) tools.append(this.controls.compareFields());
    if (this.spec.tools) tools.append(this.controls.promptFields());
    this.slider = make("input", {
      type: "range", class: "fm-slice", "aria-label": "Slice", min: 0,
      input: (e) => this.go(this.get("cursor").map((n, k) => (k === this.stage.plane.axis ? +e.target.value : n)), false),
    });
    this.readout = make("div", { class: "fm-readout" });
    this.live = make("div", { class: "fm-hidden", "aria-live": "polite" });
    const help = make("div", { class: "fm-help" }, MOUSE, make("br"), KEYS + (this.spec.tools ? DRAWING : ""));
    if (this.spec.note) help.prepend(make("div", { class: "fm-note" }, this.spec.note));
    const left = make("div", { class: "fm-left" }, this.canvas, this.slider, this.readout, this.live, help);
    const body = make("div", { class: "fm-body" }, left);
    if (this.spec.layers.length) body.append(this.controls.legend());
    this.root = this.frame(this.spec.title, tools, body);
    this.el.append(this.root);
  }

  refresh() {
    const { axis } = this.stage.plane;
    this.slider.max = this.spec.shape[axis] - 1;
    this.slider.value = this.stage.index;
    this.slider.setAttribute("aria-valuetext", `${this.get("plane")} slice ${this.stage.index + 1} of ${this.spec.shape[axis]}`);
    this.controls.refresh();
    if (this.canvas.dataset.painted !== `${this.get("plane")} ${this.stage.index}`) this.read(this.get("cursor"));
    this.canvas.dataset.painted = `${this.get("plane")} ${this.stage.index}`; // what the picture shows; tests read it
  }

  // -- moving about, and what lies under a voxel --

  go(cursor, speak) {
    this.set({ cursor });
    this.read(cursor, speak);
    this.store.ask();
    if (this.stage.pending?.kind === "scribble") this.stage.pending.path.push(cursor);
  }

  move(axis, steps, speak) {
    this.go(this.get("cursor").map((n, k) => (k === axis ? clamp(n + steps, 0, this.spec.shape[k] - 1) : n)), speak);
  }

  describe(ijk) {
    const { spec, store } = this;
    const { axis } = this.stage.plane;
    const mm = [0, 1, 2].map((r) => spec.affine[r][3] + ijk.reduce((sum, n, c) => sum + spec.affine[r][c] * n, 0));
    const side = mm.map((value, k) => (value < 0 ? "LPI" : "RAS")[k] + " " + Math.abs(value).toFixed(1)).join(", ");
    const parts = [`slice ${ijk[axis] + 1} of ${spec.shape[axis]}`, side + " mm"];
    if (store.has[Math.floor(ijk[2] / spec.thick)] === 2) {
      const at = store.offset(ijk);
      parts.push(`${Math.round((store.image[at] * spec.slope + spec.intercept) * 10) / 10} ${spec.unit}`);
      const shown = this.stage.layersShown();
      const name = (k) => spec.structures.find((s) => s.code === store.layers[k][at])?.name ?? "no label";
      shown.forEach((k) => parts.push(shown.length > 1 ? `${spec.layers[k]}: ${name(k)}` : name(k)));
    }
    return parts.join(" · ");
  }

  read(ijk, speak = false) {
    this.readout.textContent = this.describe(ijk);
    if (speak) this.live.textContent = this.readout.textContent; // a screen reader hears keys, not every mouse move
  }

  // -- keys and mouse --

  key(event) {
    if (event.altKey || event.metaKey) return;
    const { axis, u, v } = this.stage.plane;
    const all = this.spec.shape[axis];
    const walk = { ArrowUp: [v, 1], ArrowDown: [v, -1], ArrowLeft: [u, 1], ArrowRight: [u, -1] };
    const scroll = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -all, End: all };
    const preset = Object.values(this.spec.windows)[event.key - 1];
    if (event.ctrlKey) {
      if (event.key !== "z") return;
      this.prompts.undo();
    } else if (event.shiftKey && walk[event.key]) this.move(...walk[event.key], true);
    else if (scroll[event.key]) this.move(axis, scroll[event.key], true);
    else if (preset) this.set({ window: preset });
    else if (!this.letter(event.key)) return; // Tab and all else keep their usual meaning: the keyboard can always leave
    event.preventDefault();
  }

  letter(key) {
    const cursor = this.get("cursor");
    const actions = {
      a: () => this.set({ plane: "axial" }),
      c: () => this.set({ plane: "coronal" }),
      s: () => this.set({ plane: "sagittal" }),
      f: () => this.set({ fill: !this.get("fill") }),
      o: () => this.set({ outline: !this.get("outline") }),
      u: () => this.prompts.undo(),
      Escape: () => (this.stage.pending = null),
      Enter: () => (this.stage.pending ? this.prompts.lift(cursor) : this.press(cursor)),
    };
    actions[key]?.();
    this.draw();
    return key in actions;
  }

  press(ijk) {
    this.prompts.press(ijk);
    if (this.spec.tools && this.get("tool") !== "look") this.live.textContent = `${this.get("tool")} at voxel ${ijk.join(", ")}`;
    this.draw();
  }

  down(event) {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const [pane] = this.stage.panes;
    const swiping = this.get("layout") === "swipe" && Math.abs(event.offsetX - pane.x - pane.w * this.get("swipe")) < 12;
    const ijk = this.stage.voxel(event);
    this.drag = { 0: swiping ? "swipe" : ijk ? "cursor" : null, 2: "window" }[event.button];
    if (this.drag !== "cursor") return;
    this.go(ijk, false);
    this.press(ijk);
  }

  hover(event) {
    const ijk = this.stage.voxel(event, this.drag !== "cursor");
    const [centre, width] = this.get("window");
    const [pane] = this.stage.panes;
    if (this.drag === "window") {
      const step = width / 200; // across changes the width, up and down the centre
      const [down, across] = [event.movementY * step, event.movementX * step];
      this.set({ window: [Math.round(centre - down), Math.max(1, Math.round(width + across))] });
    } else if (this.drag === "swipe") this.set({ swipe: clamp((event.offsetX - pane.x) / pane.w, 0, 1) });
    else if (this.drag === "cursor") this.go(ijk, false);
    else if (ijk) this.read(ijk);
  }

  up(event) {
    if (this.drag === "cursor") this.prompts.lift(this.stage.voxel(event, false));
    this.drag = null;
    this.draw();
  }

  wheel(event) {
    if (!this.canvas.matches(":focus")) return; // a reader who scrolls past must not be caught: click first
    event.preventDefault();
    this.rolled = (this.rolled ?? 0) + event.deltaY * (event.deltaMode ? 16 : 1);
    if (Math.abs(this.rolled) < 40) return; // a mouse sends about 100 a notch, a touch pad many small steps
    this.move(this.stage.plane.axis, -Math.sign(this.rolled), false);
    this.rolled = 0;
  }
}

export default () => {
  let store; // one per model: two views of a widget share the voxels
  return {
    initialize({ model }) {
      store = new Store(model);
    },
    render({ model, el }) {
      const view = new View(model, store, el);
      return () => view.close();
    },
  };
};
