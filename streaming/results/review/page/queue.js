// The queue: what is shown, loaded in parts, and the list of it.

import { get } from "/api.js";
import { classColour } from "/colours.js";

const PART = 100; // events that are loaded at once
const MARKS = { right: "✓", wrong: "✗", relabelled: "≠", unsure: "?" };
const at = (id) => document.getElementById(id);

export class Queue {
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.form = at("filter-form");
    this.events = [];
    this.n = 0;
    this.index = 0;
    this.opened = 0; // counts the queues, so that late responses are passed over
    this.seed = Math.floor(Math.random() * 1e9);
    at("queue").addEventListener("scroll", () => {
      const list = at("queue");
      if (list.scrollTop + list.clientHeight > list.scrollHeight - 300) this.load();
    });
  }

  get parameters() {
    const values = Object.fromEntries(new FormData(this.form));
    return { ...values, seed: this.seed, reviewer: at("reviewer").value.trim() };
  }

  get current() {
    return this.events[this.index];
  }

  async open() {
    this.opened++;
    this.number = undefined;
    this.loading = undefined;
    this.events = [];
    this.n = 0;
    this.index = 0;
    await this.load(true);
  }

  // Load the next part, unless all is there or on its way.
  load(isFirst = false) {
    if (!isFirst && this.events.length >= this.n) return undefined;
    this.loading ??= this.loadPart(this.opened).finally(() => { this.loading = undefined; });
    return this.loading;
  }

  async loadPart(opened) {
    const first = this.events.length;
    const part = await get("/queue", { ...this.parameters, queue: this.number, first, limit: PART });
    if (opened !== this.opened) return;
    this.number = part.queue;
    this.n = part.n;
    if (first === 0) at("queue").replaceChildren();
    at("queue").append(...part.events.map((event, i) => this.row(event, first + i)));
    this.events.push(...part.events);
  }

  // Go to a place in the queue; false if there is none.
  async go(index) {
    if (index < 0 || index >= this.n) return false;
    while (index >= this.events.length && this.events.length < this.n) {
      const before = this.events.length;
      await this.load();
      if (this.events.length === before) return false;
    }
    at("queue").querySelector("[aria-current]")?.removeAttribute("aria-current");
    this.index = index;
    const row = at("queue").children[index]?.firstElementChild;
    row?.setAttribute("aria-current", "true");
    const list = at("queue");
    if (row) {
      const top = row.offsetTop - list.offsetTop;
      if (top < list.scrollTop || top + row.offsetHeight > list.scrollTop + list.clientHeight) {
        list.scrollTop = top - list.clientHeight / 2;
      }
    }
    if (index > this.events.length - 20) this.load();
    return true;
  }

  // Take the new decisions about an event; return its place, or -1.
  update(event) {
    const index = this.events.findIndex((each) => each.id === event.id);
    if (index >= 0) {
      this.events[index] = event;
      const isCurrent = index === this.index;
      const row = this.row(event, index);
      if (isCurrent) row.firstElementChild.setAttribute("aria-current", "true");
      at("queue").children[index].replaceWith(row);
    }
    return index;
  }

  row(event, index) {
    const button = document.createElement("button");
    button.type = "button";
    const part = (name, text) => {
      const span = document.createElement("span");
      span.className = name;
      span.textContent = text;
      button.append(span);
      return span;
    };
    const verdict = event.decisions.at(-1)?.verdict;
    part(`mark ${verdict ?? ""}`, MARKS[verdict] ?? "·");
    part("name", event.label).style.setProperty("--colour", classColour(event.label));
    part("score", event.score.toFixed(2));
    part("place", `${event.file.split(/[\\/]/).at(-1)} · ${event.onset.toFixed(1)} s`);
    button.addEventListener("click", () => this.onChoose(index));
    const item = document.createElement("li");
    item.append(button);
    return item;
  }
}

// Fill a list of choices, and keep what was chosen.
export function fill(select, choices, all) {
  const chosen = select.value;
  const options = choices.map(([value, text]) => new Option(text, value));
  select.replaceChildren(new Option(all, ""), ...options);
  if ([...select.options].some((option) => option.value === chosen)) select.value = chosen;
}
