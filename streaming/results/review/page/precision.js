// Chart of the precision by score, and the threshold that it suggests.

import { get } from "/api.js";

const LEFT = 30, TOP = 8, WIDTH = 385, HEIGHT = 140;
const at = (id) => document.getElementById(id);
const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;
const x = (score) => LEFT + WIDTH * Math.min(1, Math.max(0, score));
const y = (share) => TOP + HEIGHT * (1 - share);

function element(name, attributes, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function line(name, x1, y1, x2, y2) {
  return element("line", { class: name, x1, y1, x2, y2 });
}

function chart(found, wanted) {
  const parts = [];
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    parts.push(line("grid", LEFT, y(share), LEFT + WIDTH, y(share)));
    parts.push(element("text", { x: LEFT - 5, y: y(share) + 3, "text-anchor": "end" }, share.toFixed(2)));
  }
  parts.push(line("wanted", LEFT, y(wanted), LEFT + WIDTH, y(wanted)));
  const threshold = found.sure ?? found.estimated;
  if (threshold) parts.push(line("at", x(threshold.value), TOP, x(threshold.value), TOP + HEIGHT));
  for (const bin of found.bins) {
    const middle = x((bin.low + bin.high) / 2);
    if (!bin.n_reviewed) continue;
    parts.push(element("text", { x: middle, y: TOP + HEIGHT + 26, "text-anchor": "middle" }, `${bin.n_right}/${bin.n_reviewed}`));
    const mark = element("g", {});
    mark.append(element("title", {}, `${bin.n_right} of ${bin.n_reviewed} reviewed are right, of ${count(bin.n_events, "event")}; ` +
      `95 %: ${bin.interval.map((each) => each.toFixed(2)).join(" to ")}`));
    mark.append(line("interval", middle, y(bin.interval[0]), middle, y(bin.interval[1])));
    mark.append(element("circle", { class: "share", cx: middle, cy: y(bin.n_right / bin.n_reviewed), r: 4 }));
    parts.push(mark);
  }
  for (let score = 0; score <= 10; score += 2) {
    parts.push(element("text", { x: x(score / 10), y: TOP + HEIGHT + 13, "text-anchor": "middle" }, (score / 10).toFixed(1)));
  }
  parts.push(element("text", { x: LEFT + WIDTH / 2, y: TOP + HEIGHT + 39, "text-anchor": "middle" },
    "score; right / reviewed below"));
  at("chart").replaceChildren(...parts);
}

// Write what a threshold gives; it names none if there is none.
function describe(target, threshold, name, nothing) {
  target.replaceChildren();
  if (!threshold) {
    target.textContent = nothing;
    return;
  }
  const value = document.createElement("b");
  value.textContent = threshold.value.toFixed(3);
  const interval = threshold.interval.map((each) => each.toFixed(2)).join(" to ");
  target.append(`${name}: `, value,
    ` – precision ${threshold.precision.toFixed(2)} (95 %: ${interval}) from ${count(threshold.n_reviewed, "review")}, ` +
    `keeps ${count(threshold.n_events, "event")}`);
}

let asked = 0;

export async function showPrecision(label, name) {
  const wanted = Math.min(1, Math.max(0, Number(at("wanted").value) || 0));
  const number = ++asked;
  const found = await get("/precision", { label, wanted });
  if (number !== asked) return;
  at("precision-title").textContent = `Precision by score: ${name}`;
  chart(found, wanted);
  describe(at("sure"), found.sure, "Threshold whose lower bound reaches it",
    "No threshold is sure to reach it yet: review more events of high scores.");
  describe(at("estimated"), found.estimated, "By the estimate alone", "");
}
