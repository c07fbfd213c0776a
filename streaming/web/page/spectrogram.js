// Draw a scrolling spectrogram with the detected events below it.

import { classColour } from "./colours.js";
import { displayName } from "./format.js";

const KEPT_SECONDS = 60;
const PIXELS_PER_SECOND = 45;
// Quantiles of the visible levels at which the palette starts and ends.
const LOW_QUANTILE = 0.35, HIGH_QUANTILE = 0.997;
const MIN_RANGE_DB = 36;  // smallest range of the palette, so that noise alone stays dark
const ADAPTATION_SECONDS = 4;  // time constant of the range of the palette
const LANES = 2, LANE = 18, AXIS = 16, GUTTER = 36;  // pixels
const TICKS_HZ = [100, 250, 500, 1000, 2000, 4000, 8000, 16000];

const MAGMA = ["#000004", "#1c1044", "#4f127b", "#812581", "#b5367a", "#e55064", "#fb8761",
  "#fec287", "#fcfdbf"];
const DAYLIGHT = ["#fbfaf7", "#e8e3ee", "#cbb9dc", "#b088c4", "#a2559f", "#8c2d6f", "#641a4f",
  "#3a1238", "#160a1c"];
const isDark = matchMedia("(prefers-color-scheme: dark)");
const reducesMotion = matchMedia("(prefers-reduced-motion: reduce)");

export class Spectrogram {
  constructor(canvas, { cell_seconds, step_db, band_hz }) {
    this.canvas = canvas;
    this.cellSeconds = cell_seconds;
    this.minRange = MIN_RANGE_DB / step_db;
    this.bandHz = band_hz;
    this.nBands = band_hz.length;
    this.nKept = Math.round(KEPT_SECONDS / cell_seconds);
    this.levels = new Uint8Array(this.nKept * this.nBands);  // ring buffer of cells
    this.stop = 0;  // cells pushed so far, lost ones included
    this.end = 0;  // seconds of the input, behind the last cell
    this.head = null;  // seconds at the right edge; moves evenly, slightly delayed
    this.lag = 0;
    this.arrivedAt = 0;
    this.range = null;
    this.marks = [];
    this.gaps = [];
    this.image = document.createElement("canvas").getContext("2d");
    this.palette = null;
    isDark.addEventListener("change", () => { this.palette = null; });
  }

  push(text, end) {
    const cells = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const n = cells.length / this.nBands;
    const nLost = Math.round((end - this.end) / this.cellSeconds) - n;
    if (nLost > 0) this.append(new Uint8Array(Math.min(nLost, this.nKept) * this.nBands));
    this.append(cells);
    this.end = end;
    this.arrivedAt = performance.now();
    this.lag = Math.max(Math.min(n * this.cellSeconds, 3), 0.95 * this.lag);
  }

  append(cells) {
    for (let i = 0; i < cells.length; i += this.nBands) {
      const at = (this.stop++ % this.nKept) * this.nBands;
      this.levels.set(cells.subarray(i, i + this.nBands), at);
    }
  }

  markEvent(event, isActive) {
    const old = this.marks.find((m) => m.onset === event.onset && m.label === event.label);
    if (old) Object.assign(old, event, { isActive });
    else this.marks.push({ ...event, isActive, lane: this.freeLane(event.onset) });
    this.marks = this.marks.filter((m) => m.isActive || m.offset > this.end - KEPT_SECONDS);
  }

  // Return a lane that is free at an onset, or else the one that becomes free first.
  freeLane(onset) {
    const ends = Array(LANES).fill(-Infinity);
    for (const m of this.marks) {
      const labelEnd = m.onset + this.labelWidth(m) / PIXELS_PER_SECOND;
      ends[m.lane] = Math.max(ends[m.lane], m.isActive ? Infinity : Math.max(m.offset, labelEnd));
    }
    const free = ends.findIndex((end) => end <= onset);
    return free >= 0 ? free : ends.indexOf(Math.min(...ends));
  }

  labelWidth(mark) {
    return 14 + 7 * mark.label.length;
  }

  markGap({ onset, offset }) {
    this.gaps = [...this.gaps, { onset, offset }].slice(-50);
  }

  draw(elapsed) {
    if (!this.stop) return;
    this.advance(elapsed);
    const ratio = devicePixelRatio, { clientWidth: width, clientHeight: height } = this.canvas;
    const wide = Math.round(width * ratio), high = Math.round(height * ratio);
    if (this.canvas.width !== wide || this.canvas.height !== high) {
      Object.assign(this.canvas, { width: wide, height: high });
    }
    const pen = this.canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "11px system-ui, sans-serif";
    const style = getComputedStyle(this.canvas);
    const box = { width: width - GUTTER, height: height - AXIS - LANES * LANE };
    this.renderCells(elapsed, box);
    pen.save();
    pen.translate(GUTTER, 0);
    pen.beginPath();
    pen.rect(0, 0, box.width, height);
    pen.clip();
    this.drawCells(pen, box);
    this.drawGaps(pen, box, style);
    this.drawMarks(pen, box, style);
    pen.restore();
    pen.fillStyle = style.getPropertyValue("--faint");
    this.drawAxes(pen, box);
  }

  // Blocks arrive unevenly; move the right edge evenly, up to the last cell.
  advance(elapsed) {
    const since = (performance.now() - this.arrivedAt) / 1000;
    const target = Math.min(this.end, this.end - this.lag + since);
    const error = target - (this.head ?? -Infinity) - elapsed;
    if (reducesMotion.matches) this.head = this.end;
    else if (Math.abs(error) > 2) this.head = target;
    else this.head = Math.min(this.end, this.head + elapsed + error * Math.min(1, 2 * elapsed));
  }

  // Render the visible cells to an image, one pixel per mel band.
  renderCells(elapsed, box) {
    const n = Math.min(this.nKept, Math.ceil(box.width / this.cellPixels) + 1);
    const behind = Math.floor((this.end - this.head) / this.cellSeconds);
    this.last = this.stop - behind;
    this.n = n;
    const [low, high] = this.adaptRange(elapsed, n);
    const { canvas } = this.image;
    if (canvas.width !== n || canvas.height !== this.nBands) {
      Object.assign(canvas, { width: n, height: this.nBands });
      this.pixels = this.image.createImageData(n, this.nBands);
    }
    const pixels = new Uint32Array(this.pixels.data.buffer);
    this.palette ??= interpolatePalette(isDark.matches ? MAGMA : DAYLIGHT);
    const shades = Uint32Array.from({ length: 256 }, (_, level) =>
      this.palette[Math.max(0, Math.min(255, Math.round(255 * (level - low) / (high - low))))]);
    for (let x = 0; x < n; x++) {
      const cell = this.last - n + x;
      const isKept = cell >= 0 && cell >= this.stop - this.nKept;
      const at = (((cell % this.nKept) + this.nKept) % this.nKept) * this.nBands;
      for (let band = 0; band < this.nBands; band++) {
        const row = this.nBands - 1 - band;
        pixels[row * n + x] = isKept ? shades[this.levels[at + band]] : this.palette[0];
      }
    }
    this.image.putImageData(this.pixels, 0, 0);
  }

  get cellPixels() {
    return PIXELS_PER_SECOND * this.cellSeconds;
  }

  // Move the range of the palette slowly towards quantiles of the visible levels.
  adaptRange(elapsed, n) {
    const counts = new Uint32Array(256);
    let total = 0;
    const first = Math.max(0, this.stop - this.nKept, this.last - n);
    for (let cell = first; cell < this.last; cell++) {
      const at = (cell % this.nKept) * this.nBands;
      for (let band = 0; band < this.nBands; band++) counts[this.levels[at + band]]++;
    }
    counts[0] = 0;  // gaps
    for (const each of counts) total += each;
    if (!total) return this.range ?? [0, this.minRange];
    const level = (share) => {
      let sum = 0;
      return counts.findIndex((each) => (sum += each) >= share * total);
    };
    const low = level(LOW_QUANTILE), high = Math.max(level(HIGH_QUANTILE), low + this.minRange);
    const share = this.range ? 1 - Math.exp(-elapsed / ADAPTATION_SECONDS) : 1;
    this.range ??= [low, high];
    this.range = [low, high].map((target, i) => this.range[i] + share * (target - this.range[i]));
    return this.range;
  }

  x(seconds, box) {
    return box.width - (this.head - seconds) * PIXELS_PER_SECOND;
  }

  drawCells(pen, box) {
    const ends = this.end - (this.stop - this.last) * this.cellSeconds;
    const right = this.x(ends, box);
    pen.drawImage(this.image.canvas, right - this.n * this.cellPixels, 0,
      this.n * this.cellPixels, box.height);
  }

  drawGaps(pen, box, style) {
    pen.fillStyle = style.getPropertyValue("--bad");
    pen.globalAlpha = 0.22;
    for (const { onset, offset } of this.gaps) {
      const left = this.x(onset, box);
      pen.fillRect(left, 0, Math.max(2, this.x(offset, box) - left), box.height);
    }
    pen.globalAlpha = 1;
  }

  drawMarks(pen, box, style) {
    pen.textBaseline = "middle";
    for (const mark of this.marks) {
      const left = this.x(mark.onset, box);
      const right = mark.isActive ? box.width : this.x(mark.offset, box);
      if (right + this.labelWidth(mark) < 0) continue;
      const top = box.height + AXIS + mark.lane * LANE;
      pen.fillStyle = classColour(mark.label);
      pen.globalAlpha = 0.25;
      pen.beginPath();
      pen.roundRect(left, top + 2, Math.max(4, right - left), LANE - 4, 3);
      pen.fill();
      pen.globalAlpha = 1;
      pen.fillRect(left, top + 2, 3, LANE - 4);
      pen.fillStyle = style.getPropertyValue("--ink");
      pen.fillText(displayName(mark.label), Math.max(left, 0) + 8, top + LANE / 2 + 0.5);
    }
  }

  drawAxes(pen, box) {
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const hz of TICKS_HZ) {
      const band = this.bandOf(hz);
      if (band === null) continue;
      const y = box.height * (1 - (band + 0.5) / this.nBands);
      const place = Math.min(box.height - 5, Math.max(6, y));
      pen.fillText(hz >= 1000 ? `${hz / 1000}k` : hz, GUTTER - 6, place);
    }
    const step = [1, 2, 5, 10].find((seconds) => seconds * PIXELS_PER_SECOND > 70);
    pen.textBaseline = "top";
    for (let ago = step; ago * PIXELS_PER_SECOND < box.width - 20; ago += step) {
      pen.textAlign = "center";
      pen.fillText(`−${ago} s`, GUTTER + box.width - ago * PIXELS_PER_SECOND, box.height + 3);
    }
    pen.textAlign = "right";
    pen.fillText("now", GUTTER + box.width, box.height + 3);
    pen.textAlign = "left";
  }

  // Return the fractional index of the band at a frequency, or null if it is out of range.
  bandOf(hz) {
    const above = this.bandHz.findIndex((each) => each >= hz);
    if (above <= 0) return above === 0 && this.bandHz[0] < 1.3 * hz ? 0 : null;
    const [low, high] = [this.bandHz[above - 1], this.bandHz[above]];
    return above - 1 + (hz - low) / (high - low);
  }
}

function interpolatePalette(colours) {
  const stops = colours.map((text) => [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, level) => {
    const at = level / 255 * (stops.length - 1), i = Math.min(stops.length - 2, Math.floor(at));
    const mixed = stops[i].map((from, c) => Math.round(from + (at - i) * (stops[i + 1][c] - from)));
    return (255 << 24 | mixed[2] << 16 | mixed[1] << 8 | mixed[0]) >>> 0;
  });
}
