// What a page does besides being read: theme, living viewers, remembered predictions, contents. Without it all text is there.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  /** localStorage, or nothing where the browser forbids it. */
  const kept = {
    get(name) {
      try {
        return localStorage.getItem("fmlab-" + name);
      } catch {
        return null;
      }
    },
    set(name, value) {
      try {
        localStorage.setItem("fmlab-" + name, value);
      } catch {}
    },
  };

  // -- light and dark --

  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const button = document.querySelector("button.theme");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const tell = () => button.setAttribute("aria-pressed", dark());
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    kept.set("theme", root.dataset.theme);
    tell();
  });
  system.addEventListener("change", tell);
  tell();

  // -- viewers --

  const bytes = (id) => Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));

  async function through(data, stream) {
    return new Uint8Array(await new Response(new Blob([data]).stream().pipeThrough(stream)).arrayBuffer());
  }

  /** The grey value of every voxel, x fastest, from a picture of all slices in rows and columns. */
  async function greys(id, columns, [x, y, z]) {
    const image = new Image();
    image.src = "data:image/webp;base64," + document.getElementById(id).textContent;
    await image.decode();
    const sheet = new OffscreenCanvas(image.width, y); // a row of slices at a time: a whole sheet may be larger than a canvas
    const context = sheet.getContext("2d", { willReadFrequently: true });
    const grey = new Uint8Array(x * y * z);
    for (let slice = 0; slice < z; slice++) {
      if (slice % columns === 0) context.drawImage(image, 0, -Math.floor(slice / columns) * y);
      const { data } = context.getImageData((slice % columns) * x, 0, x, y);
      for (let i = 0, at = slice * x * y; i < x * y; i++) grey[at + i] = data[4 * i + 1];
    }
    return grey;
  }

  /** Slabs as web/store.js of the viewer takes them: low bytes, high bytes, label maps; deflated. */
  async function slabs({ _spec: spec, picture, columns, table, maps }) {
    const [x, y, z] = spec.shape;
    const grey = await greys(picture, columns, spec.shape);
    const layers = await Promise.all(maps.map((id) => through(bytes(id), new DecompressionStream("deflate"))));
    const first = {};
    for (let slab = 0, from = 0; from < grey.length; slab++) {
      const to = Math.min(from + spec.thick * x * y, grey.length);
      const raw = new Uint8Array((2 + layers.length) * (to - from));
      for (let i = 0; i < to - from; i++) {
        const value = table[grey[from + i]];
        [raw[i], raw[to - from + i]] = [value & 255, (value >> 8) & 255];
      }
      layers.forEach((layer, k) => raw.set(layer.subarray(from, to), (2 + k) * (to - from)));
      first[slab] = await through(raw, new CompressionStream("deflate"));
      from = to;
    }
    return first;
  }

  async function enliven(place) {
    const state = JSON.parse(document.getElementById(place.dataset.scan).textContent);
    state._first = await slabs(state);
    const el = document.createElement("div");
    const model = window.fmlabStandIn(state);
    const { initialize, render } = window.fmlabViewer();
    initialize({ model });
    place.append(el);
    place.classList.add("alive"); // the still figure steps back, but for print
    el.className = "live";
    render({ model, el });
  }

  const near = new IntersectionObserver(
    (seen) => {
      for (const { isIntersecting, target } of seen) {
        if (!isIntersecting) continue;
        near.unobserve(target);
        enliven(target).catch((error) => console.error(error)); // the still figure stays
      }
    },
    { rootMargin: "600px" },
  );
  if (window.fmlabViewer) all(".scan").forEach((place) => near.observe(place));

  // -- predictions: the first choice counts, as in the notebook --

  const words = (choice) => choice.parentElement.textContent.trim();
  for (const box of all("[data-predict]")) {
    const name = box.dataset.predict;
    const show = (note) => {
      const first = box.querySelector(`input[value="${kept.get(name)}"]`);
      if (!first) return;
      box.querySelector(".note").textContent = note(first);
      for (const again of all(`[data-recall="${name}"]`)) again.textContent = `You predicted: ${words(first)}`;
      return first;
    };
    const first = show((choice) => `You predicted: ${words(choice)}`);
    if (first) first.checked = true;
    box.addEventListener("change", ({ target }) => {
      if (kept.get(name) === null) kept.set(name, target.value);
      const changed = kept.get(name) !== target.value;
      show((choice) => (changed ? `Your first prediction is kept: ${words(choice)}` : "Noted. Now read on."));
    });
  }

  // -- what scrolls by itself can be reached by keyboard --

  const reachable = () => {
    for (const node of all("pre, .wide, .shown, math[display=block]")) {
      if (node.scrollWidth > node.clientWidth || node.scrollHeight > node.clientHeight) node.tabIndex = 0;
      else node.removeAttribute("tabindex");
    }
  };
  reachable();
  addEventListener("resize", reachable);
  addEventListener("load", reachable);
  document.addEventListener("toggle", reachable, true); // what unfolds may be wide

  // -- contents: folded on a narrow screen, and marking where one is --

  const contents = document.querySelector(".contents details");
  if (contents) {
    const wide = matchMedia("(min-width: 74rem)");
    const fold = () => (contents.open = wide.matches);
    wide.addEventListener("change", fold);
    fold();
    const links = new Map(all("a", contents).map((link) => [link.hash.slice(1), link]));
    const headings = all("main h2[id]");
    const mark = () => {
      const here = headings.filter((heading) => heading.getBoundingClientRect().top < innerHeight / 3).at(-1);
      for (const [anchor, link] of links) {
        if (anchor === here?.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    };
    let waiting = false;
    addEventListener("scroll", () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => ((waiting = false), mark()));
    }, { passive: true });
    mark();
  }

  // -- print: answers unfold; site.css says the same to browsers that can style them --

  addEventListener("beforeprint", () => all(".quiz details, details.listing").forEach((one) => (one.open = true)));
})();
