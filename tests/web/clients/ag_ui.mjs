// An AG-UI client: for each line of JSON on stdin, one on stdout with what came of it.
//
// Its argument is the folder into which package.json was installed. A line has `url`, or `stream`:
// what a server is to have answered. It may have `state`, `messages`, `runId`, `answers` (for each
// further request, what each interrupt in turn is answered with), `always` (what all are answered
// with, until there are none), `abortAfter` (so many events) and `drop` (void messages are removed,
// as the docs show).

import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const folder = resolve(process.argv[2]);
const main = createRequire(join(folder, "package.json")).resolve("@ag-ui/client");
const { HttpAgent } = await import(pathToFileURL(main));

const said = [];
for (const level of ["log", "warn", "error"]) {
  console[level] = (...parts) => said.push(parts.map(String).join(" "));
}

async function converse(asked) {
  said.length = 0;
  const streamed = async () =>
    new Response(asked.stream, { headers: { "content-type": "text/event-stream" } });
  const agent = new HttpAgent({
    url: asked.url ?? "http://127.0.0.1/",
    threadId: asked.threadId ?? "thread",
    initialState: asked.state ?? {},
    initialMessages: asked.messages ?? [],
    ...(asked.stream === undefined ? {} : { fetch: streamed }),
  });
  const turns = [];
  let resume;
  const given = [undefined, ...(asked.answers ?? [])];
  for (const answers of given) {
    if (answers !== undefined) {
      resume = agent.pendingInterrupts.map(({ id }, index) => {
        const answer = answers[index];
        return answer === null
          ? { interruptId: id, status: "cancelled" }
          : { interruptId: id, status: "resolved", payload: answer };
      });
    }
    const turn = { events: [], error: null, status: null };
    turns.push(turn);
    try {
      const subscriber = {
        onEvent({ event }) {
          turn.events.push(event);
          if (turn.events.length === asked.abortAfter) agent.abortRun();
        },
        onCustomEvent({ event, messages }) {
          if (!asked.drop || event.name !== "retry") return;
          const { messageIds } = event.value;
          return { messages: messages.filter(({ id }) => !messageIds.includes(id)) };
        },
      };
      const runId = answers === undefined ? asked.runId : undefined;
      turn.result = (await agent.runAgent({ runId, resume }, subscriber)).result ?? null;
    } catch (error) {
      turn.error = String(error);
      turn.status = error.status ?? null;
    }
    turn.pending = structuredClone(agent.pendingInterrupts);
    turn.state = structuredClone(agent.state);
    turn.messages = structuredClone(agent.messages);
    if (asked.always !== undefined && turn.pending.length) {
      given.push(turn.pending.map(() => asked.always));
    }
  }
  return { turns, said: [...said] };
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(await converse(JSON.parse(line))) + "\n");
}
