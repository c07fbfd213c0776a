// The page: a socket that tells what happens, and who shows it.

import { Classes } from "./classes.js";
import { Log } from "./events.js";
import { History } from "./history.js";
import { Source } from "./source.js";
import { count, seconds, uptime } from "./words.js";

const FIRST_WAIT = 500, LONGEST_WAIT = 5000;  // milliseconds until it is tried again
const SILENCE = 8000;  // milliseconds without a word, after which a connection is given up

const at = (id) => document.getElementById(id);
const log = new Log(at("log"), at("no-events"), at("player"));
const classes = new Classes(at("classes"));
const history = new History(at("hours"), at("no-history"));
let sources = new Map();
let hello = null;
let lostAt = null, wait = FIRST_WAIT, heardAt = 0;

function source(name) {
  if (!sources.has(name)) {
    const made = new Source(name, hello);
    sources.set(name, made);
    at("sources").append(made.element);
    log.hasSources = sources.size > 1;
  }
  return sources.get(name);
}

const tell = {
  hello(told) {
    hello = told;
    at("model").textContent = `${told.model}, ${count(told.labels.length, "class", "classes")}`;
    at("sources").replaceChildren();
    sources = new Map();
    for (const status of told.status?.sources ?? []) source(status.name);
    for (const known of told.sources) source(known.source).fill(known);
    classes.reset(told.labels);
    log.forgetLasting();
    for (const event of told.lasting) tell.began({ event });
    if (told.status) tell.status(told.status);
    showLink("live", "live");
    if (lostAt) log.note(`connected again, after ${seconds((Date.now() - lostAt) / 1000)}`, "good");
    lostAt = null;
    wait = FIRST_WAIT;
    log.load();
    history.load();
  },
  heard(told) {
    source(told.source).hear(told);
    if (told.top) classes.take(told.source, told.top);
  },
  began({ event }) {
    log.begin(event);
    source(event.source).mark(event, true);
    classes.lasting = log.lasting();
  },
  ended({ event }) {
    log.end(event);
    source(event.source).mark(event, false);
    classes.lasting = log.lasting();
    history.loadSoon();
  },
  clip({ event }) { log.end(event); },
  gap(told) {
    const what = told.n_samples ? `${seconds(told.offset - told.onset)} lost` : "some sound lost";
    log.note(`${told.source}: ${what}: ${told.reason}`, "loss", told.time);
    if (told.n_samples) source(told.source).lose(told);
  },
  trouble(told) { log.note(told.text, "", told.time); },
  missed({ n }) {
    log.note(`this page was too slow, and missed ${count(n, "message")}`);
    log.forgetLasting();
    log.load();
  },
  status(told) {
    for (const status of told.sources) source(status.name).status = status;
    showStatus(told);
  },
};

function showLink(state, text) {
  at("link").dataset.state = state;
  at("link").textContent = text;
}

function showStatus(status) {
  const sum = (name) => status.sources.reduce((n, s) => n + s[name], 0);
  const lost = (name) => {
    const long = status.sources.reduce((n, s) => n + s[name] / s.sample_rate, 0);
    return sum(name) ? `${sum(name).toLocaleString("en")} samples (${long.toFixed(2)} s)` : "0";
  };
  const badIf = (n) => (n ? "bad" : "");
  const slow = status.real_time_factor >= 1 ? "bad" : status.real_time_factor >= 0.8 ? "warn" : "";
  const figures = [
    ["up", uptime(status.uptime_seconds), ""],
    ["latency", `${status.latency_seconds.toFixed(2)} s`, ""],
    ["load", `${Math.round(100 * status.real_time_factor)} %`, slow],
    ["dropped", lost("n_dropped"), badIf(sum("n_dropped"))],
    ["missing", lost("n_missing"), badIf(sum("n_missing"))],
    ["overflows", sum("n_overflows"), badIf(sum("n_overflows"))],
    ["gaps", sum("n_gaps"), badIf(sum("n_gaps"))],
    ["events", status.n_events.toLocaleString("en"), ""],
  ];
  at("status").replaceChildren(...figures.map(([name, value, state]) => {
    const figure = document.createElement("div");
    const term = document.createElement("dt"), text = document.createElement("dd");
    figure.className = state;
    term.textContent = name;
    text.textContent = value;
    figure.append(term, text);
    return figure;
  }));
}

function connect() {
  const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/live`);
  heardAt = Date.now();
  socket.onmessage = (message) => {
    heardAt = Date.now();
    for (const told of JSON.parse(message.data)) tell[told.type](told);
  };
  const watch = setInterval(() => {
    if (Date.now() - heardAt > SILENCE) socket.close();
  }, 1000);
  socket.onclose = () => {
    clearInterval(watch);
    lostAt ??= Date.now();
    showLink("lost", "no connection, trying again");
    setTimeout(reconnect, wait);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  };
}

// A token that is no longer right looks like a server that is gone: only a request can tell.
async function reconnect() {
  try {
    if ((await fetch("/health")).status === 401) return location.reload();
  } catch { /* it is not there yet */ }
  connect();
}

let drawnAt = performance.now();
function draw(now) {
  const passed = (now - drawnAt) / 1000;
  drawnAt = now;
  for (const each of sources.values()) each.draw(passed);
  classes.draw(passed);
  log.draw(passed);
  requestAnimationFrame(draw);
}

connect();
requestAnimationFrame(draw);
setInterval(() => history.load(), 60_000);
