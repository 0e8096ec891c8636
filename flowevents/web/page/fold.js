/* What the events of a run come to: its steps, what they said, and what they ask. No DOM, no clock.
 *
 * `newRun` makes a run, `fold` takes its next event, `statusOf` says how it stands. Nothing that an
 * event says throws, and an event that came before is passed over. What is kept is bounded: of a
 * text its end, of many steps and items those that came last and those that are open.
 *
 * A step is one execution of a node, a nested flow, or an item of a batch:
 *   span, kind ("flow", "node", "item"), node, items, label, step, attempt
 *   parent, inside    what encloses it; what is open in it, by span
 *   status            "running", "ok", "error" or "cancelled"; with duration (s) and error
 *   entries           what happened in it, in order: texts, values, questions, void attempts
 *   children          the items of a batch node; lost counts those that are kept no more
 *   done, total       how many items have ended, and of how many
 *   progress          the last Progress
 *   astray            the action that leads nowhere, where it does
 */

import { written } from "./written.js";

export const MOST_TEXT = 100_000; // characters of a text
export const MOST_STEPS = 400; // of a run
export const MOST_ITEMS = 200; // of a step
export const MOST_ENTRIES = 200; // of a step
const MOST_VALUE = 4_000; // characters of a value, and of what is void

export function newRun() {
  return {
    seq: 0, // of the last event
    root: null, // the run's own flow
    steps: [], // those with a row of their own, as they began
    lost: 0, // how many are kept no more
    told: null, // the last error that a step shows
    open: new Map(), // by span
    rows: new Map(), // by span: the steps, also when they have ended
    changed: new Set(), // steps since somebody cleared it
  };
}

export function fold(run, event) {
  if (!(event.seq > run.seq)) return;
  run.seq = event.seq;
  const step = run.open.get(event.span);
  TAKES[event.type]?.(run, event, step);
  for (const each of around(step ?? run.open.get(event.span))) run.changed.add(each);
}

/** `running`, `paused`, `done`, `failed` or `cancelled`; it is paused where nothing can go on. */
export function statusOf(run) {
  const ended = { ok: "done", error: "failed", cancelled: "cancelled" }[run.root?.status];
  if (ended) return ended;
  return run.root && waits(run.root) ? "paused" : "running";
}

/** Whether nothing in an open step can go on until somebody answers. */
export function waits(step) {
  if (step.inside.size) return [...step.inside.values()].every(waits);
  return step.entries.some((each) => each.state === "open");
}

/** A step and what encloses it, from inside out. */
export function* around(step) {
  for (let each = step; each; each = each.parent) yield each;
}

const TAKES = {
  __proto__: null,
  FlowStart: begin,
  NodeStart: begin,
  ItemStart: begin,
  FlowEnd: end,
  NodeEnd: end,
  ItemEnd: end,
  Chunk(run, event, found) {
    const step = rowOf(found);
    if (!step) return;
    const last = step.entries.at(-1);
    if (event.kind !== "output" || typeof event.data !== "string") {
      add(run, step, { type: "value", kind: event.kind, text: cut(written(event.data)) });
    } else if (last?.type === "text") {
      say(last, event.data);
    } else {
      add(run, step, say({ type: "text", text: "", from: 0 }, event.data));
    }
  },
  Progress(run, event, found) {
    const step = rowOf(found);
    if (!step) return;
    step.progress = { done: event.done, total: event.total, label: event.label };
  },
  Retry(run, event, step) {
    if (!step) return;
    const said = step.entries.filter((each) => each.type === "text" || each.type === "value");
    const text = said.map((each) => each.text).join("\n");
    step.entries = step.entries.filter((each) => !said.includes(each));
    forget(step);
    Object.assign(step, {
      attempt: event.attempt + 1,
      children: [],
      lost: 0,
      done: 0,
      progress: null,
    });
    const { error, wait, fallback, attempt } = event;
    add(run, step, { type: "void", error, wait, fallback, attempt, text: text.slice(-MOST_VALUE) });
  },
  Interrupt(run, event, step) {
    if (!step) return;
    const { id, prompt, choices, schema, expires } = event;
    const asked = step.entries.find((each) => each.id === id);
    step.entries = step.entries.filter((each) => each !== asked);
    const question = asked ?? { type: "question", id, times: 0 };
    Object.assign(question, { prompt, choices, schema, expires, state: "open" });
    question.times += 1;
    add(run, step, question);
  },
  Reply(run, event, step) {
    const question = step?.entries.find((each) => each.id === event.id);
    if (!question) return;
    question.state = "answered";
    question.answer = event.value;
  },
  Action(run, event) {
    const step = run.rows.get(event.span);
    if (!step || event.known !== false) return;
    step.astray = event.action;
    run.changed.add(step);
  },
};

// -- what begins and ends ------------------------------------------------------------------------

function begin(run, event) {
  const parent = run.open.get(event.parent) ?? null;
  const step = {
    span: event.span,
    kind: { FlowStart: "flow", NodeStart: "node", ItemStart: "item" }[event.type],
    node: event.node || event.flow || "",
    items: event.items ?? [],
    label: event.label ?? "",
    step: event.step,
    attempt: event.attempt || 1,
    parent,
    inside: new Map(),
    status: "running",
    duration: 0,
    error: null,
    entries: [],
    children: [],
    lost: 0,
    done: 0,
    total: null,
    progress: null,
    astray: null,
  };
  run.open.set(step.span, step);
  parent?.inside.set(step.span, step);
  if (!parent && !run.root) run.root = step;
  else if (step.kind === "item") beginItem(run, step, event);
  else list(run, step);
}

function beginItem(run, step, event) {
  const batch = step.parent;
  if (!batch) return;
  batch.total = event.total ?? batch.total;
  if (batch.kind !== "flow") {
    batch.children.push(step);
    if (batch.children.length > MOST_ITEMS) {
      const gone = batch.children.findIndex((each) => each.status === "ok");
      if (gone >= 0) batch.lost += batch.children.splice(gone, 1).length;
    }
  }
}

function end(run, event, step) {
  if (!step) return;
  close(run, step, event.status);
  step.duration = event.duration;
  const row = rowOf(step);
  if (event.error && row !== step && event.error !== run.told) {
    add(run, row, { type: "value", kind: `item ${step.items.at(-1) + 1}`, text: event.error });
  } else if (
    event.error &&
    (step.kind !== "flow" || step === run.root || event.error !== run.told)
  ) {
    step.error = event.error;
  }
  run.told = event.error ?? run.told;
  if (step.kind === "item" && step.parent) {
    Object.assign(step.parent, { done: event.done, total: event.total ?? step.parent.total });
  }
}

/** With a step all that is open in it is over. */
function close(run, step, status) {
  for (const each of [...step.inside.values()]) close(run, each, "cancelled");
  for (const each of step.entries) if (each.state === "open") each.state = "closed";
  step.status = status;
  run.open.delete(step.span);
  step.parent?.inside.delete(step.span);
  run.changed.add(step);
}

/** The questions that are open in a step are lost until they are asked again. */
function forget(step) {
  for (const each of step.entries) if (each.state === "open") each.state = "lost";
  step.inside.forEach(forget);
}

/** Where a step is shown: the items of a flow have no row, their nodes have. */
const rowOf = (step) =>
  step?.kind === "item" && step.parent?.kind === "flow" ? step.parent : step;

// -- what is kept --------------------------------------------------------------------------------

function list(run, step) {
  run.steps.push(step);
  run.rows.set(step.span, step);
  if (run.steps.length > MOST_STEPS) {
    const gone = run.steps.findIndex((each) => each.status !== "running");
    if (gone < 0) return;
    run.lost += 1;
    run.rows.delete(run.steps.splice(gone, 1)[0].span);
  }
}

/** Add an entry; the run's own flow has a row once it has something to say. */
function add(run, step, entry) {
  if (step === run.root && !run.rows.has(step.span)) list(run, step);
  step.entries.push(entry);
  if (step.entries.length > MOST_ENTRIES) {
    const gone = step.entries.findIndex((each) => each.state !== "open");
    if (gone >= 0) step.entries.splice(gone, 1);
  }
}

function say(entry, text) {
  entry.text += text;
  const over = entry.text.length - 2 * MOST_TEXT;
  if (over > 0) {
    entry.text = entry.text.slice(over + MOST_TEXT);
    entry.from += over + MOST_TEXT;
  }
  return entry;
}

const cut = (text) => (text.length > MOST_VALUE ? `${text.slice(0, MOST_VALUE)}…` : text);
