// From voxels of one slice to pixels and lines; shared by fmlab's widgets.

/** A small canvas of one slice's size, kept from slice to slice; `pixels` is its memory, one 32-bit word a pixel. */
class Sheet {
  constructor(w, h) {
    this.canvas = new OffscreenCanvas(w, h);
    this.context = this.canvas.getContext("2d");
    this.data = new ImageData(w, h);
    this.pixels = new Uint32Array(this.data.data.buffer);
    this.codes = new Uint8Array(w * h);
  }

  show() {
    this.context.putImageData(this.data, 0, 0);
    return this.canvas;
  }
}

/** From a stored value (plus 32768) to a grey pixel: the window's lower edge is black, its upper edge white. */
function greyTable(spec, [centre, width]) {
  const table = new Uint32Array(65536);
  for (let i = 0; i < 65536; i++) {
    const value = (i - 32768) * spec.slope + spec.intercept;
    table[i] = 0xff000000 | (clamp(Math.round(255 * ((value - centre) / width + 0.5)), 0, 255) * 0x010101);
  }
  return table;
}

/** Straight lines along the voxel edges where the label changes, as {code: [x0, y0, x1, y1, ...]} in voxels; one pass by rows. */
function edges(codes, w, h, shown) {
  const lines = {};
  const above = new Uint8Array(w + 1); // the row before this one
  const owner = new Uint8Array(w + 1); // of the vertical line that runs down column x, and the row in which it began
  const began = new Int32Array(w + 1);
  const add = (code, ...line) => (lines[code] ??= []).push(...line);
  for (let y = 0; y <= h; y++) {
    for (let x = 0, left = 0, run = 0, start = 0; x <= w; x++) {
      const here = x < w && y < h ? shown[codes[y * w + x]] : 0;
      const upright = y === h || here === left ? 0 : left || here;
      if (upright !== owner[x]) {
        if (owner[x]) add(owner[x], x, began[x], x, y);
        owner[x] = upright;
        began[x] = y;
      }
      const level = here === above[x] ? 0 : above[x] || here;
      if (level !== run) {
        if (run) add(run, start, y, x, y);
        run = level;
        start = x;
      }
      above[x] = left = here;
    }
  }
  return lines;
}

/** Fill lines of `edges`, 1.5 pixels wide, on a picture whose corner is at (left, top) and whose voxels measure (sx, sy). */
function strokeEdges(ctx, lines = [], left, top, sx, sy) {
  for (let i = 0; i < lines.length; i += 4) {
    const [x, y] = [left + lines[i] * sx - 0.75, top + lines[i + 1] * sy - 0.75];
    ctx.fillRect(x, y, (lines[i + 2] - lines[i]) * sx + 1.5, (lines[i + 3] - lines[i + 1]) * sy + 1.5);
  }
}

/** Text that stays readable on any grey: light letters with a dark rim. */
function write(ctx, text, x, y, align = "center") {
  Object.assign(ctx, { textAlign: align, textBaseline: "middle", lineWidth: 3 });
  Object.assign(ctx, { strokeStyle: "rgba(0,0,0,.8)", fillStyle: "#f5f5f5" });
  ctx.strokeText(text, x, y);
  ctx.fillText(text, x, y);
}
