// The page: receive messages over a WebSocket and pass them to the parts of the page.

import { ClassBars } from "./classes.js";
import { EventLog } from "./events.js";
import { Filter, localDay } from "./filter.js";
import { count, dayName, seconds, uptime } from "./format.js";
import { History } from "./history.js";
import { InputPanel } from "./input.js";

const FIRST_RETRY = 500, MAX_RETRY = 5000;  // milliseconds before a reconnection
const SILENCE_TIMEOUT = 8000;  // milliseconds without a message until the connection is closed

const MANY_SETTINGS = 12;  // in a group that takes the width of the page

const byId = (id) => document.getElementById(id);
const filter = new Filter(byId("filter"), showFilter);
const log = new EventLog({ list: byId("log"), empty: byId("no-events"), player: byId("player"),
  older: byId("older"), newest: byId("newest"), confirm: byId("confirm"), said: byId("said") }, filter);
const classes = new ClassBars(byId("classes"));
const history = new History({ element: byId("hours"), empty: byId("no-history"),
  title: byId("history-title") }, filter);
let inputs = new Map();
let snapshot = null;
let lostAt = null, retryDelay = FIRST_RETRY, receivedAt = 0;

function showFilter() {
  log.reset();
  history.load();
  showDownloads();
}

function showDownloads() {
  const day = filter.hour?.[0].slice(0, 10) ?? (filter.day || localDay());
  byId("download-day").textContent = `Download ${dayName(day, "short")}:`;
  for (const link of byId("downloads").querySelectorAll("a")) {
    const query = filter.query(false);
    query.set("day", day);
    link.href = `/download/${link.dataset.format}?${query}`;
    link.download = "";
  }
}

async function showSettings() {
  try {
    const response = await fetch("/settings");
    if (!response.ok) return;
    const groups = Object.entries(await response.json());
    byId("settings").hidden = !groups.length;
    byId("settings-groups").replaceChildren(...groups.map(([title, values]) => {
      const group = document.createElement("section"), list = document.createElement("dl");
      group.append(Object.assign(document.createElement("h3"), { textContent: title }), list);
      list.append(...Object.entries(values).map(([name, value]) => term(name, value)));
      group.classList.toggle("many", list.childElementCount > MANY_SETTINGS);
      return group;
    }));
  } catch { /* The next connection loads them. */ }
}

function term(name, value) {
  const item = document.createElement("div");
  item.append(Object.assign(document.createElement("dt"), { textContent: name }),
    Object.assign(document.createElement("dd"), { textContent: value }));
  return item;
}

function input(name) {
  if (!inputs.has(name)) {
    const panel = new InputPanel(name, snapshot);
    inputs.set(name, panel);
    byId("sources").append(panel.element);
    log.hasSeveralInputs = inputs.size > 1;
  }
  return inputs.get(name);
}

// One handler for each type of message.
const handlers = {
  snapshot(message) {
    snapshot = message;
    const nClasses = count(message.labels.length, "class", "classes");
    byId("model").textContent = `${message.model}, ${nClasses}`;
    byId("sources").replaceChildren();
    inputs = new Map();
    for (const status of message.status?.sources ?? []) input(status.name);
    for (const spectrogram of message.spectrograms) input(spectrogram.source).restore(spectrogram);
    classes.reset(message.labels);
    log.removeActive();
    for (const event of message.active_events) handlers.event_started({ event });
    if (message.status) handlers.status(message.status);
    showConnection("live", "live");
    if (lostAt) {
      log.addNotice(`connected again after ${seconds((Date.now() - lostAt) / 1000)}`, "good");
    }
    lostAt = null;
    retryDelay = FIRST_RETRY;
    filter.load(message.labels);
    log.load();
    history.load();
    showDownloads();
    showSettings();
  },
  audio_block(block) {
    input(block.source).push(block);
    if (block.top) classes.update(block.source, block.top);
  },
  event_started({ event }) {
    log.start(event);
    input(event.source).markEvent(event, true);
    classes.activeLabels = log.activeLabels();
  },
  event_ended({ event }) {
    log.end(event);
    input(event.source).markEvent(event, false);
    classes.activeLabels = log.activeLabels();
    history.loadSoon();
  },
  clip_saved({ event }) { log.end(event); },
  event_changed({ event }) { log.change(event); },
  event_deleted({ id }) {
    log.delete(id);
    history.loadSoon();
  },
  gap(gap) {
    const lost = gap.n_samples ? `${seconds(gap.offset - gap.onset)} lost` : "some audio lost";
    log.addNotice(`${gap.source}: ${lost}: ${gap.reason}`, "gap", gap.time);
    if (gap.n_samples) input(gap.source).markGap(gap);
  },
  problem({ text, time }) { log.addNotice(text, "", time); },
  missed({ n }) {
    log.addNotice(`this page was too slow and missed ${count(n, "message")}`);
    log.removeActive();
    log.load();
  },
  status(status) {
    for (const source of status.sources) input(source.name).status = source;
    showStatus(status);
  },
};

function showConnection(state, text) {
  byId("connection").dataset.state = state;
  byId("connection").textContent = text;
}

function showStatus(status) {
  const sum = (name) => status.sources.reduce((n, s) => n + s[name], 0);
  const lost = (name) => {
    const duration = status.sources.reduce((n, s) => n + s[name] / s.sample_rate, 0);
    return sum(name) ? `${sum(name).toLocaleString("en")} samples (${duration.toFixed(2)} s)` : "0";
  };
  const badIf = (n) => (n ? "bad" : "");
  const factor = status.real_time_factor;
  const items = [
    ["uptime", uptime(status.uptime_seconds), ""],
    ["latency", `${status.latency_seconds.toFixed(2)} s`, ""],
    ["real-time factor", factor.toFixed(2), factor >= 1 ? "bad" : factor >= 0.8 ? "warn" : ""],
    ["dropped", lost("n_dropped"), badIf(sum("n_dropped"))],
    ["missing", lost("n_missing"), badIf(sum("n_missing"))],
    ["overflows", sum("n_overflows"), badIf(sum("n_overflows"))],
    ["gaps", sum("n_gaps"), badIf(sum("n_gaps"))],
    ["events", status.n_events.toLocaleString("en"), ""],
  ];
  byId("status").replaceChildren(...items.map(([name, value, state]) =>
    Object.assign(term(name, value), { className: state })));
}

function connect() {
  const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/live`);
  receivedAt = Date.now();
  socket.onmessage = ({ data }) => {
    receivedAt = Date.now();
    for (const message of JSON.parse(data)) handlers[message.type](message);
  };
  const watchdog = setInterval(() => {
    if (Date.now() - receivedAt > SILENCE_TIMEOUT) socket.close();
  }, 1000);
  socket.onclose = () => {
    clearInterval(watchdog);
    lostAt ??= Date.now();
    showConnection("lost", "no connection, trying again");
    setTimeout(reconnect, retryDelay);
    retryDelay = Math.min(2 * retryDelay, MAX_RETRY);
  };
}

// A WebSocket does not say why it failed; a request does. Show the login page if the token changed.
async function reconnect() {
  try {
    if ((await fetch("/health")).status === 401) return location.reload();
  } catch { /* The server cannot be reached yet. */ }
  connect();
}

let drawnAt = performance.now();
function draw(now) {
  const elapsed = (now - drawnAt) / 1000;
  drawnAt = now;
  for (const panel of inputs.values()) panel.draw(elapsed);
  classes.draw(elapsed);
  log.draw((source) => inputs.get(source)?.now ?? 0);
  requestAnimationFrame(draw);
}

connect();
requestAnimationFrame(draw);
setInterval(() => history.load(), 60_000);
