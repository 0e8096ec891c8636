// A person in front of the chat of docs/front-ends.md, who answers a question in another tab.
//
// Its argument is a folder with the example as chat.jsx, and with a node_modules. Prints what the
// two tabs show in the end.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2]);
const need = createRequire(join(folder, "package.json"));
const { JSDOM } = need("jsdom");
const { transform } = need("sucrase");

const { window } = new JSDOM("<!DOCTYPE html><body></body>", { url: "http://127.0.0.1/" });
for (const name of ["document", "FormData", "HTMLElement", "Node", "Event"]) {
  globalThis[name] = window[name];
}
globalThis.window = window;

const React = need("react");
const { createRoot } = need("react-dom/client");
const options = { transforms: ["jsx"], jsxRuntime: "automatic", production: true };
const module = join(folder, "chat.mjs");
writeFileSync(module, transform(readFileSync(join(folder, "chat.jsx"), "utf-8"), options).code);
const { Chat } = await import(pathToFileURL(module));

function tab() {
  const shown = document.body.appendChild(document.createElement("div"));
  createRoot(shown).render(React.createElement(Chat, { id: "chat" }));
  return shown;
}

async function until(found) {
  for (let left = 1_500; left > 0; left--) {
    if (found()) return found();
    await new Promise((next) => setTimeout(next, 20));
  }
  throw new Error(`It never came to ${found}: ${document.body.innerHTML}`);
}

const first = tab();
const field = await until(() => first.querySelector("input"));
field.value = "Write to Ada.";
first.querySelector("form").requestSubmit();
await until(() => first.querySelector("article button"));
const second = tab();
(await until(() => second.querySelector("article button"))).click();
const shown = [first, second];
await until(() => shown.every((each) => /Send: ok/.test(each.textContent)));
console.log(JSON.stringify(shown.map((each) => each.querySelector("main").textContent)));
process.exit();
