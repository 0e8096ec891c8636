/* The form that starts a run and leads to its view. */

import { alertIn } from "./element.js";
import { post } from "./server.js";

const form = document.getElementById("start");
const shared = form.elements.shared;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (form.getAttribute("aria-busy")) return;
  form.setAttribute("aria-busy", "true");
  try {
    const flow = JSON.stringify(form.elements.flow.value);
    const run = await post("runs", `{"flow":${flow},"shared":${given()}}`);
    location.assign(`runs/${run.id}/view`);
  } catch (error) {
    alertIn(form, error.message);
  }
  form.removeAttribute("aria-busy");
});

/** The JSON as it was typed: parsed and written anew, large numbers would be others. */
function given() {
  const typed = shared.value.trim() || "{}";
  shared.removeAttribute("aria-invalid");
  try {
    JSON.parse(typed);
    return typed;
  } catch (error) {
    shared.setAttribute("aria-invalid", "true");
    shared.focus();
    throw new Error(`Shared is no JSON: ${error.message}`);
  }
}
