// Spectrogram, borders and playback of one event.

import { get } from "/api.js";

const SHORTEST = 0.02; // seconds of an event
const at = (id) => document.getElementById(id);

export class SoundView {
  constructor() {
    this.player = at("player");
    this.handles = [...document.querySelectorAll(".handle")];
    this.shown = 0; // counts the events, so that late responses are passed over
    this.sound = null;
    for (const handle of this.handles) {
      handle.addEventListener("pointerdown", (event) => this.grab(event, handle));
    }
    at("view").addEventListener("click", (event) => this.seek(event));
    at("play").addEventListener("click", () => this.toggle());
    at("reset").addEventListener("click", () => this.setBorders(...this.original));
    for (const side of ["onset", "offset"]) {
      at(side).addEventListener("change", () => this.setBorders(Number(at("onset").value), Number(at("offset").value)));
    }
    for (const name of ["play", "pause", "ended"]) {
      this.player.addEventListener(name, () => this.follow());
    }
  }

  // Show an event with the borders that `reviewer` gave it, if any.
  async show(event, reviewer) {
    const shown = ++this.shown;
    const own = event.decisions.find((each) => each.reviewer === reviewer);
    this.player.pause();
    this.sound = null;
    this.event = event;
    this.original = [event.onset, event.offset];
    at("failure").hidden = true;
    at("picture").removeAttribute("src");
    at("axis").replaceChildren();
    at("highest").textContent = "";
    this.setBorders(own ? own.onset : event.onset, own ? own.offset : event.offset);
    const sound = await get(`/events/${event.id}/sound`).catch((error) => ({ error: error.message }));
    if (shown !== this.shown) return;
    if (sound.error) {
      at("failure").textContent = sound.error;
      at("failure").hidden = false;
      return;
    }
    this.sound = sound;
    at("picture").src = `/events/${event.id}/spectrogram.png?${sound.version}`;
    this.player.src = `/events/${event.id}/sound.flac?${sound.version}`;
    at("highest").textContent = `${(this.sound.top_hz / 1000).toLocaleString("en", { maximumFractionDigits: 1 })} kHz`;
    this.drawAxis();
    this.draw();
    if (at("autoplay").checked) this.play();
  }

  get isAdjusted() {
    return this.borders.some((value, i) => Math.abs(value - this.original[i]) > 5e-4);
  }

  setBorders(onset, offset) {
    if (!Number.isFinite(onset) || !Number.isFinite(offset)) [onset, offset] = this.borders;
    const from = Math.max(0, onset);
    this.borders = [from, Math.max(from + SHORTEST, offset)];
    this.draw();
  }

  // Move one border; the other one stays where it is.
  move(side, seconds) {
    const [onset, offset] = this.borders;
    if (side === "onset") this.setBorders(Math.min(onset + seconds, offset - SHORTEST), offset);
    else this.setBorders(onset, Math.max(offset + seconds, onset + SHORTEST));
  }

  share(seconds) {
    return (seconds - this.sound.start) / this.sound.seconds;
  }

  draw() {
    at("onset").value = this.borders[0].toFixed(3);
    at("offset").value = this.borders[1].toFixed(3);
    at("reset").hidden = !this.isAdjusted;
    at("region").hidden = this.sound === null;
    at("playhead").hidden = true;
    for (const handle of this.handles) handle.hidden = this.sound === null;
    at("play").disabled = this.sound === null;
    if (this.sound === null) return;
    const [from, to] = this.borders.map((seconds) => this.share(seconds));
    at("region").classList.toggle("adjusted", this.isAdjusted);
    at("region").style.setProperty("--from", `${100 * from}%`);
    at("region").style.setProperty("--to", `${100 * to}%`);
    for (const [i, share] of [from, to].entries()) {
      this.handles[i].style.setProperty("--at", `${100 * share}%`);
      this.handles[i].hidden = share < 0 || share > 1;
    }
    this.drawPlayhead();
  }

  drawAxis() {
    const { start, seconds } = this.sound;
    const steps = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20];
    const step = steps.find((each) => seconds / each <= 8) || 20;
    const marks = [];
    for (let n = Math.ceil(start / step + 0.25); n * step < start + seconds - step / 4; n++) {
      const mark = document.createElement("span");
      mark.textContent = `${(n * step).toFixed(step < 1 ? 1 : 0)} s`;
      mark.style.setProperty("--at", `${100 * this.share(n * step)}%`);
      marks.push(mark);
    }
    at("axis").replaceChildren(...marks);
  }

  grab(event, handle) {
    event.preventDefault();
    handle.setPointerCapture(event.pointerId);
    const drag = (moved) => {
      const i = handle.dataset.side === "onset" ? 0 : 1;
      this.move(handle.dataset.side, this.timeAt(moved) - this.borders[i]);
    };
    handle.addEventListener("pointermove", drag);
    const end = () => handle.removeEventListener("pointermove", drag);
    handle.addEventListener("lostpointercapture", end, { once: true });
  }

  timeAt(event) {
    const box = at("view").getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return this.sound.start + share * this.sound.seconds;
  }

  seek(event) {
    if (this.sound === null || event.target.closest(".handle")) return;
    this.player.currentTime = this.timeAt(event) - this.sound.start;
    this.play();
  }

  toggle() {
    if (this.sound === null) return;
    if (this.player.paused) this.play();
    else this.player.pause();
  }

  play() {
    // Browsers refuse to play before the first click or key.
    this.player.play().catch(() => {});
  }

  follow() {
    const plays = !this.player.paused && !this.player.ended;
    at("play").classList.toggle("plays", plays);
    this.drawPlayhead();
    if (plays) requestAnimationFrame(() => this.follow());
  }

  drawPlayhead() {
    const plays = !this.player.paused && !this.player.ended;
    at("playhead").hidden = !plays || this.sound === null;
    if (this.sound === null) return;
    at("playhead").style.setProperty("--at", `${100 * this.player.currentTime / this.sound.seconds}%`);
  }
}
