// The slice viewer: from voxels of one slice to pixels and lines.

function bitmap(w, h, pixels) {
  const canvas = new OffscreenCanvas(w, h);
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels.buffer), w, h), 0, 0);
  return canvas;
}

/** Pixels of a slice: the window's lower edge is black, its upper edge white. The table spares 16-bit arithmetic per pixel. */
function greys(slice, table) {
  const pixels = new Uint32Array(slice.length);
  for (let i = 0; i < slice.length; i++) pixels[i] = table[slice[i] + 32768];
  return pixels;
}

function greyTable(spec, [centre, width]) {
  const table = new Uint32Array(65536);
  for (let i = 0; i < 65536; i++) {
    const value = (i - 32768) * spec.slope + spec.intercept;
    table[i] = 0xff000000 | (clamp(Math.round(255 * ((value - centre) / width + 0.5)), 0, 255) * 0x010101);
  }
  return table;
}

/** Each label's colour. */
function tinted(codes, paint) {
  const pixels = new Uint32Array(codes.length);
  for (let i = 0; i < codes.length; i++) pixels[i] = paint[codes[i]];
  return pixels;
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

/** Text that stays readable on any grey: light letters with a dark rim. */
function write(ctx, text, x, y, align = "center", baseline = "middle") {
  Object.assign(ctx, { textAlign: align, textBaseline: baseline, lineWidth: 3, strokeStyle: "rgba(0,0,0,.8)", fillStyle: "#f5f5f5" });
  ctx.strokeText(text, x, y);
  ctx.fillText(text, x, y);
}
