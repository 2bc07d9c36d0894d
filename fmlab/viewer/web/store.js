// The slice viewer: the volume in the browser. The same code runs live (the model talks to the kernel) and in saved pages
// (static.py hands it a plain object with get, set and on). The browser holds the whole volume as whole numbers, so a new
// slice, plane, window or colour needs no kernel; slabs that have not come yet are asked for, nearest first.

// Radiological convention: we look from the patient's feet and front, so the patient's right is on the screen's left. Arrays are
// in RAS order, so in every plane the screen's columns and rows both run against the voxel axes u and v.
const PLANES = {
  axial: { axis: 2, u: 0, v: 1, marks: ["R", "L", "A", "P"] },
  coronal: { axis: 1, u: 0, v: 2, marks: ["R", "L", "S", "I"] },
  sagittal: { axis: 0, u: 1, v: 2, marks: ["A", "P", "S", "I"] },
};
const SIGN_COLOUR = { 1: "#56b4e9", "-1": "#e69f00" }; // the + and - signs say the same without colour

async function inflate(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Image (Int16) and label maps (Uint8), x fastest; filled slab by slab, a slab being some consecutive axial slices. */
class Store {
  constructor(model) {
    this.model = model;
    this.spec = model.get("_spec");
    const [x, y, z] = this.spec.shape;
    this.step = [1, x, x * y];
    this.image = new Int16Array(x * y * z);
    this.layers = this.spec.layers.map(() => new Uint8Array(x * y * z));
    this.has = new Uint8Array(Math.ceil(z / this.spec.thick)); // 0 missing, 1 asked for, 2 here
    this.asked = 0;
    this.listeners = new Set();
    model.on("msg:custom", (message, buffers) => {
      if (message.type === "slab") this.take(message.slab, buffers[0]).then(() => ((this.asked -= 1), this.ask()));
    });
    const saved = Object.entries(model.get("_first"));
    this.ready = Promise.all(saved.map(([slab, packed]) => this.take(Number(slab), packed))).then(() => this.ask());
  }

  /** A slab holds the low bytes of its voxels, then their high bytes, then one byte per voxel and label map; all deflated. */
  async take(slab, packed) {
    const raw = await inflate(packed);
    const start = slab * this.spec.thick * this.step[2];
    const n = Math.min(this.spec.thick * this.step[2], this.image.length - start);
    for (let i = 0; i < n; i++) this.image[start + i] = raw[i] | (raw[n + i] << 8);
    this.layers.forEach((layer, k) => layer.set(raw.subarray((2 + k) * n, (3 + k) * n), start));
    this.has[slab] = 2;
    this.listeners.forEach((changed) => changed());
  }

  /** Keep two requests on their way until everything is here, always for the missing slab nearest to the shown slice. */
  ask() {
    const here = Math.floor(this.model.get("cursor")[2] / this.spec.thick);
    while (this.asked < 2) {
      let best = -1;
      this.has.forEach((state, slab) => {
        if (state === 0 && (best < 0 || Math.abs(slab - here) < Math.abs(best - here))) best = slab;
      });
      if (best < 0) return;
      this.has[best] = 1;
      this.asked += 1;
      this.model.send({ type: "want", slab: best });
    }
  }

  /** Is every voxel of this slice here? */
  complete(plane, index) {
    if (plane === "axial") return this.has[Math.floor(index / this.spec.thick)] === 2;
    return this.has.every((state) => state === 2);
  }

  offset(ijk) {
    return ijk[0] * this.step[0] + ijk[1] * this.step[1] + ijk[2] * this.step[2];
  }

  /** One slice of `source` into `out`, rows from the top and columns from the left; through `table` if there is one. */
  cut(source, plane, index, out, table) {
    const { axis, u, v } = PLANES[plane];
    const [w, h, step] = [this.spec.shape[u], this.spec.shape[v], this.step[u]];
    for (let row = 0, at = 0; row < h; row++) {
      let from = index * this.step[axis] + (h - 1 - row) * this.step[v] + (w - 1) * step;
      if (table) for (let column = 0; column < w; column++, from -= step) out[at++] = table[source[from] + 32768];
      else for (let column = 0; column < w; column++, from -= step) out[at++] = source[from];
    }
    return out;
  }
}
