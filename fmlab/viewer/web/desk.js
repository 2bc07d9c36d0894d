// The canvas: its data. One desk per widget, shared by all its views: the voxels, what Python said of each slice seen so far, and
// the events that wait for an answer. Python knows all prompts and masks; the browser keeps what it has been told.

const bytes = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

/** Bits, the first one the highest of its byte, as numbers 0 and 1. */
function unpackBits(bits, count) {
  const values = new Uint8Array(count);
  for (let i = 0; i < count; i++) values[i] = (bits[i >> 3] >> (7 - (i & 7))) & 1;
  return values;
}

class Desk {
  constructor(model) {
    Object.assign(this, { model, spec: model.get("_spec"), slices: new Map(), asked: new Set(), listeners: new Set() });
    Object.assign(this, { queue: [], flying: [], answers: 0, news: null, name: Math.random().toString(36).slice(2) });
    this.plane = PLANES[this.spec.plane];
    this.spot = this.spec.shape.map((n) => Math.floor(n / 2)); // the cross
    const still = { plane: this.spec.plane, layout: "single", pair: [0, 0], hidden: [], fill: true, outline: true };
    // What Store and Stage take for a model: this widget's state, and what never changes here.
    const get = (name) => (name === "cursor" ? this.cursor : name in still ? still[name] : model.get(name));
    this.face = { get, on: (...heard) => model.on(...heard), send: (message) => model.send(message) };
    this.store = new Store(this.face);
    model.on("change:_view", () => this.receive(model.get("_view")));
    this.receive(model.get("_view"));
  }

  get index() {
    return this.model.get("index");
  }

  get cursor() {
    return this.spot.map((n, k) => (k === this.plane.axis ? this.index : n));
  }

  /** What Python said of this slice; asked for where it is not known yet. */
  slice(index = this.index) {
    const known = this.slices.get(index);
    if (!known && !this.asked.has(index)) {
      this.asked.add(index);
      this.model.send({ type: "look", index });
    }
    return known ?? { index, layers: [] };
  }

  receive(view) {
    if (view.epoch !== this.epoch) [this.epoch] = [view.epoch, this.slices.clear(), this.asked.clear()];
    this.asked.delete(view.index);
    const count = this.spec.shape[this.plane.u] * this.spec.shape[this.plane.v];
    const layers = view.layers.map((layer) => {
      const bits = bytes(layer.bits);
      return { ...layer, mask: bits.length ? unpackBits(bits, count) : null };
    });
    this.slices.set(view.index, { index: view.index, layers });
    this.state = view;
    this.news = null; // what a screen reader should hear: an answer to what was done here, not to each look at a slice
    if (this.flying.length && view.token === this.token) {
      this.flying = [];
      this.answers += 1;
      this.news = view.trouble || view.said;
    }
    if (!this.flying.length && this.queue.length) this.send();
    this.tell();
  }

  tell() {
    this.listeners.forEach((changed) => changed());
  }

  /** An event, on its way at once or, while an answer is awaited, together with all others that come until then. */
  do(event) {
    this.news = null;
    this.queue.push({ ...event, born: performance.now() });
    if (!this.flying.length) this.send();
    this.tell();
  }

  send() {
    [this.flying, this.queue, this.token] = [this.queue, [], `${this.name} ${this.answers}`];
    this.since = performance.now();
    const events = this.flying.map(({ born, ...event }) => ({ ...event, age: this.since - born }));
    this.model.send({ type: "do", token: this.token, events });
  }

  /** Points and boxes that have been made and not been answered yet. */
  get waiting() {
    return [...this.flying, ...this.queue].filter((event) => event.do === "point" || event.do === "box");
  }

  get busy() {
    return this.flying.length > 0;
  }
}
