// A row of the list of events: what was detected, with buttons to play, mark and delete it.

import { classColour } from "./colours.js";
import { dayName, displayName, seconds } from "./format.js";

// Paths of icons, 24 units wide and high.
const ICONS = {
  right: "M4 12.5 9.5 18 20 7",
  wrong: "M6 6 18 18M18 6 6 18",
  delete: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5.5M13.5 11v5.5",
};

export class EventRow {
  constructor(key, event, actions) {
    this.key = key;
    this.event = event;
    this.isActive = false;
    this.item = document.createElement("li");
    this.item.className = "event";
    this.item.dataset.key = key;
    this.item.style.setProperty("--colour", classColour(event.label));
    const name = displayName(event.label);
    const time = Object.assign(part("time", "time", event.time.slice(11, 19)),
      { dateTime: event.time, title: event.time });
    const what = part("span", "what", "");
    const label = Object.assign(part("span", "label", name), { title: name });
    this.from = part("span", "from", "");
    what.append(label, this.from);
    this.length = part("span", "length", "");
    this.score = part("span", "score", "");
    this.score.append(document.createElement("i"), part("span", "", ""));
    this.buttons = part("span", "buttons", "");
    this.buttons.append(...["play", "right", "wrong", "delete"].map((action) =>
      this.button(action, () => actions[action](this))));
    this.item.append(time, what, this.length, this.score, this.buttons);
  }

  button(action, onClick) {
    const button = part("button", action, "");
    const verb = { play: "Play", right: "Right", wrong: "Wrong", delete: "Delete" }[action];
    button.type = "button";
    button.tabIndex = -1;
    button.title = verb;
    button.setAttribute("aria-label", `${verb}: ${this.title}`);
    if (ICONS[action]) button.append(icon(ICONS[action]));
    button.addEventListener("click", onClick);
    this[`${action}Button`] = button;
    return button;
  }

  get title() {
    const { label, time } = this.event;
    return `${displayName(label)}, ${dayName(time)}, ${time.slice(11, 19)}`;
  }

  update(event, isActive, hasSeveralInputs) {
    this.event = { ...this.event, ...event };
    this.isActive = isActive;
    const { verdict, score, source, onset, offset, id } = this.event;
    this.item.classList.toggle("active", isActive);
    this.item.classList.toggle("is-wrong", verdict === "wrong");
    this.item.style.setProperty("--share", score.toFixed(3));
    this.from.textContent = hasSeveralInputs ? source : "";
    this.length.textContent = seconds(offset - onset);
    this.score.lastChild.textContent = score.toFixed(2);
    this.playButton.hidden = !this.event.clip;
    for (const action of ["right", "wrong", "delete"]) this[`${action}Button`].hidden = id === undefined;
    for (const action of ["right", "wrong"]) {
      this[`${action}Button`].setAttribute("aria-pressed", String(verdict === action));
    }
  }

  // Whether Tab reaches the buttons of this row.
  set isCurrent(value) {
    for (const button of this.buttons.children) button.tabIndex = value ? 0 : -1;
  }

  get shownButtons() {
    return [...this.buttons.children].filter((button) => !button.hidden && !button.disabled);
  }
}

// Plays the clip of one row at a time.
export class ClipPlayer {
  constructor(player) {
    this.player = player;
    this.row = null;
    for (const change of ["play", "pause", "ended", "timeupdate"]) {
      player.addEventListener(change, () => this.show());
    }
    player.addEventListener("error", () => this.fail());
  }

  toggle(row) {
    if (this.row === row && !this.player.paused) return this.player.pause();
    if (this.row !== row) {
      this.row?.playButton.classList.remove("plays");
      this.row?.playButton.style.removeProperty("--played");
      this.row = row;
      this.player.src = row.event.clip;
    }
    this.player.play().catch(() => { /* Another clip was chosen, or the `error` event follows. */ });
  }

  show() {
    const { currentTime, duration, paused, ended } = this.player;
    const share = ended || !duration ? 0 : currentTime / duration;
    this.row?.playButton.classList.toggle("plays", !paused);
    this.row?.playButton.style.setProperty("--played", `${(100 * share).toFixed(1)}%`);
  }

  fail() {
    if (!this.row) return;
    this.row.playButton.disabled = true;
    this.row.playButton.title = "This clip was deleted.";
    this.row.playButton.classList.remove("plays");
  }
}

export function part(kind, className, text) {
  return Object.assign(document.createElement(kind), { className, textContent: text });
}

function icon(path) {
  const make = (name, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const svg = make("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" });
  svg.append(make("path", { d: path }));
  return svg;
}
