// An input: its level, and its spectrogram with the events that were found in it.

import { Picture } from "./picture.js";

const LOWEST_DB = -60;  // where the meter begins; it ends at full scale
const SMOOTHING_SECONDS = 0.3, FALL_DB = 20;  // of the level, and of the peak in a second
const CLIPPING_SECONDS = 2;
const LONGEST_PIECE_SECONDS = 3;  // without a further one, there is no level

export class Source {
  constructor(source, hello) {
    const copy = document.getElementById("source-template").content.cloneNode(true);
    this.element = copy.querySelector(".source");
    this.parts = Object.fromEntries(["source-format", "meter", "decibels", "clipping"]
      .map((part) => [part, copy.querySelector(`.${part}`)]));
    const title = copy.querySelector(".source-name");
    title.textContent = title.title = source;
    this.picture = new Picture(copy.querySelector("canvas"), hello);
    this.power = 0;
    this.peak = -Infinity;
    this.rms = LOWEST_DB;
    this.clipping = 0;
    this.silence = 0;  // seconds since a piece of sound came
  }

  set status(status) {
    const channels = ["", "mono", "stereo"][status.n_channels] ?? `${status.n_channels} channels`;
    const format = `${status.sample_rate / 1000} kHz, ${channels}`;
    const isHere = status.state === "listening";
    this.parts["source-format"].textContent = isHere ? format : status.state;
    this.parts["source-format"].dataset.state = status.state;
  }

  fill(known) {
    this.picture.take(known.strips, known.end);
  }

  hear(told) {
    if (told.strips) this.picture.take(told.strips, told.end);
    this.rms = told.rms_db;
    this.silence = 0;
    this.peak = Math.max(this.peak, told.peak_db);
    if (told.clips) this.clipping = CLIPPING_SECONDS;
  }

  mark(event, lasts) {
    this.picture.mark(event, lasts);
  }

  lose(gap) {
    this.picture.lose(gap);
  }

  draw(passed) {
    this.silence += passed;
    const power = this.silence < LONGEST_PIECE_SECONDS ? 10 ** (this.rms / 10) : 0;
    const share = 1 - Math.exp(-passed / SMOOTHING_SECONDS);
    this.power += share * (power - this.power);
    this.clipping -= passed;
    const level = 10 * Math.log10(this.power + 1e-12);
    this.peak = Math.max(level, this.peak - FALL_DB * passed);
    const place = (db) => Math.min(100, Math.max(0, 100 * (1 - db / LOWEST_DB)));
    this.parts.meter.style.setProperty("--empty", `${(100 - place(level)).toFixed(1)}%`);
    this.parts.meter.style.setProperty("--at", `calc(${place(this.peak).toFixed(1)}% - 2px)`);
    this.parts.clipping.hidden = this.clipping <= 0;
    const number = level.toFixed(0).replace("-", "−");
    this.parts.decibels.textContent = level > -100 ? `${number} dBFS` : "silent";
    this.picture.draw(passed);
  }
}
