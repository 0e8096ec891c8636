/* The view of a run: its events are folded as they come, and drawn once a frame. */

import { alertIn, element, setText } from "./element.js";
import { follow } from "./feed.js";
import { fold, newRun, statusOf } from "./fold.js";
import { post } from "./server.js";
import { drawStep, keyed, updateStep } from "./step.js";

const HIDDEN = 500; // ms between two drawings of a tab that nobody sees
const NEAR = 60; // px from the end, within which the page follows what comes

const { run: id, seq } = document.querySelector("main").dataset;
const flow = document.querySelector("h1").textContent;
const status = document.querySelector("[role=status]");
const connection = document.getElementById("connection");
const failure = document.getElementById("failure");
const lost = document.getElementById("lost");
const cancel = document.getElementById("cancel");
const top = document.getElementById("top");
const list = keyed(document.getElementById("steps"), drawStep);

let known = Number(seq); // up to which event the page knew how the run stands when it was loaded
let run = newRun();
let waiting = false;

function changed() {
  if (waiting) return;
  waiting = true;
  if (document.hidden) setTimeout(draw, HIDDEN);
  else requestAnimationFrame(draw);
}

function draw() {
  waiting = false;
  const page = document.scrollingElement;
  const atEnd = page.scrollTop + page.clientHeight >= page.scrollHeight - NEAR;
  list.show(run.steps);
  const steps = [...run.changed];
  run.changed.clear();
  steps.forEach(updateStep);
  if (run.seq >= known) drawHead();
  if (atEnd) page.scrollTop = page.scrollHeight;
}

function drawHead() {
  const word = statusOf(run);
  setText(status, word);
  status.dataset.state = word;
  document.title = `${word} · ${flow}`;
  failure.hidden = !run.root?.error;
  setText(failure, run.root?.error ?? "");
  lost.hidden = !run.lost;
  setText(lost, `${run.lost} earlier steps are not shown.`);
  if (run.root && run.root.status !== "running" && !cancel.hidden) {
    if (cancel === document.activeElement) top.focus();
    cancel.hidden = true;
    alertIn(top, null);
  }
}

cancel.addEventListener("click", async () => {
  cancel.setAttribute("aria-busy", "true");
  try {
    await post("cancel");
    alertIn(top, null);
  } catch (error) {
    cancel.removeAttribute("aria-busy");
    alertIn(top, error.message);
  }
});

const hear = {
  events(events) {
    for (const event of events) fold(run, event);
    changed();
  },
  restart() {
    run = newRun();
    known = 0;
    changed();
  },
  lost(reason) {
    connection.hidden = !reason;
    setText(connection, reason ?? "");
  },
};

document.addEventListener("visibilitychange", draw);
follow(id, hear).catch((error) => hear.lost(error.message));
