// A client of the Vercel AI SDK: for each line of JSON on stdin, one on stdout with what came of it.
//
// Its arguments are the folder into which package.json was installed, and the package: `ai`, or an
// older one. A line has `url`, or `stream`: what a server is to have answered. It may have `body`
// and `chat`, and `answers`: what the questions in turn are answered with, at the server's
// /replies; or `abortAfter` (so many chunks), or `reconnect`.

import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2]);
const main = createRequire(join(folder, "package.json")).resolve(process.argv[3]);
const { DefaultChatTransport, readUIMessageStream } = await import(pathToFileURL(main));

async function converse(asked) {
  const came = { chunks: [], errors: [], message: null, error: null, status: null };
  const seen = { headers: {}, replies: [] };
  const fetchIt = async (url, init) => {
    const response =
      asked.stream === undefined
        ? await fetch(url, init)
        : new Response(asked.stream, { headers: { "content-type": "text/event-stream" } });
    seen.headers = Object.fromEntries(response.headers);
    seen.code = response.status;
    return response;
  };
  const transport = new DefaultChatTransport({
    api: asked.url ?? "http://127.0.0.1/",
    body: asked.body ?? {},
    fetch: fetchIt,
  });
  const abort = new AbortController();
  const chatId = asked.chat ?? "chat";
  const answers = [...(asked.answers ?? [])];
  const answered = new Set();
  const message = { id: "1", role: "user", parts: [{ type: "text", text: asked.text ?? "Hi" }] };
  try {
    const stream = asked.reconnect
      ? await transport.reconnectToStream({ chatId })
      : await transport.sendMessages({
          chatId,
          messages: [message],
          trigger: "submit-message",
          messageId: undefined,
          abortSignal: abort.signal,
        });
    if (stream !== null) {
      const watched = stream.pipeThrough(
        new TransformStream({
          async transform(chunk, controller) {
            came.chunks.push(structuredClone(chunk));
            if (came.chunks.length === asked.abortAfter) {
              abort.abort();
              controller.terminate();
              return;
            }
            const { type, data } = chunk;
            const asks = type === "data-interrupt" && data.open && !answered.has(data.id);
            if (asks && answers.length) {
              const value = answers.shift();
              const reply = await fetch(new URL(`/runs/${data.run}/replies`, asked.url), {
                method: "POST",
                headers: { "content-type": "application/json" },
                body: JSON.stringify({ id: data.id, value }),
              });
              answered.add(data.id);
              seen.replies.push(reply.status);
            }
            controller.enqueue(chunk);
          },
        }),
      );
      const onError = (error) => came.errors.push(String(error));
      for await (const each of readUIMessageStream({ stream: watched, onError })) {
        came.message = each;
      }
    }
  } catch (error) {
    came.error = String(error);
    came.status = error.statusCode ?? seen.code ?? null;
  }
  return { ...came, ...seen };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await converse(JSON.parse(line))) + "\n");
}
