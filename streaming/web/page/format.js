// Format numbers, durations and names for display.

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

// The day of a time in ISO 8601, as the clock at the place showed it: "Friday, 27 November".
export function dayName(time, length = "long") {
  const date = new Date(`${time.slice(0, 10)}T12:00`);
  const isThisYear = date.getFullYear() === new Date().getFullYear();
  return date.toLocaleDateString("en-GB", { weekday: length, day: "numeric", month: length,
    ...(isThisYear ? {} : { year: "numeric" }) });
}
