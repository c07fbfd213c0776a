// The page of a review: keys and buttons, decisions, progress.

import { get, post } from "/api.js";
import { classColour } from "/colours.js";
import { showPrecision } from "/precision.js";
import { Queue, fill } from "/queue.js";
import { SoundView } from "/sound.js";

const STEP = 0.05; // seconds that a key moves a border
const at = (id) => document.getElementById(id);
const sound = new SoundView();
const queue = new Queue((index) => show(index));
let overview = null;
let refreshing = 0;
let isBusy = false; // a decision is on its way
let noticeTimer = 0;

function notice(text, isBad = false) {
  at("notice").textContent = text;
  at("notice").classList.toggle("bad", isBad);
  at("notice").hidden = !text;
  clearTimeout(noticeTimer);
  if (text && !isBad) noticeTimer = setTimeout(() => notice(""), 6000);
}

// Run what may fail, and say so.
async function attempt(action) {
  try {
    return await action();
  } catch (error) {
    notice(error.message, true);
    return undefined;
  }
}

const reviewer = () => at("reviewer").value.trim();

async function show(index) {
  if (!(await queue.go(index))) return;
  draw();
  const event = queue.current;
  await sound.show(event, reviewer());
  const next = queue.events[index + 1];
  if (next && queue.current === event) preload(next);
}

// The next event shall be there when its turn comes; what is wrong with it is said then.
function preload(event) {
  get(`/events/${event.id}/sound`)
    .then((sound) => { if (!sound.error) new Image().src = `/events/${event.id}/spectrogram.png?${sound.version}`; })
    .catch(() => {});
}

function draw() {
  const event = queue.current;
  at("event").hidden = !event;
  at("none").hidden = Boolean(event);
  if (!event) return;
  at("event-label").textContent = event.label;
  at("event-label").style.setProperty("--colour", classColour(event.label));
  at("event-score").textContent = event.score.toFixed(3);
  const time = event.time && new Date(event.time.slice(0, 19)).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
  at("event-place").textContent = [event.file, `${event.onset.toFixed(2)} to ${event.offset.toFixed(2)} s`, time]
    .filter(Boolean).join(" · ");
  at("position").textContent = `${(queue.index + 1).toLocaleString("en")} of ${queue.n.toLocaleString("en")}`;
  at("label").value = "";
  const own = event.decisions.find((each) => each.reviewer === reviewer());
  for (const button of document.querySelectorAll("[data-verdict]")) {
    button.classList.toggle("chosen", button.dataset.verdict === own?.verdict);
  }
  drawDecisions(event, own);
}

// What others say is shown after one's own decision, so that it does not lead.
function drawDecisions(event, own) {
  const others = event.decisions.filter((each) => each !== own);
  const item = (...parts) => {
    const made = document.createElement("li");
    made.append(...parts);
    return made;
  };
  const said = (each) => {
    const name = document.createElement("b");
    name.textContent = each.reviewer || "(no name)";
    const isMoved = each.onset !== event.onset || each.offset !== event.offset;
    return item(name, `: ${each.verdict}${each.verdict === "relabelled" ? ` as ${each.true_label}` : ""}` +
      (isMoved ? `, ${each.onset.toFixed(2)} to ${each.offset.toFixed(2)} s` : ""));
  };
  const items = own ? [own, ...others].map(said) : [];
  if (!own && others.length) {
    items.push(item(`${others.length} other ${others.length === 1 ? "reviewer has" : "reviewers have"} decided; shown after your decision`));
  }
  if (own && others.length) {
    const certain = event.decisions.filter((each) => each.verdict !== "unsure").map((each) => each.true_label);
    if (certain.length > 1) items.push(item(new Set(certain).size === 1 ? "All agree." : "They disagree."));
  }
  at("decisions").replaceChildren(...items);
}

async function decide(verdict, label = "") {
  const event = queue.current;
  if (!event || isBusy) return;
  isBusy = true;
  const decision = { id: event.id, reviewer: reviewer(), verdict, label };
  if (sound.isAdjusted) [decision.onset, decision.offset] = sound.borders;
  const done = await attempt(() => post("/decide", decision));
  isBusy = false;
  if (!done) return;
  queue.update(done.event);
  refreshSoon();
  if (queue.index + 1 < queue.n) await attempt(() => show(queue.index + 1));
  else {
    draw();
    notice("This was the last event of the queue.");
  }
}

async function undo() {
  if (isBusy) return;
  isBusy = true;
  const done = await attempt(() => post("/undo", { reviewer: reviewer() }));
  isBusy = false;
  if (!done) return;
  if (!done.event) {
    notice("There is nothing to undo.");
    return;
  }
  refreshSoon();
  const index = done.event.id === undefined ? -1 : queue.update(done.event);
  if (index >= 0) await attempt(() => show(index));
  else notice(`Undone: ${[done.event.label, done.event.file].filter(Boolean).join(" in ")}`);
}

const classSelect = () => queue.form.elements.label;

async function refresh() {
  overview = await get("/overview");
  const forms = queue.form.elements;
  const reviewed = (each) => each.n - each.open;
  fill(forms.label, overview.classes.map((each) =>
    [each.id, `${each.label} (${reviewed(each).toLocaleString("en")} of ${each.n.toLocaleString("en")})`]), "all classes");
  fill(forms.site, overview.sites.map((name, i) => [i, name || "(none)"]), "all sites");
  fill(forms.day, overview.days.map((day, i) => [i, day || "unknown"]), "all days");
  at("labels").replaceChildren(...overview.labels.map((label) => new Option(label, label)));
  const n = overview.classes.reduce((sum, each) => sum + reviewed(each), 0);
  at("progress").textContent = `${n.toLocaleString("en")} of ${overview.n_events.toLocaleString("en")} reviewed`;
  const { shared, agreed } = overview.agreement;
  at("agreement").hidden = !shared;
  at("agreement").textContent = `Reviewers agree on ${agreed} of ${shared} events that two or more have decided.`;
  const chosen = overview.classes.find((each) => String(each.id) === forms.label.value);
  await showPrecision(forms.label.value, chosen ? chosen.label : "all classes");
}

// Decisions may come fast; the counts follow when they pause.
function refreshSoon() {
  clearTimeout(refreshing);
  refreshing = setTimeout(() => attempt(refresh), 300);
}

async function openQueue() {
  await attempt(async () => {
    await queue.open();
    draw();
    if (queue.n) await show(0);
  });
}

const KEYS = {
  y: () => decide("right"),
  n: () => decide("wrong"),
  u: () => decide("unsure"),
  z: undo,
  l: () => at("label").focus(),
  " ": () => sound.toggle(),
  ArrowRight: () => show(queue.index + 1),
  ArrowLeft: () => show(queue.index - 1),
  "[": () => sound.move("onset", -STEP),
  "{": () => sound.move("onset", STEP),
  "]": () => sound.move("offset", STEP),
  "}": () => sound.move("offset", -STEP),
};

document.addEventListener("keydown", (event) => {
  const isField = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (isField) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || event.ctrlKey || event.metaKey || (event.altKey && !"[]{}".includes(event.key))) return;
  // A button that has the focus keeps its own key.
  if (event.key === " " && event.target.matches("button, summary, input")) return;
  if (event.repeat && "ynu".includes(event.key)) return;
  event.preventDefault();
  attempt(action);
});

// A button that was clicked with the mouse gives the keys back.
document.addEventListener("click", (event) => {
  if (event.detail > 0) event.target.closest("button, input[type=checkbox]")?.blur();
});

for (const button of document.querySelectorAll("[data-verdict]")) {
  button.addEventListener("click", () => decide(button.dataset.verdict));
}
at("relabel").addEventListener("submit", (event) => {
  event.preventDefault();
  const label = at("label").value.trim();
  at("label").blur();
  if (label) decide("relabelled", label);
});
at("previous").addEventListener("click", () => attempt(KEYS.ArrowLeft));
at("next").addEventListener("click", () => attempt(KEYS.ArrowRight));
at("undo").addEventListener("click", undo);
at("export").addEventListener("click", async () => {
  const done = await attempt(() => post("/export", {}));
  if (done) notice(`Saved ${done.files.join(" and ")}`);
});
at("wanted").addEventListener("change", () => attempt(refresh));
at("reviewer").addEventListener("change", () => {
  localStorage.setItem("reviewer", reviewer());
  if (queue.form.elements.state.value === "mine") openQueue();
  else if (queue.current) attempt(() => show(queue.index));
});
queue.form.addEventListener("change", () => {
  openQueue();
  attempt(refresh);
});
queue.form.addEventListener("submit", (event) => event.preventDefault());

at("filters").open = !matchMedia("(max-width: 46rem)").matches;
at("reviewer").value = localStorage.getItem("reviewer") || "";
// Of many events the counts take longer than the first event, which is shown meanwhile.
const opened = openQueue();
await attempt(async () => {
  await refresh();
  if (overview.reviewer) at("reviewer").value = overview.reviewer;
});
await opened;
draw();
