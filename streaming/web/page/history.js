// Show the number of events of each class in each hour, from the database.

import { count, displayName } from "./format.js";

const MAX_ROWS = 10;
const RELOAD_DELAY = 5000;  // milliseconds from an event to the request; later events share it

export class History {
  constructor(element, empty) {
    this.element = element;
    this.empty = empty;
    this.timer = null;
  }

  loadSoon() {
    this.timer ??= setTimeout(() => this.load(), RELOAD_DELAY);
  }

  async load() {
    clearTimeout(this.timer);
    this.timer = null;
    try {
      const response = await fetch("/history?hours=24");
      if (response.ok) this.show(await response.json());
    } catch { /* The next reload or connection tries again. */ }
  }

  show({ hours, counts }) {
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const labels = Object.keys(counts).sort((a, b) => sum(counts[b]) - sum(counts[a]));
    this.empty.hidden = labels.length > 0;
    const shown = labels.slice(0, MAX_ROWS);
    const most = Math.max(1, ...shown.flatMap((label) => counts[label]));
    const table = document.createElement("table");
    if (shown.length) {
      const head = table.createTHead().insertRow();
      const names = hours.map((hour, n) => cell("th", n % 3 ? "" : hour.slice(11, 16)));
      names.forEach((each, n) => each.classList.toggle("minor", n % 6 > 0));
      head.append(cell("th", ""), ...names, cell("th", ""));
    }
    for (const label of shown) {
      const row = (table.tBodies[0] ?? table.createTBody()).insertRow();
      row.append(cell("th", displayName(label)));
      counts[label].forEach((n, i) => row.append(this.hour(label, hours[i], n, most)));
      const total = cell("td", sum(counts[label]).toLocaleString("en"));
      total.className = "total";
      row.append(total);
    }
    this.element.replaceChildren(table);
    if (labels.length > shown.length) {
      const more = document.createElement("p");
      more.className = "quiet";
      more.textContent = `and ${count(labels.length - shown.length, "more class", "more classes")}`;
      this.element.append(more);
    }
  }

  hour(label, hour, n, most) {
    const element = cell("td", "");
    const heat = n ? 18 + 82 * Math.sqrt(n / most) : 0;
    element.style.setProperty("--heat", `${heat.toFixed(0)}%`);
    element.classList.toggle("hot", heat > 60);
    element.title = `${displayName(label)}, ${hour.slice(11, 16)}: ${count(n, "event")}`;
    if (n) element.append(Object.assign(document.createElement("span"), { textContent: n }));
    return element;
  }
}

function cell(kind, text) {
  return Object.assign(document.createElement(kind), { textContent: text, title: text });
}
