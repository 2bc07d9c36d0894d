// The sketch: one example in the strip: a button with its small picture, its name, and whether it is used.

const swatch = (colour) => make("span", { class: "fm-swatch", style: `background: rgb(${colour})` });

class Tile {
  constructor(view, name, page) {
    Object.assign(this, { view, name, page, painted: "" });
    this.canvas = make("canvas", { "aria-hidden": "true" });
    this.paper = new Paper(this.canvas, view.book.w, view.book.h, 84);
    this.button = make("button", { type: "button", class: "fm-tile-open", click: () => view.open(page) }, this.canvas);
    this.box = make("input", { type: "checkbox", "aria-label": `use ${name}`, change: (e) => view.use(page, e.target.checked) });
    this.size = make("span", { class: "fm-ml" });
    const use = make("label", { class: "fm-field" }, this.box, "use", this.size);
    this.node = make("div", { class: "fm-tile", title: name }, this.button, make("span", { class: "fm-tile-name" }, name), use);
  }

  get picked() {
    return this.view.get("picks")[this.page];
  }

  /** Is it in the support? An example without a mask teaches nothing, so it is not. */
  get used() {
    return this.picked && this.area > 0;
  }

  get area() {
    return this.view.book.area(this.page);
  }

  words() {
    const state = !this.picked ? "left out" : this.area ? "used" : "not used, its mask is empty";
    return `${this.name}, ${this.page + 1} of ${this.view.book.count}: ${pixels(this.area)}, ${state}`;
  }

  paint() {
    const mask = this.view.book.mask(this.page);
    const now = `${this.canvas.clientWidth} ${this.view.book.versions[this.page]}`; // paint only what has changed
    if (now !== this.painted) this.paper.paint(this.view.book.picture(this.page), [{ values: mask, full: 1, colour: ORANGE }]);
    this.painted = now;
    this.box.checked = this.picked;
    this.size.textContent = this.area ? `${this.area.toLocaleString("en")} px` : "no mask";
    this.node.classList.toggle("fm-unused", !this.used);
    this.button.setAttribute("aria-pressed", this.view.get("current") === this.page);
    this.button.setAttribute("aria-label", `Draw on ${this.words()}`);
  }
}
