/* What is said in a step: texts, values, void attempts; its questions are in question.js. */

import { element, node, visible } from "./element.js";
import { MOST_TEXT } from "./fold.js";
import { drawQuestion } from "./question.js";
import { figure } from "./written.js";

const PIECE = 4_000; // characters of a text node: what is appended to, and what is let go

/** Draw an entry of a step. Gives its element, and `update()`, to be called when it has changed. */
export function drawEntry(entry) {
  return { text: drawText, value: drawValue, question: drawQuestion, void: drawVoid }[entry.type](
    entry,
  );
}

/** A text that grows: what is new is appended, and of a long one the beginning is let go. */
function drawText(entry) {
  const block = element("div", { class: "text", dir: "auto" });
  const cut = element("p", { class: "note", hidden: true }, "What came before is not shown.");
  let until = 0; // how much of it was appended
  let size = 0; // how many characters stand there

  function update() {
    const fresh = visible(entry.text.slice(Math.max(0, until - entry.from)));
    until = entry.from + entry.text.length;
    if (!fresh) return;
    const last = block.lastChild;
    if (last && last.length < PIECE) last.appendData(fresh);
    else block.append(node(fresh));
    size += fresh.length;
    while (size - block.firstChild.length > MOST_TEXT) {
      size -= block.firstChild.length;
      block.firstChild.remove();
    }
    cut.hidden = size >= until;
  }

  update();
  return { element: element("div", {}, cut, block), update };
}

function drawValue({ kind, text }) {
  const label = kind === "output" ? null : element("span", { class: "kind" }, kind);
  return { element: element("div", { class: "value", dir: "auto" }, label, text), update() {} };
}

function drawVoid({ attempt, error, wait, fallback, text }) {
  const then = fallback
    ? "retry by its fallback"
    : wait > 0
      ? `retry in ${figure(wait)} s`
      : "retry";
  const said = `Attempt ${attempt} failed, ${then}: ${error}`;
  if (!text.trim()) return { element: element("p", { class: "void" }, said), update() {} };
  const whole = element(
    "details",
    { class: "void" },
    element("summary", {}, said),
    element("del", { class: "text" }, text),
  );
  return { element: whole, update() {} };
}
