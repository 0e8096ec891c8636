// Draws Mermaid pictures: a JSON list of texts on stdin, a list of {svg} or {error} on stdout.
//
// Its argument is the folder into which package.json was installed. jsdom has no layout, so every
// text gets a size from its length; which is enough for what the pictures hold and link to.

import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { text } from "node:stream/consumers";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2]);
const { JSDOM } = createRequire(join(folder, "package.json"))("jsdom");

const { window } = new JSDOM("<!DOCTYPE html><body></body>", { pretendToBeVisual: true });
for (const name of Object.getOwnPropertyNames(window)) {
  if (/^[A-Z]/.test(name) && !(name in globalThis)) globalThis[name] = window[name];
}
globalThis.window = window;
globalThis.document = window.document;

const sizeOf = (element) => ({
  x: 0, y: 0, top: 0, left: 0, width: 8 * (element.textContent.length + 1), height: 20,
});
window.SVGElement.prototype.getBBox = function () { return sizeOf(this); };
window.SVGElement.prototype.getComputedTextLength = function () { return sizeOf(this).width; };
window.Element.prototype.getBoundingClientRect = function () { return sizeOf(this); };

const main = pathToFileURL(join(folder, "node_modules/mermaid/dist/mermaid.core.mjs"));
const { default: mermaid } = await import(main);
mermaid.initialize({ startOnLoad: false });

const drawn = [];
for (const [number, source] of JSON.parse(await text(process.stdin)).entries()) {
  try {
    await mermaid.parse(source);
    drawn.push({ svg: (await mermaid.render(`picture${number}`, source)).svg });
  } catch (error) {
    drawn.push({ error: String(error) });
  }
}
process.stdout.write(JSON.stringify(drawn));
