/* How values and numbers are written. */

/** A value as a text: a string as it is, anything else as JSON. */
export function written(value) {
  return typeof value === "string" ? value : (JSON.stringify(value) ?? String(value));
}

/** A number with one decimal at most, or `?` where an event has none: JSON has only finite ones. */
export function figure(number) {
  return Number.isFinite(number) ? String(Math.round(number * 10) / 10) : "?";
}
