/* The one way in which text gets into the page: as text, with its control characters made visible.
 *
 * What is escaped, and how, is as in `flowevents/escape.py`. */

const CONTROLS =
  /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]|[\ud800-\udfff]/gu;

export function visible(text) {
  return String(text).replaceAll("\r\n", "\n").replace(CONTROLS, escaped);
}

function escaped(character) {
  const code = character.charCodeAt(0);
  if (character === "\r") return "\\r";
  if (code >= 0xd800 && code <= 0xdfff) return "\ufffd";
  return code < 0x100 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`;
}

const hex = (code, digits) => code.toString(16).padStart(digits, "0");

/** An element with attributes, of which `null` and `false` are left out, and children. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value != null && value !== false)
      made.setAttribute(key, value === true ? "" : visible(value));
  }
  made.append(...children.filter((each) => each != null).map(node));
  return made;
}

export const node = (child) =>
  child instanceof Node ? child : document.createTextNode(visible(child));

/** Change the text of an element, where it is another. */
export function setText(target, text) {
  const shown = visible(text);
  if (target.textContent !== shown) target.textContent = shown;
}

/** Say why something was refused, to whoever sees or hears it; without a reason, take that back. */
export function alertIn(place, reason) {
  place.querySelector("[role=alert]")?.remove();
  if (reason) place.append(element("p", { role: "alert", class: "alert" }, reason));
}
