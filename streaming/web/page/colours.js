// The colour of a class: the same function of its label as `class_colour` in sed/events/plot_axes.py,
// so that it is the same in all pictures, pages and sessions, and legible on light and dark.

const kept = new Map();

export function classColour(label) {
  let colour = kept.get(label);
  if (!colour) kept.set(label, colour = computeColour(label));
  return colour;
}

function computeColour(label) {
  let number = 0x0f89c824;
  for (const byte of new TextEncoder().encode(label)) {
    number = Math.imul(number ^ byte, 0x01000193);
  }
  for (const [shift, factor] of [[16, 0x85ebca6b], [13, 0xc2b2ae35]]) {
    number = Math.imul(number ^ (number >>> shift), factor);
  }
  number = (number ^ (number >>> 16)) >>> 0;
  const hue = 2 * Math.PI * (number & 0xffff) / 0x10000;
  const lightness = 0.54 + 0.08 * ((number >>> 16) & 0xff) / 255;
  let chroma = 0.08 + 0.1 * (number >>> 24) / 255;
  let rgb = oklchToRgb(lightness, chroma, hue);
  while (!rgb.every((value) => value >= 0 && value <= 1)) {
    chroma *= 0.96;
    rgb = oklchToRgb(lightness, chroma, hue);
  }
  const two = (value) => Math.floor(255 * srgb(value) + 0.5).toString(16).padStart(2, "0");
  return `#${rgb.map(two).join("")}`;
}

function oklchToRgb(lightness, chroma, hue) {
  const a = chroma * Math.cos(hue), b = chroma * Math.sin(hue);
  const long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3;
  return [
    4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
  ];
}

function srgb(value) {
  return value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055;
}
