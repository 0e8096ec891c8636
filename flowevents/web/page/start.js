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
    const run = await post("runs", { flow: form.elements.flow.value, shared: given() });
    location.assign(`runs/${run.id}/view`);
  } catch (error) {
    alertIn(form, error.message);
  }
  form.removeAttribute("aria-busy");
});

function given() {
  shared.removeAttribute("aria-invalid");
  try {
    return JSON.parse(shared.value.trim() || "{}");
  } catch (error) {
    shared.setAttribute("aria-invalid", "true");
    shared.focus();
    throw new Error(`Shared is no JSON: ${error.message}`);
  }
}
