// Format numbers, durations, names and colours for display.

export function seconds(value) {
  if (value < 60) return `${value.toFixed(1)} s`;
  return uptime(value).replace(/^0:/, "");
}

export function uptime(value) {
  const two = (n) => String(n % 60).padStart(2, "0");
  const whole = Math.floor(value);
  const hours = Math.floor(whole / 3600);
  const days = Math.floor(hours / 24);
  const clock = `${days ? hours % 24 : hours}:${two(Math.floor(whole / 60))}:${two(whole)}`;
  return days ? `${count(days, "day")} ${clock}` : clock;
}

export function count(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

export function displayName(label) {
  return label.replaceAll("_", " ");
}

const N_HUES = 8;

// The colour of a class: a hash of its label, so that it is the same in every session.
export function hue(label) {
  let hash = 7;
  for (const letter of label) hash = (31 * hash + letter.codePointAt(0)) >>> 0;
  return `--hue-${hash % N_HUES}`;
}
