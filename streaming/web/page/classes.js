// The likeliest classes of this moment, as bars.

import { hue, name } from "./words.js";

const N_ROWS = 12;
const FALL = 0.35;  // that a bar keeps of what it is above the truth, after a second
const REORDER_SECONDS = 0.6;

export class Classes {
  constructor(list) {
    this.list = list;
    this.lasting = new Set();
    this.reset([]);
  }

  reset(labels) {
    this.labels = labels;
    this.top = new Map();  // of each source, what it told last
    this.shown = new Float32Array(labels.length);
    this.sinceOrder = REORDER_SECONDS;
    this.order = [];
    this.list.replaceChildren();
    this.rows = [];
  }

  take(source, top) {
    this.top.set(source, top);
  }

  draw(passed) {
    const truth = new Float32Array(this.labels.length);
    for (const top of this.top.values()) {
      for (const [c, share] of top) truth[c] = Math.max(truth[c], share);
    }
    const kept = FALL ** passed;
    this.shown.forEach((value, c) => {
      this.shown[c] = Math.max(truth[c], truth[c] + (value - truth[c]) * kept);
    });
    this.sinceOrder += passed;
    if (this.sinceOrder < REORDER_SECONDS || !this.top.size) return;
    this.sinceOrder = 0;
    this.order = [...this.shown.keys()]
      .sort((a, b) => this.shown[b] - this.shown[a] || a - b).slice(0, N_ROWS);
    this.order.forEach((c, row) => this.show(row, c));
  }

  show(row, c) {
    const label = this.labels[c], item = this.rows[row] ??= this.newRow();
    item.children[0].textContent = name(label);
    item.children[0].title = label;
    item.children[1].textContent = this.shown[c].toFixed(2);
    item.style.setProperty("--share", this.shown[c].toFixed(3));
    item.style.setProperty("--hue", `var(${hue(label)})`);
    item.classList.toggle("lasts", this.lasting.has(label));
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
