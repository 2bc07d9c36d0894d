// The slice viewer: its controls and its legend, all reachable by keyboard and all following the state.

/** A snake_case name that may be broken after its underscores. */
function breakable(name) {
  return name.split(/(?<=_)/).flatMap((part) => [part, make("wbr")]);
}

class Controls extends Fields {
  planeButtons() {
    return this.choice("Plane", { axial: "Axial", coronal: "Coronal", sagittal: "Sagittal" }, "plane");
  }

  windowFields() {
    const presets = this.view.spec.windows;
    const names = [...Object.keys(presets), "free"];
    const change = (e) => e.target.value !== "free" && this.view.set({ window: presets[e.target.value] });
    const select = make("select", { change }, ...names.map((name) => make("option", {}, name)));
    const name = () => Object.keys(presets).find((key) => String(presets[key]) === String(this.view.get("window"))) ?? "free";
    this.refreshers.push(() => (select.value = name()));
    const number = (label, k) => {
      const edit = (e) => {
        const window = [...this.view.get("window")];
        window[k] = Number(e.target.value);
        if (e.target.value !== "" && Number.isFinite(window[k]) && window[1] > 0) this.view.set({ window });
      };
      const node = make("input", { type: "number", step: "any", input: edit, blur: () => this.view.draw() });
      return this.field(label, node, () => (node.value = this.view.get("window")[k]));
    };
    const fields = [make("label", { class: "fm-field" }, "Window", select), number("centre", 0), number("width", 1)];
    return make("span", { class: "fm-group fm-loose", role: "group", "aria-label": "Window" }, ...fields);
  }

  compareFields() {
    const options = { single: "Single", "side by side": "Side by side", swipe: "Swipe" };
    const pick = (side, label) => {
      const change = (e) => this.view.set({ pair: this.view.get("pair").map((k, i) => (i === side ? +e.target.value : k)) });
      const select = make("select", { change }, ...this.view.spec.layers.map((text, k) => make("option", { value: k }, text)));
      return this.field(label, select, () => (select.value = this.view.get("pair")[side]));
    };
    const [left, right, swipe] = [pick(0, "Labels"), pick(1, "and"), this.range("Swipe", "swipe")];
    this.refreshers.push(() => {
      right.hidden = this.view.get("layout") === "single";
      swipe.hidden = this.view.get("layout") !== "swipe";
    });
    return make("span", { class: "fm-group fm-loose" }, this.choice("Layout", options, "layout"), left, right, swipe);
  }

  promptFields() {
    const { prompts } = this.view;
    const ends = this.actions({ Undo: () => prompts.undo(), Clear: () => prompts.clear() });
    const sign = this.choice("Sign of the prompt", { 1: "+ this", "-1": "− not this" }, "sign");
    return make("span", { class: "fm-group fm-loose" }, this.choice("Prompt", TOOLS, "tool"), sign, ends);
  }

  legend() {
    const switched = (text, hidden) => make("button", { type: "button", click: () => this.view.set({ hidden }) }, text);
    const ids = this.view.spec.structures.map((s) => s.id);
    const rows = this.view.spec.structures.map(({ id, name, colour, ml }) => {
      const others = () => this.view.get("hidden").filter((k) => k !== id);
      const change = (e) => this.view.set({ hidden: e.target.checked ? others() : [...others(), id] });
      const node = make("input", { type: "checkbox", change });
      this.refreshers.push(() => (node.checked = !this.view.get("hidden").includes(id)));
      const swatch = make("span", { class: "fm-swatch", style: `background: rgb(${colour})` });
      const volume = make("span", { class: "fm-ml" });
      this.refreshers.push(() => (volume.textContent = this.view.stage.layersShown().map((k) => ml[k]).join(" | ")));
      return make("label", { class: "fm-row" }, node, swatch, make("span", { class: "fm-name" }, ...breakable(name)), volume);
    });
    const [title, unit] = [make("b", {}, "Structures"), make("span", { class: "fm-ml" }, "ml")];
    const head = make("div", { class: "fm-head" }, title, unit, switched("All", []), switched("None", ids));
    const style = make("div", { class: "fm-head" }, this.tick("Fill", "fill"), this.tick("Outline", "outline"));
    const list = make("div", { class: "fm-rows" }, ...rows);
    const opacity = this.range("Opacity", "opacity");
    return make("div", { class: "fm-legend", role: "group", "aria-label": "Labels" }, style, opacity, head, list);
  }
}
