/* The row of a step: its name, how it stands, what it said, and in a batch its items. */

import { element, setText } from "./element.js";
import { drawEntry } from "./entry.js";
import { around, waits } from "./fold.js";
import { figure, written } from "./written.js";

const rows = new WeakMap(); // by step

/** Draw a step or an item; what changes in it is drawn by `updateStep`. */
export function drawStep(step) {
  const row = rowOf(step);
  rows.set(step, row);
  return { element: row.element, update() {} };
}

export const updateStep = (step) => rows.get(step)?.update();

function rowOf(step) {
  const isItem = step.kind === "item";
  const state = element("span", { class: "state" });
  const tries = element("span", { class: "chip", hidden: true });
  const name = element(isItem ? "h4" : "h3", {}, ...(isItem ? [itemName(step)] : pathOf(step)));
  const head = element("div", { class: "head" }, name, ...chipsOf(step), tries, state);
  const entries = element("div", { class: "entries" });
  const progress = drawProgress(name.textContent);
  const items = keyed(element("ol", { class: "items", role: "list", hidden: true }), drawStep);
  const error = element("p", { class: "error", hidden: true });
  const astray = element("p", { class: "astray", hidden: true });
  const row = element(
    "li",
    { class: isItem ? "item" : "step" },
    head,
    entries,
    progress.element,
    items.element,
    error,
    astray,
  );
  const drawn = keyed(entries, drawEntry);
  row.style.setProperty("--depth", isItem ? 0 : depthOf(step));

  function update() {
    drawn.show(step.entries);
    items.show(step.children);
    items.element.hidden = step.children.length === 0;
    row.dataset.state = step.status === "running" && waits(step) ? "asking" : step.status;
    setText(state, stateOf(step));
    show(tries, step.attempt > 1 ? `attempt ${step.attempt}` : "");
    progress.update(step);
    show(error, step.error ?? "");
    show(astray, step.astray == null ? "" : `Its action ${written(step.astray)} leads nowhere.`);
  }

  update();
  return { element: row, update };
}

/** What is drawn of a list that changes, in its order; what is in it no more is taken away. */
export function keyed(parent, draw) {
  const drawn = new Map();
  return {
    element: parent,
    show(list) {
      const kept = new Set(list);
      for (const [each, made] of drawn) {
        if (!kept.has(each)) {
          made.element.remove();
          drawn.delete(each);
        }
      }
      let next = parent.firstElementChild;
      for (const each of list) {
        if (drawn.has(each)) drawn.get(each).update();
        else drawn.set(each, draw(each));
        const made = drawn.get(each).element;
        if (made === next) next = next.nextElementSibling;
        else insert(parent, made, next);
      }
    },
  };
}

/** Insert an element, which may be there already and have the focus. */
function insert(parent, made, next) {
  const focused = made.contains(document.activeElement) ? document.activeElement : null;
  parent.insertBefore(made, next);
  focused?.focus({ preventScroll: true });
}

function show(target, text) {
  target.hidden = text === "";
  setText(target, text);
}

// -- the name and how it stands ------------------------------------------------------------------

function pathOf(step) {
  const at = step.node.lastIndexOf("/") + 1;
  const above = step.node.slice(0, at);
  return [above ? element("span", { class: "above" }, above) : null, step.node.slice(at)];
}

const itemName = (item) => `Item ${item.items.at(-1) + 1}${item.label ? `: ${item.label}` : ""}`;

function chipsOf(step) {
  if (step.kind === "item") return [];
  const chips = [];
  for (const each of around(step.parent)) if (each.kind === "item") chips.unshift(itemName(each));
  if (step.step > 1) chips.unshift(`step ${step.step}`);
  if (step.kind === "flow") chips.unshift("flow");
  return chips.map((each) => element("span", { class: "chip" }, each));
}

function depthOf(step) {
  const flows = [...around(step.parent)].filter((each) => each.kind === "flow" && each.parent);
  return Math.min(flows.length, 4);
}

function stateOf(step) {
  if (step.status === "running") return waits(step) ? "asks" : "running";
  const took = `${figure(step.duration < 10 ? step.duration : Math.round(step.duration))} s`;
  return { ok: took, error: `failed after ${took}`, cancelled: "cancelled" }[step.status];
}

function drawProgress(name) {
  const bar = element("progress", { "aria-label": `Progress of ${name}` });
  const text = element("span");
  const whole = element("div", { class: "progress", hidden: true }, bar, text);
  return {
    element: whole,
    update({ status, progress, done, total, children, lost }) {
      const counted = children.length || total != null ? { done, total, label: "items" } : null;
      const shown = progress ?? counted;
      whole.hidden = !shown;
      if (!shown) return;
      bar.hidden = !(shown.total > 0 && status === "running");
      if (!bar.hidden) Object.assign(bar, { max: shown.total, value: shown.done });
      const of = shown.total == null ? "" : `/${figure(shown.total)}`;
      const rest = lost ? `(${lost} are not shown)` : "";
      setText(text, [figure(shown.done) + of, shown.label, rest].filter(Boolean).join(" "));
    },
  };
}
