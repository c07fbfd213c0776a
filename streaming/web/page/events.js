// List events, newest first, with notices between them; play their clips.

import { classColour } from "./colours.js";
import { displayName, seconds } from "./format.js";

const MAX_ROWS = 300, FIRST_EVENTS = 100;

export class EventLog {
  constructor(list, empty, player) {
    this.list = list;
    this.empty = empty;
    this.player = player;
    this.hasSeveralInputs = false;
    this.rows = new Map();  // of events, by time, input and label
    this.playing = null;
    for (const change of ["play", "pause", "ended", "timeupdate"]) {
      player.addEventListener(change, () => this.showPlayer());
    }
    player.addEventListener("error", () => this.fail());
  }

  // Add the latest events of the database.
  async load() {
    try {
      const response = await fetch(`/events?limit=${FIRST_EVENTS}`);
      if (!response.ok) return;
      for (const event of (await response.json()).events) this.end(event);
    } catch { /* The next connection loads them. */ }
  }

  start(event) {
    this.show(event, true);
  }

  end(event) {
    this.show(event, false);
  }

  activeLabels() {
    const rows = [...this.rows.values()].filter((row) => row.isActive);
    return new Set(rows.map((row) => row.event.label));
  }

  removeActive() {
    for (const [key, row] of this.rows) {
      if (row.isActive) this.remove(key, row);
    }
  }

  addNotice(text, kind = "", time = localTime()) {
    const item = document.createElement("li");
    item.className = `notice ${kind}`;
    item.append(part("span", "time", time.slice(11, 19)), part("p", "", text));
    this.place(item, time);
  }

  // Update the lengths of active events; `now` returns the position of an input in seconds.
  draw(now) {
    for (const { isActive, event, parts } of this.rows.values()) {
      if (!isActive) continue;
      const end = Math.max(event.offset, now(event.source));
      parts.length.textContent = seconds(end - event.onset);
    }
  }

  show(event, isActive) {
    const key = `${event.time} ${event.source} ${event.label}`;
    let row = this.rows.get(key);
    if (isActive && row) return;
    row ??= this.newRow(key, event);
    row.isActive = isActive;
    row.event = { ...row.event, ...event };
    row.item.classList.toggle("active", isActive);
    row.item.style.setProperty("--share", event.score.toFixed(3));
    row.parts.from.textContent = this.hasSeveralInputs ? event.source : "";
    row.parts.length.textContent = seconds(event.offset - event.onset);
    row.parts.score.lastChild.textContent = event.score.toFixed(2);
    row.play.hidden = !row.event.clip;
  }

  newRow(key, event) {
    const item = document.createElement("li");
    const time = part("span", "time", event.time.slice(11, 19));
    const label = part("span", "label", displayName(event.label));
    const from = part("span", "from", ""), length = part("span", "length", "");
    const score = part("span", "score", ""), what = part("span", "what", "");
    const play = part("button", "play", "");
    const row = { item, event, play, parts: { from, length, score }, isActive: false };
    time.title = event.time;
    score.append(document.createElement("i"), part("span", "", ""));
    what.append(label, from);
    play.type = "button";
    play.hidden = true;
    play.setAttribute("aria-label", `Play ${displayName(event.label)} of ${event.time.slice(11, 19)}`);
    play.addEventListener("click", () => this.toggle(row));
    item.style.setProperty("--hue", classColour(event.label));
    item.append(time, what, length, score, play);
    item.dataset.key = key;
    this.rows.set(key, row);
    this.place(item, event.time);
    return row;
  }

  // Insert an item in order of time, newest first; a line marks each change of the day.
  place(item, time) {
    this.empty.hidden = true;
    item.dataset.at = Date.parse(time);
    item.dataset.day = time.slice(0, 10);
    let below = this.list.firstElementChild;
    while (below && Number(below.dataset.at) > Number(item.dataset.at)) {
      below = below.nextElementSibling;
    }
    this.list.insertBefore(item, below);
    while (this.list.childElementCount > MAX_ROWS) {
      const last = this.list.lastElementChild;
      this.rows.delete(last.dataset.key);
      last.remove();
    }
    const near = [item.previousElementSibling, item.nextElementSibling];
    if (near.some((other) => other && other.dataset.day !== item.dataset.day)) this.showDays();
  }

  showDays() {
    for (const line of this.list.querySelectorAll(".day")) line.remove();
    const items = [...this.list.children];
    items.slice(1).forEach((item, i) => {
      if (item.dataset.day === items[i].dataset.day) return;
      const line = part("li", "day", new Date(`${item.dataset.day}T12:00`).toLocaleDateString(
        undefined, { weekday: "long", day: "numeric", month: "long" }));
      line.dataset.at = Number(item.dataset.at) + 0.5;
      line.dataset.day = item.dataset.day;
      this.list.insertBefore(line, item);
    });
  }

  remove(key, row) {
    row.item.remove();
    this.rows.delete(key);
  }

  toggle(row) {
    if (this.playing === row && !this.player.paused) return this.player.pause();
    if (this.playing !== row) {
      this.playing?.play.style.removeProperty("--played");
      this.playing = row;
      this.player.src = `/clips/${row.event.id}`;
    }
    this.player.play().catch(() => { /* Another clip was chosen, or the `error` event follows. */ });
  }

  showPlayer() {
    for (const { play } of this.rows.values()) play.classList.remove("plays");
    const { currentTime, duration, paused, ended } = this.player;
    const share = ended || !duration ? 0 : currentTime / duration;
    this.playing?.play.classList.toggle("plays", !paused);
    this.playing?.play.style.setProperty("--played", `${(100 * share).toFixed(1)}%`);
  }

  fail() {
    if (!this.playing) return;
    this.playing.play.disabled = true;
    this.playing.play.title = "This clip was deleted.";
    this.playing.play.classList.remove("plays");
  }
}

function part(kind, className, text) {
  return Object.assign(document.createElement(kind), { className, textContent: text });
}

// The current local time in ISO 8601, as the server formats times.
function localTime() {
  const now = new Date();
  return new Date(now - 60_000 * now.getTimezoneOffset()).toISOString().replace("Z", "");
}
