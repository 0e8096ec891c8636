/* The events of a run, as they come, each once, for as long as it goes on.
 *
 * A browser opens at most six connections to a server over HTTP/1.1, for all tabs together. So at
 * most four tabs at a time hold a stream, and have a lock for it. The others ask every second
 * whether there is something new; where one of these is looked at, those that are not give up their
 * stream. Without locks, which come with https and loopback addresses only, a page always asks.
 */

import { reasonOf } from "./server.js";

const STREAMS = 4;
const POLL = 1_000; // ms
const POLL_HIDDEN = 5_000; // ms
const SILENCE = 30_000; // ms without a byte, after which a stream is opened anew
const LONGEST_WAIT = 4_000; // ms between two tries

/**
 * Follow a run to its end.
 *
 * @param id The run's.
 * @param to What is told: `events(list)` in order; `restart()` where the log is another one and
 *   begins again; `lost(reason)` where the connection is, and `lost(null)` when it is back.
 * Throws an `Error` where the server refuses.
 */
export async function follow(id, to) {
  const place = { id, to, seq: 0, over: false, failures: 0 };
  while (!place.over) {
    try {
      const streamed = await withLock(() => read(place, Infinity));
      if (!streamed && !document.hidden) wanted.postMessage("a stream");
      if (!streamed) await poll(place);
      if (!place.over && (!streamed || document.hidden)) {
        await pause(document.hidden ? POLL_HIDDEN : POLL);
      }
    } catch (error) {
      if (error instanceof Refused) throw error;
      place.failures += 1;
      if (place.failures > 2) to.lost("The connection is lost. Trying again …");
      await pause(Math.min(50 * 2 ** place.failures, LONGEST_WAIT));
    }
  }
}

const wanted = new BroadcastChannel("flowevents-stream");

class Refused extends Error {}

/** Do something that needs a connection for long. Gives whether there was one to be had. */
async function withLock(work) {
  if (!navigator.locks) return false;
  for (let n = 0; n < STREAMS; n += 1) {
    const had = await navigator.locks.request(
      `flowevents-stream-${n}`,
      { ifAvailable: true },
      async (lock) => {
        if (lock) await work();
        return lock !== null;
      },
    );
    if (had) return true;
  }
  return false;
}

async function poll(place) {
  const response = check(await fetch(`../${encodeURIComponent(place.id)}`, { cache: "no-store" }));
  if (!response.ok) throw new Refused(await reasonOf(response));
  await read(place, (await response.json()).seq);
}

/** Read events up to that one, the run's last, or until another tab wants the stream. */
async function read(place, until) {
  const control = new AbortController();
  const leave = () => until === Infinity && document.hidden && control.abort();
  let silence = 0;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(() => control.abort(), SILENCE);
  };
  wanted.addEventListener("message", leave);
  heard();
  try {
    const response = check(
      await fetch(`events?after=${place.seq}`, {
        headers: { Accept: "application/x-ndjson" },
        cache: "no-store",
        signal: control.signal,
      }),
    );
    if (response.status === 410) return again(place);
    if (response.status === 204) return void (place.over = true);
    if (!response.ok) throw new Refused(await reasonOf(response));
    place.failures = 0;
    place.to.lost(null);
    await take(place, response.body, until, heard);
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    clearTimeout(silence);
    wanted.removeEventListener("message", leave);
    control.abort();
  }
}

async function take(place, body, until, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  while (!place.over && place.seq < until) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The stream has ended before the run.");
    heard();
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    const events = lines.filter((line) => line.trim()).map((line) => JSON.parse(line));
    if (!events.length) continue;
    place.seq = events.at(-1).seq;
    place.over = events.at(-1).type === "FlowEnd" && events.at(-1).node === "";
    place.to.events(events);
  }
}

/** The log is not the one that was read: its run was deleted, and begun anew under its id. */
function again(place) {
  place.seq = 0;
  place.to.restart();
}

/** A server that is starting or overloaded is asked again; what else it says, counts. */
function check(response) {
  if (response.status === 429 || response.status >= 500) throw new Error(`${response.status}`);
  return response;
}

/** Wait so long, or until the tab is looked at or the network is back. */
function pause(milliseconds) {
  return new Promise((resolve) => {
    const timer = setTimeout(end, milliseconds);
    function end() {
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", end);
      window.removeEventListener("online", end);
      resolve();
    }
    document.addEventListener("visibilitychange", end);
    window.addEventListener("online", end);
  });
}
