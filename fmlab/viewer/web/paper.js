// A paper: a canvas that shows one grey picture with masks over it, and knows which pixel lies where. For widgets that are
// drawn or clicked on; a pixel of the picture may cover many of the screen, and is square.

const ORANGE = [230, 159, 0]; // Okabe and Ito: what the reader drew
const BLUE = [86, 180, 233]; // what the model answered
const FILL = 0.35;

class Paper {
  constructor(canvas, w, h, largest) {
    Object.assign(this, { canvas, w, h, sheet: new Sheet(w, h) });
    Object.assign(canvas.style, { width: "100%", maxWidth: Math.round(largest * Math.min(1, w / h)) + "px" });
    canvas.style.aspectRatio = `${w} / ${h}`;
  }

  /** Screen pixels per pixel of the picture. */
  get scale() {
    return this.canvas.clientWidth / this.w;
  }

  /** Show a picture (one byte of grey a pixel) under layers {values, full, colour}: a value is `full` where the layer is sure, 0
   * where there is nothing. The fill grows with the value; the outline runs around all that is at least half sure. */
  paint(grey, layers = []) {
    const [width, ratio] = [this.canvas.clientWidth, window.devicePixelRatio || 1];
    if (!width) return null;
    const [across, down] = [Math.round(width * ratio), Math.round(width * ratio * (this.h / this.w))];
    if (this.canvas.width !== across || this.canvas.height !== down) Object.assign(this.canvas, { width: across, height: down });
    const ctx = this.canvas.getContext("2d", { alpha: false });
    ctx.setTransform(across / this.w, 0, 0, down / this.h, 0, 0); // the picture's pixels are the unit
    for (let i = 0; i < grey.length; i++) this.sheet.pixels[i] = 0xff000000 | (grey[i] * 0x010101);
    ctx.imageSmoothingEnabled = true;
    ctx.drawImage(this.sheet.show(), 0, 0);
    layers.forEach((layer) => this.paintLayer(ctx, layer));
    return ctx;
  }

  paintLayer(ctx, { values, full, colour: [r, g, b] }) {
    for (let i = 0; i < values.length; i++) {
      const alpha = Math.round((255 * FILL * values[i]) / full);
      this.sheet.pixels[i] = (alpha << 24) | (b << 16) | (g << 8) | r;
    }
    ctx.imageSmoothingEnabled = false; // a pixel is in the mask or it is not
    ctx.drawImage(this.sheet.show(), 0, 0);
    const sure = Uint8Array.from({ length: 256 }, (_, value) => value && 2 * value >= full);
    const unit = ctx.getTransform().a / (window.devicePixelRatio || 1);
    ctx.save();
    ctx.scale(1 / unit, 1 / unit); // lines are measured on the screen
    ctx.fillStyle = `rgb(${r} ${g} ${b})`;
    strokeEdges(ctx, edges(values, this.w, this.h, sure)[1], 0, 0, unit, unit);
    ctx.restore();
  }

  /** A circle of `size` pixels around a pixel, and its centre; dashed for an eraser. */
  ring(ctx, [x, y], size, dashed) {
    const thick = 1 / this.scale;
    const radius = Math.max(size / 2, 4 * thick);
    for (const [colour, wide] of [["rgba(0,0,0,.75)", 3.5], [dashed ? "#fff" : "#f0e442", 1.5]]) {
      Object.assign(ctx, { strokeStyle: colour, lineWidth: wide * thick });
      ctx.setLineDash(dashed ? [4 * thick, 3 * thick] : []);
      ctx.beginPath();
      ctx.arc(x + 0.5, y + 0.5, radius, 0, 7);
      ctx.stroke();
      ctx.setLineDash([]);
      if (size * this.scale < 14) continue;
      ctx.beginPath();
      for (const [dx, dy] of [[3 * thick, 0], [0, 3 * thick]]) {
        ctx.moveTo(x + 0.5 - dx, y + 0.5 - dy);
        ctx.lineTo(x + 0.5 + dx, y + 0.5 + dy);
      }
      ctx.stroke();
    }
  }

  /** The pixel [x, y] under the mouse; the nearest one where the mouse has left the picture. */
  pixel(event) {
    const at = (offset, count) => clamp(Math.floor(offset / this.scale), 0, count - 1);
    return [at(event.offsetX, this.w), at(event.offsetY, this.h)];
  }
}
