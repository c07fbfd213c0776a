// Choose which events are shown: by class or kind, day or hour, score, and input.

import { dayName, displayName } from "./format.js";

const DAY_SECONDS = 86_400;

export class Filter {
  constructor(form, onChange) {
    this.form = form;
    this.parts = form.elements;
    this.onChange = onChange;
    this.hour = null;  // [from, to] in ISO 8601
    this.kinds = {};  // classes of each kind
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", () => this.changed());
    form.addEventListener("reset", () => setTimeout(() => this.choose({})));
    this.parts.day.addEventListener("change", () => { this.hour = null; });
    this.parts.earlier.addEventListener("click", () => this.step(-1));
    this.parts.later.addEventListener("click", () => this.step(1));
    this.parts.hour.addEventListener("click", () => this.choose({ ...this.state, hour: null }));
    this.show();
  }

  // Fetch the names that events can be chosen by; those of the model may have no events yet.
  async load(labels) {
    try {
      const response = await fetch("/names");
      if (!response.ok) return;
      this.names = await response.json();
    } catch {
      return;  // The next connection loads them.
    }
    this.kinds = this.names.kinds;
    const known = [...new Set([...this.names.labels, ...labels])];
    this.fill(this.parts.choice, "all", [
      ["Kinds", Object.keys(this.kinds).map((name) => [`kind:${name}`, name])],
      ["Detected", this.names.labels.map((name) => [`label:${name}`, name])],
      ["Not yet", known.slice(this.names.labels.length).map((name) => [`label:${name}`, name])],
    ]);
    this.fill(this.parts.source, "all", [["", this.names.sources.map((name) => [name, name])]]);
    this.parts.source.parentElement.hidden = this.names.sources.length < 2;
    if (this.names.first_day) this.parts.day.min = this.names.first_day;
  }

  fill(select, first, groups) {
    const chosen = select.value;
    const options = (rows) => rows.sort((a, b) => a[1].localeCompare(b[1]))
      .map(([value, name]) => new Option(displayName(name), value));
    select.replaceChildren(new Option(first, ""));
    for (const [label, rows] of groups) {
      if (!rows.length) continue;
      if (!label) select.append(...options(rows));
      else {
        const group = Object.assign(document.createElement("optgroup"), { label });
        group.append(...options(rows));
        select.append(group);
      }
    }
    select.value = chosen;
    if (select.selectedIndex < 0) select.value = "";
  }

  get state() {
    const { choice, day, min_score, source } = this.parts;
    return { choice: choice.value, day: day.value, minScore: min_score.value,
      source: source.value, hour: this.hour };
  }

  get isActive() {
    const { choice, day, minScore, source, hour } = this.state;
    return Boolean(choice || day || minScore || source || hour);
  }

  get day() {
    return this.parts.day.value;
  }

  get source() {
    return this.parts.source.value;
  }

  // Return the query parameters: of the time too, or of all but the time.
  query(hasTime = true) {
    const { choice, day, minScore, source, hour } = this.state;
    const query = new URLSearchParams();
    if (choice) query.set(choice.slice(0, choice.indexOf(":")), choice.slice(choice.indexOf(":") + 1));
    if (source) query.set("source", source);
    if (minScore && this.parts.min_score.checkValidity()) query.set("min_score", minScore);
    const [from, to] = hour ?? [day, day];
    if (hasTime && from) {
      query.set("from", from);
      query.set("to", to);
    }
    return query;
  }

  matchesLabel(label) {
    const { choice } = this.state;
    const name = choice.slice(choice.indexOf(":") + 1);
    if (!choice || label === name) return true;
    return choice.startsWith("kind:") && (this.kinds[name] ?? []).includes(label);
  }

  matches(event) {
    const { day, minScore, source, hour } = this.state;
    const at = Date.parse(event.time);
    return this.matchesLabel(event.label)
      && (!source || event.source === source)
      && (!minScore || event.score >= Number(minScore))
      && (!day || event.time.slice(0, 10) === day)
      && (!hour || (at >= Date.parse(hour[0]) && at < Date.parse(hour[1])));
  }

  choose({ choice = "", day = "", minScore = "", source = "", hour = null }) {
    const { parts } = this;
    if (choice && ![...parts.choice.options].some((option) => option.value === choice)) {
      parts.choice.append(new Option(displayName(choice.slice(choice.indexOf(":") + 1)), choice));
    }
    parts.choice.value = choice;
    parts.day.value = day;
    parts.min_score.value = minScore;
    parts.source.value = source;
    this.hour = hour;
    this.changed();
  }

  step(days) {
    const from = this.day ? Date.parse(`${this.day}T12:00Z`) : Date.parse(`${localDay()}T12:00Z`);
    const day = new Date(from + days * DAY_SECONDS * 1000).toISOString().slice(0, 10);
    this.choose({ ...this.state, day, hour: null });
  }

  changed() {
    this.show();
    this.onChange();
  }

  show() {
    const { hour } = this.parts;
    hour.hidden = !this.hour;
    if (this.hour) {
      const [from, to] = this.hour;
      hour.textContent = `${dayName(from, "short")}, ${from.slice(11, 16)} to ${to.slice(11, 16)} ×`;
      hour.setAttribute("aria-label", `${hour.textContent.slice(0, -2)}: show other hours too`);
    }
    this.form.querySelector("[type=reset]").hidden = !this.isActive;
  }
}

// The day of this browser, ISO 8601.
export function localDay() {
  const now = new Date();
  return new Date(now - 60_000 * now.getTimezoneOffset()).toISOString().slice(0, 10);
}
