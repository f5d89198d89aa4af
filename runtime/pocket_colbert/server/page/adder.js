// Adding a document, and giving the token that a server asks for.

import * as backend from "./backend.js";
import { $, tell } from "./dom.js";
import { said } from "./said.js";

const MAX_FILE = 4_000_000; // bytes

export async function add(event) {
  event.preventDefault();
  $("add-status").textContent = "";
  const added = { id: $("add-id").value, text: $("add-text").value, title: $("add-title").value || null };
  const submit = $("add").querySelector("[type=submit]");
  submit.disabled = true;
  try {
    await backend.add(added, $("add-replace").checked);
    $("add").reset();
    $("adder").close();
    tell("changed");
  } catch (error) {
    $("add-status").textContent = error.status === 409
      ? "There is a document with this id. Choose another id, or tick “Replace” below." : said(error);
  } finally {
    submit.disabled = false;
  }
}

/** Take text, id and title from a file. */
export async function take(file) {
  if (!file) return;
  const known = /\.(txt|md|markdown)$/i.test(file.name);
  if (!known || file.size > MAX_FILE) {
    $("add-status").textContent = known
      ? `A file has at most ${MAX_FILE / 1e6} MB. Split it, or index it with the command.`
      : "Only .txt and .md files can be added here. Put others into the folder that is served.";
    return;
  }
  try {
    const decoder = new TextDecoder("utf-8", { fatal: true });
    $("add-text").value = decoder.decode(await file.arrayBuffer());
    $("add-id").value = file.name;
    $("add-title").value = file.name.replace(/\.\w+$/, "").replace(/[-_]+/g, " ");
    $("add-status").textContent = "";
  } catch {
    $("add-status").textContent = "The file is not UTF-8 text. Save it as UTF-8, then choose it again.";
  }
}

let then = [];

/** Ask for the token; when it is right, do again what failed. */
export function askForToken(again) {
  then.push(again);
  $("ask-status").textContent = backend.hasToken() ? "That is not the token." : "";
  if (!$("asker").open) $("asker").showModal();
}

export async function answered(event) {
  event.preventDefault();
  backend.giveToken($("ask-token").value);
  try {
    await backend.info();
    $("asker").close();
    const again = then;
    then = [];
    for (const each of new Set(again)) await each();
  } catch (error) {
    $("ask-status").textContent = error.status === 401
      ? "That is not the token. Whoever started the server has it." : said(error);
  }
}
