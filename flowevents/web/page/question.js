/* A question where it stands: what is asked, a way to answer it while it is open, the answer. */

import { alertIn, element, setText } from "./element.js";
import { fieldsFor } from "./fields.js";
import { post } from "./server.js";
import { written } from "./written.js";

const TAKEN_WITHIN = 3_000; // milliseconds

let made = 0;

/** Draw a question. Gives its element, and `update()`, to be called when it has changed. */
export function drawQuestion(question) {
  const id = `question-${(made += 1)}`;
  const prompt = element("legend", { class: "prompt", dir: "auto" });
  const answer = element("p", { class: "answer", hidden: true });
  const whole = element("fieldset", { class: "question", tabindex: "-1" }, prompt, answer);
  let form = null;
  let times = 0;

  function update() {
    setText(prompt, written(question.prompt));
    if (question.state === "open" && times !== question.times) {
      times = question.times;
      form ??= whole.insertBefore(formFor(question, id), answer);
      form.removeAttribute("aria-busy");
      form.hidden = false;
      answer.hidden = true;
    }
    if (question.state === "lost" && form) form.hidden = true;
    if (question.state === "answered" || question.state === "closed") settle();
    whole.dataset.state = question.state;
  }

  function settle() {
    if (form?.contains(document.activeElement)) whole.focus();
    form?.remove();
    form = null;
    answer.hidden = false;
    setText(
      answer,
      question.state === "answered" ? `Answer: ${written(question.answer)}` : "Not answered",
    );
  }

  update();
  return { element: whole, update };
}

function formFor(question, id) {
  const form = element("form", { novalidate: true, autocomplete: "off" });
  if (question.expires) {
    const until = new Date(question.expires * 1000).toLocaleString();
    form.append(element("p", { class: "note" }, `Can be answered until ${until}.`));
  }
  if (question.choices) {
    const buttons = question.choices.map((choice) => {
      const button = element("button", { type: "button" }, written(choice) || '""');
      button.addEventListener("click", () => send(form, question, () => choice));
      return button;
    });
    form.append(element("div", { class: "choices" }, ...buttons));
  } else {
    const fields = fieldsFor(question.schema, id);
    form.append(
      ...fields.elements,
      element("div", { class: "choices" }, element("button", { class: "first" }, "Send")),
    );
    form.addEventListener("submit", () => send(form, question, fields.value));
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  return form;
}

/** Send an answer; the event of the reply removes the form, in every tab. */
async function send(form, question, value) {
  if (form.getAttribute("aria-busy")) return;
  form.setAttribute("aria-busy", "true");
  try {
    await post("replies", JSON.stringify({ id: question.id, value: value() }));
    alertIn(form, null);
    setTimeout(() => openAgain(form), TAKEN_WITHIN);
  } catch (error) {
    form.removeAttribute("aria-busy");
    alertIn(form, error.message);
  }
}

/** Where no node takes an answer that the server took: nobody drives the run, or its node refused. */
function openAgain(form) {
  if (!form.isConnected || !form.getAttribute("aria-busy")) return;
  form.removeAttribute("aria-busy");
  alertIn(form, "The answer was sent, but it is not taken so far. You can send another one.");
}
