// Everything that asks the server. A page over another source of answers replaces this file alone.
//
// Each function returns what the server's API returns (see /docs) or throws Refused.

const BASE = new URL("./", import.meta.url); // right below any path prefix

/** An answer that is not a success; `status` is 0 if there was none. */
export class Refused extends Error {
  constructor(status, kind, message) {
    super(message);
    this.status = status;
    this.kind = kind;
  }
}

let token = sessionStorage.getItem("token");

/** Say whether a token was given; `giveToken` gives one for this tab. */
export const hasToken = () => Boolean(token);

export function giveToken(given) {
  token = given;
  sessionStorage.setItem("token", given);
}

async function call(method, path, { body, signal } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(new URL(path, BASE), {
      method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "unreachable", "");
  }
  const content = await answer.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return {};
  });
  if (answer.ok) return content;
  const { type = "unknown", message = `The answer has status ${answer.status}.` } = content.error ?? {};
  throw new Refused(answer.status, type, message);
}

const byId = (id) => `api/documents?id=${encodeURIComponent(id)}`;

/** Describe what is served: documents, what can be done, how far indexing is. */
export const info = () => call("GET", "api/info");

/** Search; the request is that of POST /api/search. */
export const search = (request, signal) => call("POST", "api/search", { body: request, signal });

/** Return a document: { id, text, title, metadata, source, sections }. */
export const document = async (id) => (await call("GET", byId(id))).documents[0];

/** Return the fields of the metadata and their values. */
export const facets = async () => (await call("GET", "api/fields")).fields;

/** Delete a document. */
export const remove = (id) => call("DELETE", byId(id));

/** Add a document, or replace the one that has its id. */
export const add = (document, replace) =>
  call(replace ? "PUT" : "POST", "api/documents", { body: { documents: [document] } });
