// How often each class was heard in each hour, from the database.

import { count, name } from "./words.js";

const MOST_ROWS = 10;
const SOON = 5000;  // milliseconds in which further events make no further request

export class History {
  constructor(element, empty) {
    this.element = element;
    this.empty = empty;
    this.timer = null;
  }

  loadSoon() {
    this.timer ??= setTimeout(() => this.load(), SOON);
  }

  async load() {
    clearTimeout(this.timer);
    this.timer = null;
    try {
      const answer = await fetch("/history?hours=24");
      if (answer.ok) this.show(await answer.json());
    } catch { /* there will be another time, or another connection */ }
  }

  show({ hours, counts }) {
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const labels = Object.keys(counts).sort((a, b) => sum(counts[b]) - sum(counts[a]));
    this.empty.hidden = labels.length > 0;
    const shown = labels.slice(0, MOST_ROWS);
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
      row.append(cell("th", name(label)));
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
    element.title = `${name(label)}, ${hour.slice(11, 16)}: ${n}`;
    if (n) element.append(Object.assign(document.createElement("span"), { textContent: n }));
    return element;
  }
}

function cell(kind, text) {
  return Object.assign(document.createElement(kind), { textContent: text, title: text });
}
