// Show an input: its level, and its spectrogram with the detected events.

import { Spectrogram } from "./spectrogram.js";

const MIN_DB = -60;  // left end of the level meter; the right end is full scale
const SMOOTHING_SECONDS = 0.3, FALL_DB = 20;  // of the level; of the peak, per second
const CLIPPING_SECONDS = 2;  // how long the clipping mark stays
const MAX_BLOCK_SECONDS = 3;  // without a new block for longer, the level is silence

export class InputPanel {
  constructor(source, snapshot) {
    const copy = document.getElementById("source-template").content.cloneNode(true);
    this.element = copy.querySelector(".source");
    this.parts = Object.fromEntries(["source-format", "meter", "decibels", "clipping"]
      .map((part) => [part, copy.querySelector(`.${part}`)]));
    const title = copy.querySelector(".source-name");
    title.textContent = title.title = source;
    this.spectrogram = new Spectrogram(copy.querySelector("canvas"), snapshot);
    this.power = 0;
    this.peak = -Infinity;
    this.rms = MIN_DB;
    this.clipping = 0;
    this.idleSeconds = 0;  // since the last block
  }

  set status(status) {
    const channels = ["", "mono", "stereo"][status.n_channels] ?? `${status.n_channels} channels`;
    const format = `${status.sample_rate / 1000} kHz, ${channels}`;
    const isConnected = status.state === "listening";
    this.parts["source-format"].textContent = isConnected ? format : status.state;
    this.parts["source-format"].dataset.state = status.state;
  }

  // The seconds of the input at the right edge of the spectrogram.
  get now() {
    return this.spectrogram.head ?? 0;
  }

  restore({ cells, end }) {
    this.spectrogram.push(cells, end);
  }

  push(block) {
    if (block.cells) this.spectrogram.push(block.cells, block.end);
    this.rms = block.rms_db;
    this.idleSeconds = 0;
    this.peak = Math.max(this.peak, block.peak_db);
    if (block.clipped) this.clipping = CLIPPING_SECONDS;
  }

  markEvent(event, isActive) {
    this.spectrogram.markEvent(event, isActive);
  }

  markGap(gap) {
    this.spectrogram.markGap(gap);
  }

  draw(elapsed) {
    this.idleSeconds += elapsed;
    const power = this.idleSeconds < MAX_BLOCK_SECONDS ? 10 ** (this.rms / 10) : 0;
    const share = 1 - Math.exp(-elapsed / SMOOTHING_SECONDS);
    this.power += share * (power - this.power);
    this.clipping -= elapsed;
    const level = 10 * Math.log10(this.power + 1e-12);
    this.peak = Math.max(level, this.peak - FALL_DB * elapsed);
    const place = (db) => Math.min(100, Math.max(0, 100 * (1 - db / MIN_DB)));
    this.parts.meter.style.setProperty("--empty", `${(100 - place(level)).toFixed(1)}%`);
    this.parts.meter.style.setProperty("--at", `calc(${place(this.peak).toFixed(1)}% - 2px)`);
    this.parts.clipping.hidden = this.clipping <= 0;
    const number = level.toFixed(0).replace("-", "−");
    this.parts.decibels.textContent = level > -100 ? `${number} dBFS` : "silent";
    this.spectrogram.draw(elapsed);
  }
}
