// List events, newest first, with notices between them; load older ones as the list is scrolled;
// mark and delete events.

import { count, dayName, displayName, seconds } from "./format.js";
import { ClipPlayer, EventRow, part } from "./row.js";

const MAX_ROWS = 1000;  // in the list; of more, those at the other end of it are removed
const N_LOADED = 100, MAX_NOTICES = 50;
const NEW_DELAY = 400;  // milliseconds from the end of an event to the request; later ones share it
const NEAR_END = 600;  // pixels to the end of the list from which older events are loaded

export class EventLog {
  constructor({ list, empty, player, older, newest, confirm, said }, filter) {
    Object.assign(this, { list, empty, older, newest, confirm, said, filter });
    this.player = new ClipPlayer(player);
    this.hasSeveralInputs = false;
    this.rows = new Map();  // of events, by time, input and label
    this.active = new Map();  // events that last, also those that are not shown
    this.notices = [];
    this.current = null;
    this.isChosen = false;  // whether a person has chosen the current row
    this.nReset = 0;  // counts resets, so that late responses are dropped
    this.hasOlder = this.isLoading = false;
    this.lastId = 0;  // of the events that were loaded
    this.timer = null;
    this.isDetached = false;  // whether newer events were removed from the list
    list.addEventListener("scroll", () => this.loadIfNearEnd(), { passive: true });
    list.addEventListener("keydown", (event) => this.press(event));
    list.addEventListener("focusin", ({ target }) => {
      this.isChosen = target !== list;
      this.setCurrent(this.rowOf(target));
    });
    older.addEventListener("click", () => this.loadOlder());
    newest.addEventListener("click", () => this.reset());
  }

  // Show the events of another filter from the newest on.
  async reset() {
    this.nReset++;
    this.isDetached = this.isLoading = this.hasOlder = false;
    this.rows.clear();
    this.current = null;
    this.isChosen = false;
    this.list.replaceChildren();
    this.list.scrollTop = 0;
    for (const event of this.active.values()) this.show(event, true);
    if (!this.filter.isActive) for (const notice of this.notices) this.placeNotice(notice);
    await this.load();
  }

  // Add the latest events of the database.
  async load() {
    if (this.isDetached) return;
    const events = await this.fetchEvents();
    if (!events) return;
    const wasEmpty = ![...this.rows.values()].some((row) => row.event.id !== undefined);
    const known = new Set([...this.rows.values()].map((row) => row.event.id));
    const hasGap = !wasEmpty && events.length === N_LOADED && !events.some(({ id }) => known.has(id));
    if (hasGap) return this.reset();
    this.keepPlace(() => { for (const event of events) this.show(event, false); });
    if (wasEmpty) this.hasOlder = events.length === N_LOADED;
    this.showState();
    this.loadIfNearEnd();
  }

  // Add what was stored since; the events that end get their ids and clips this way.
  async loadNew() {
    this.timer = null;
    if (!this.lastId) return this.load();
    const events = await this.fetchEvents({ after: this.lastId });
    this.keepPlace(() => { for (const event of events ?? []) this.show(event, false); });
    this.showState();
  }

  loadNewSoon() {
    this.timer ??= setTimeout(() => this.loadNew(), NEW_DELAY);
  }

  async loadOlder() {
    const known = [...this.rows.values()].map((row) => row.event).filter((event) => event.id);
    if (this.isLoading || !this.hasOlder || !known.length) return;
    this.isLoading = true;
    const asked = this.nReset;
    const last = known.reduce((a, b) =>
      (a.unix_time - b.unix_time || a.id - b.id) < 0 ? a : b);
    const isFocused = document.activeElement === this.older;
    const events = await this.fetchEvents({ before: last.id });
    if (asked !== this.nReset) return;
    if (events) {
      this.hasOlder = events.length === N_LOADED;
      for (const event of events.reverse()) this.show(event, false);
      this.removeNewest();
      this.showState();
      this.said.textContent = `${count(events.length, "older event")} loaded`;
      if (isFocused && this.older.hidden) this.list.focus();
    }
    this.isLoading = false;
    if (events) this.loadIfNearEnd();
  }

  // Return stored events, oldest first; null if that failed or came too late.
  async fetchEvents(place = {}) {
    const query = this.filter.query();
    const asked = this.nReset;
    for (const [name, value] of Object.entries({ limit: N_LOADED, ...place })) query.set(name, value);
    try {
      const response = await fetch(`/events?${query}`);
      const events = response.ok ? (await response.json()).events : null;
      if (asked !== this.nReset || !events) return null;
      for (const { id } of events) this.lastId = Math.max(this.lastId, id);
      return events;
    } catch {
      return null;  // The next connection loads them.
    }
  }

  loadIfNearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.list;
    if (scrollHeight - scrollTop - clientHeight < NEAR_END) this.loadOlder();
  }

  start(event) {
    this.active.set(keyOf(event), event);
    this.keepPlace(() => this.show(event, true));
    this.showState();
  }

  end(event) {
    this.active.delete(keyOf(event));
    this.keepPlace(() => this.show(event, false));
    if (event.id === undefined) this.loadNewSoon();
    this.showState();
  }

  change(event) {
    this.rows.get(keyOf(event))?.update(event, false, this.hasSeveralInputs);
  }

  delete(id) {
    const row = [...this.rows.values()].find(({ event }) => event.id === id);
    if (row) this.remove(row);
    this.showState();
  }

  activeLabels() {
    return new Set([...this.active.values()].map((event) => event.label));
  }

  removeActive() {
    this.active.clear();
    for (const row of [...this.rows.values()]) if (row.isActive) this.remove(row);
    this.showState();
  }

  addNotice(text, kind = "", time = localTime()) {
    const notice = { text, kind, time };
    this.notices = [...this.notices, notice].slice(-MAX_NOTICES);
    if (!this.filter.isActive && !this.isDetached) this.placeNotice(notice);
    this.showState();
  }

  placeNotice({ text, kind, time }) {
    const item = part("li", `notice ${kind}`, "");
    const at = Object.assign(part("time", "time", time.slice(11, 19)), { dateTime: time, title: time });
    item.append(at, part("p", "", text));
    this.place(item, time);
  }

  // Update the lengths of active events; `now` returns the position of an input in seconds.
  draw(now) {
    for (const { isActive, event, length } of this.rows.values()) {
      if (!isActive) continue;
      length.textContent = seconds(Math.max(event.offset, now(event.source)) - event.onset);
    }
  }

  show(event, isActive) {
    const key = keyOf(event);
    let row = this.rows.get(key);
    if ((isActive && row) || (!row && !this.filter.matches(event))) return;
    if (!row && this.isDetached && Date.parse(event.time) > Number(this.topTime)) return;
    if (!row) {
      row = new EventRow(key, event, {
        play: () => this.player.toggle(row),
        right: () => this.mark(row, "right"),
        wrong: () => this.mark(row, "wrong"),
        delete: () => this.askToDelete(row),
      });
      this.rows.set(key, row);
      row.isCurrent = false;
      this.place(row.item, event.time);
    }
    row.update(event, isActive, this.hasSeveralInputs);
  }

  get topTime() {
    return this.list.querySelector("li:not(.day)")?.dataset.at ?? Infinity;
  }

  // Insert an item in order of time, newest first.
  place(item, time) {
    item.dataset.at = Date.parse(time);
    item.dataset.day = time.slice(0, 10);
    const at = Number(item.dataset.at), last = this.list.lastElementChild;
    let below = last && at < Number(last.dataset.at) ? null : this.list.firstElementChild;
    while (below && Number(below.dataset.at) > at) below = below.nextElementSibling;
    this.list.insertBefore(item, below);
    while (!this.isLoading && this.list.childElementCount > MAX_ROWS + N_LOADED) {
      this.forget(this.list.lastElementChild);
      this.hasOlder = true;
    }
    // A newer event of the newest day goes below the line of that day.
    if (below?.className === "day" && below.dataset.day === item.dataset.day) {
      below.dataset.at = at + 0.5;
      this.list.insertBefore(below, item);
    }
    const near = [item.previousElementSibling, item.nextElementSibling];
    const isNewDay = near.every((other) => !other)
      || near.some((other) => other && other.dataset.day !== item.dataset.day);
    if (isNewDay) this.showDays();
  }

  // A line above the events of each day.
  showDays() {
    for (const line of this.list.querySelectorAll(".day")) line.remove();
    let day = null;
    for (const item of [...this.list.children]) {
      if (item.dataset.day === day) continue;
      day = item.dataset.day;
      const line = part("li", "day", dayName(day));
      line.dataset.at = Number(item.dataset.at) + 0.5;
      line.dataset.day = day;
      this.list.insertBefore(line, item);
    }
  }

  // After older events were added, the newest leave the list.
  removeNewest() {
    const extra = this.list.childElementCount - MAX_ROWS;
    if (extra <= 0) return;
    const before = this.list.scrollHeight;
    for (const item of [...this.list.children].slice(0, extra)) this.forget(item);
    this.showDays();
    this.isDetached = true;
    this.list.scrollTop -= before - this.list.scrollHeight;
  }

  forget(item) {
    if (item.dataset.key && this.current?.key === item.dataset.key) this.current = null;
    this.rows.delete(item.dataset.key);
    item.remove();
  }

  // Keep what is in view where it is, while rows above it are added.
  keepPlace(add) {
    const { scrollTop, scrollHeight } = this.list;
    add();
    if (scrollTop > 0) this.list.scrollTop = scrollTop + this.list.scrollHeight - scrollHeight;
  }

  showState() {
    this.empty.hidden = this.list.childElementCount > 0;
    this.empty.textContent = this.filter.isActive ? "No such events."
      : "No events yet. They appear here as soon as they start.";
    // Tab reaches the newest event until another one was chosen.
    if (!this.isChosen || !this.current) this.setCurrent(this.rowOf(this.list.querySelector(".event")));
    this.older.hidden = !this.hasOlder;
    this.newest.hidden = !this.isDetached;
  }

  remove(row) {
    const next = this.rowOf(row.item.nextElementSibling) ?? this.rowOf(row.item.previousElementSibling);
    const hadFocus = row.item.contains(document.activeElement);
    this.forget(row.item);
    this.showDays();
    this.setCurrent(next);
    if (hadFocus) (next?.shownButtons[0] ?? this.list).focus();
  }

  rowOf(element) {
    return this.rows.get(element?.closest?.("li")?.dataset.key) ?? null;
  }

  setCurrent(row) {
    if (!row || row === this.current) return;
    if (this.current) this.current.isCurrent = false;
    row.isCurrent = true;
    this.current = row;
  }

  press(event) {
    const { key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = this.rowOf(event.target);
    if (!row) {
      if (["ArrowDown", "ArrowUp"].includes(key) && this.current) {
        event.preventDefault();
        this.focus(this.current, 0);
      }
      return;
    }
    const place = row.shownButtons.indexOf(document.activeElement);
    const actions = {
      ArrowDown: () => this.focus(this.neighbour(row, "nextElementSibling"), place),
      ArrowUp: () => this.focus(this.neighbour(row, "previousElementSibling"), place),
      ArrowRight: () => this.focus(row, place + 1),
      ArrowLeft: () => this.focus(row, Math.max(0, place - 1)),
      p: () => row.playButton.hidden || this.player.toggle(row),
      y: () => this.mark(row, "right"),
      n: () => this.mark(row, "wrong"),
      Delete: () => this.askToDelete(row),
    };
    if (!actions[key] || (event.repeat && !key.startsWith("Arrow"))) return;
    event.preventDefault();
    actions[key]();
  }

  neighbour(row, side) {
    let item = row.item[side];
    while (item && !this.rows.has(item.dataset.key)) item = item[side];
    return this.rowOf(item);
  }

  focus(row, place) {
    const buttons = row?.shownButtons ?? [];
    buttons[Math.min(place, buttons.length - 1)]?.focus();
    row?.item.scrollIntoView({ block: "nearest" });
  }

  // Mark an event as right or wrong; the same mark again takes it back.
  async mark(row, verdict) {
    if (row.event.id === undefined) return;
    const given = row.event.verdict === verdict ? null : verdict;
    const changed = await this.send(row, "POST", "/verdict", { verdict: given });
    if (!changed) return;
    this.change(changed.event);
    this.said.textContent = `${given ?? "no mark"}: ${row.title}`;
  }

  askToDelete(row) {
    if (row.event.id === undefined) return;
    const clip = row.event.clip ? " and its clip" : "";
    this.confirm.querySelector("p").textContent = `Delete ${row.title}${clip}?`;
    this.confirm.returnValue = "";
    this.confirm.onclose = async () => {
      if (this.confirm.returnValue !== "yes" || !(await this.send(row, "DELETE", ""))) return;
      this.delete(row.event.id);
      this.said.textContent = `deleted: ${row.title}`;
    };
    this.confirm.showModal();
  }

  async send(row, method, path, content) {
    const body = content && JSON.stringify(content);
    try {
      const response = await fetch(`/events/${row.event.id}${path}`, {
        method, body, headers: body ? { "Content-Type": "application/json" } : {} });
      const result = await response.json();
      if (response.ok) return result;
      this.addNotice(result.error);
    } catch {
      this.addNotice(`${displayName(row.event.label)} was not changed: no connection`);
    }
    return null;
  }
}

function keyOf(event) {
  return `${event.time} ${event.source} ${event.label}`;
}

// The current local time in ISO 8601, as the server formats times.
function localTime() {
  const now = new Date();
  return new Date(now - 60_000 * now.getTimezoneOffset()).toISOString().replace("Z", "");
}
