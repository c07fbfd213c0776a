// Show the likeliest classes of the moment as bars.

import { classColour } from "./colours.js";
import { displayName } from "./format.js";

const N_ROWS = 12;
const DECAY = 0.35;  // part of its excess over the current value that a bar keeps after a second
const REORDER_SECONDS = 0.6;

export class ClassBars {
  constructor(list) {
    this.list = list;
    this.activeLabels = new Set();
    this.reset([]);
  }

  reset(labels) {
    this.labels = labels;
    this.top = new Map();  // the latest top classes, by the name of the input
    this.shown = new Float32Array(labels.length);
    this.sinceOrder = REORDER_SECONDS;
    this.order = [];
    this.list.replaceChildren();
    this.rows = [];
  }

  update(source, top) {
    this.top.set(source, top);
  }

  draw(elapsed) {
    const current = new Float32Array(this.labels.length);
    for (const top of this.top.values()) {
      for (const [c, prob] of top) current[c] = Math.max(current[c], prob);
    }
    const kept = DECAY ** elapsed;
    this.shown.forEach((value, c) => {
      this.shown[c] = Math.max(current[c], current[c] + (value - current[c]) * kept);
    });
    this.sinceOrder += elapsed;
    if (this.sinceOrder < REORDER_SECONDS || !this.top.size) return;
    this.sinceOrder = 0;
    this.order = [...this.shown.keys()]
      .sort((a, b) => this.shown[b] - this.shown[a] || a - b).slice(0, N_ROWS);
    this.order.forEach((c, row) => this.show(row, c));
  }

  show(row, c) {
    const label = this.labels[c], item = this.rows[row] ??= this.newRow();
    item.children[0].textContent = displayName(label);
    item.children[0].title = label;
    item.children[1].textContent = this.shown[c].toFixed(2);
    item.style.setProperty("--share", this.shown[c].toFixed(3));
    item.style.setProperty("--colour", classColour(label));
    item.classList.toggle("active", this.activeLabels.has(label));
  }

  newRow() {
    const item = document.createElement("li");
    for (const part of ["name", "value", "bar"]) {
      const span = document.createElement("span");
      span.className = part;
      item.append(span);
    }
    this.list.append(item);
    return item;
  }
}
