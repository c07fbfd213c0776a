// Show the number of events of each class in each hour, of a day or of the last 24 hours.

import { count, dayName, displayName } from "./format.js";

const MAX_ROWS = 10;
const RELOAD_DELAY = 5000;  // milliseconds from an event to the request; later events share it

export class History {
  constructor({ element, empty, title }, filter) {
    Object.assign(this, { element, empty, title, filter });
    this.timer = null;
    this.isLong = false;  // whether all classes are shown
    this.nLoaded = 0;
    element.addEventListener("keydown", (event) => this.press(event));
    element.addEventListener("focusin", ({ target }) => this.setCurrent(target));
  }

  loadSoon() {
    this.timer ??= setTimeout(() => this.load(), RELOAD_DELAY);
  }

  async load() {
    clearTimeout(this.timer);
    this.timer = null;
    const asked = ++this.nLoaded;
    const query = new URLSearchParams(this.filter.day ? { day: this.filter.day } : { hours: 24 });
    if (this.filter.source) query.set("source", this.filter.source);
    try {
      const response = await fetch(`/history?${query}`);
      if (response.ok && asked === this.nLoaded) this.show(await response.json());
    } catch { /* The next reload or connection tries again. */ }
  }

  show({ hours, counts }) {
    this.data = { hours, counts };
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const labels = Object.keys(counts).filter((label) => this.filter.matchesLabel(label))
      .sort((a, b) => sum(counts[b]) - sum(counts[a]));
    this.title.textContent = this.filter.day ? dayName(this.filter.day) : "Last 24 hours";
    this.empty.hidden = labels.length > 0;
    const shown = this.isLong ? labels : labels.slice(0, MAX_ROWS);
    const most = Math.max(1, ...shown.flatMap((label) => counts[label]));
    const focused = this.placeOf(document.activeElement);
    const table = document.createElement("table");
    table.setAttribute("aria-labelledby", this.title.id);
    if (shown.length) table.createTHead().append(this.head(hours));
    for (const label of shown) {
      const row = (table.tBodies[0] ?? table.createTBody()).insertRow();
      row.append(Object.assign(cell("th", displayName(label)), { scope: "row" }));
      counts[label].forEach((n, i) => row.append(this.hour(label, hours, i, n, most)));
      row.append(Object.assign(cell("td", sum(counts[label]).toLocaleString("en")), { className: "total" }));
    }
    this.element.replaceChildren(table);
    if (labels.length > MAX_ROWS) this.element.append(this.more(labels.length));
    const buttons = [...table.querySelectorAll("button")];
    this.setCurrent(buttons.at(-1));
    if (focused) buttons.find((button) => this.placeOf(button) === focused)?.focus();
  }

  head(hours) {
    const row = document.createElement("tr");
    const names = hours.map((hour, n) => {
      const name = Object.assign(cell("th", ""), { scope: "col" });
      name.append(part(n % 3 ? "unseen" : "", hour.slice(11, 16)));
      name.title = `${dayName(hour)}, ${hour.slice(11, 16)}`;
      name.classList.toggle("minor", n % 6 > 0);
      return name;
    });
    const [first, last] = ["class", "sum"].map((text) => {
      const name = Object.assign(document.createElement("th"), { scope: "col" });
      name.append(part("unseen", text));
      return name;
    });
    row.append(first, ...names, last);
    return row;
  }

  hour(label, hours, i, n, most) {
    const element = document.createElement("td");
    const heat = n ? 18 + 82 * Math.sqrt(n / most) : 0;
    element.style.setProperty("--heat", `${heat.toFixed(0)}%`);
    // Where white is more legible than black: in the light page, and black than white in the dark one.
    element.classList.toggle("hot", heat > 83);
    element.classList.toggle("warm", heat > 64);
    if (!n) return element;
    const button = part("", n, "button");
    const text = `${displayName(label)}, ${dayName(hours[i])}, ${hours[i].slice(11, 16)}: ${count(n, "event")}`;
    const [from, to] = [hours[i], hours[i + 1] ?? hourAfter(hours[i])];
    const { choice, hour } = this.filter.state;
    Object.assign(button, { type: "button", title: text, tabIndex: -1 });
    button.dataset.place = `${label} ${from}`;
    button.setAttribute("aria-label", text);
    button.setAttribute("aria-pressed", String(choice === `label:${label}` && hour?.[0] === from));
    button.addEventListener("click", () => this.filter.choose({
      ...this.filter.state, choice: `label:${label}`, hour: [from, to] }));
    element.append(button);
    return element;
  }

  more(n) {
    const text = this.isLong ? "Fewer classes" : `All ${n.toLocaleString("en")} classes`;
    const button = Object.assign(part("", text, "button"), { type: "button" });
    button.addEventListener("click", () => {
      this.isLong = !this.isLong;
      this.show(this.data);
    });
    const line = document.createElement("p");
    line.append(button);
    return line;
  }

  placeOf(element) {
    return this.element.contains(element) ? element.dataset.place : undefined;
  }

  // Tab reaches one cell, and arrows the others.
  setCurrent(button) {
    if (!button?.dataset.place) return;
    if (this.current) this.current.tabIndex = -1;
    button.tabIndex = 0;
    this.current = button;
  }

  press(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const [right, down] = steps[event.key] ?? [];
    const from = event.target.closest("td");
    if (right === undefined || !from) return;
    event.preventDefault();
    let { cellIndex } = from, row = from.parentElement;
    // Go on to the next cell that has events.
    for (;;) {
      cellIndex += right;
      row = down ? row.parentElement.rows[row.sectionRowIndex + down] : row;
      const next = row?.cells[cellIndex];
      if (!next) return;
      if (next.querySelector("button")) return next.querySelector("button").focus();
    }
  }
}

function hourAfter(hour) {
  const zone = hour.slice(19);
  const local = new Date(`${hour.slice(0, 19)}Z`);
  return new Date(Number(local) + 3_600_000).toISOString().slice(0, 19) + zone;
}

function cell(kind, text) {
  return Object.assign(document.createElement(kind), { textContent: text, title: text });
}

function part(className, text, kind = "span") {
  return Object.assign(document.createElement(kind), { className, textContent: text });
}
