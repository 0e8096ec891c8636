/* What the page asks of the server, and why it refuses. */

/** Post a text of JSON, or nothing. Gives the answer's JSON; throws an `Error` that says why. */
export async function post(url, body) {
  const response = await fetch(url, {
    method: "POST",
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body,
  }).catch(() => {
    throw new Error("The server cannot be reached. Try again.");
  });
  if (!response.ok) throw new Error(await reasonOf(response));
  return response.json().catch(() => null);
}

/** The sentence of an `application/problem+json`, or what else there is. */
export async function reasonOf(response) {
  const problem = await response.json().catch(() => ({}));
  return problem?.detail || problem?.title || `The server answers ${response.status}.`;
}
