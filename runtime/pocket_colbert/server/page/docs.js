// The API's page, from openapi.json: what can be asked, with examples, and a form to try it out.

import { $, make } from "./dom.js";

const BASE = new URL("./", import.meta.url);

/** Show the document. */
async function show() {
  const answer = await fetch(new URL("openapi.json", BASE));
  const api = await answer.json();
  $("version").textContent = api.info.version;
  $("about").append(...prose(api.info.description));
  $("access").hidden = !api.components.securitySchemes;
  $("token").value = sessionStorage.getItem("token") ?? "";
  $("access").addEventListener("submit", (event) => event.preventDefault());
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      $("operations").append(operationOf(api, path, method, operation));
      $("contents").append(entry(`op-${operation.operationId}`, `${method.toUpperCase()} ${path}`));
    }
  }
  for (const [name, schema] of Object.entries(api.components.schemas).sort()) $("types").append(typeOf(name, schema));
  $("types-title").hidden = false;
  $("contents").append(entry("types-title", "Types"));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

function entry(id, text) {
  const link = make("a", "", text);
  link.href = `#${id}`;
  return make("li", "", link);
}

function operationOf(api, path, method, operation) {
  const title = make("h3", "", make("span", `method ${method}`, method.toUpperCase()), make("span", "path", path));
  const shown = make("section", "operation", title, make("p", "", ...prose(operation.description)));
  shown.id = `op-${operation.operationId}`;
  const parameters = operation.parameters ?? [];
  if (parameters.length) {
    shown.append(make("h4", "", "Parameters"), table(["name", "in", "type", ""], parameters.map((p) =>
      [make("code", "", p.name), p.in, kindOf(p.schema), p.description ?? ""])));
  }
  const body = operation.requestBody?.content["application/json"];
  if (body) {
    shown.append(make("h4", "", "Body"), make("p", "", kindOf(body.schema)));
    const schema = api.components.schemas[body.schema.$ref?.split("/").pop()];
    if (schema) shown.append(fieldsOf(schema));
  }
  const rows = Object.entries(operation.responses).map(([status, { description, content }]) =>
    [status, content ? kindOf(content["application/json"].schema) : "", description]);
  const succeeds = (row) => row[0].startsWith("2");
  shown.append(make("h4", "", "Answer"), table(["status", "type", ""], rows.filter(succeeds)));
  shown.append(make("details", "", make("summary", "", "Errors"),
    table(["status", "type", ""], rows.filter((row) => !succeeds(row)))));
  const example = Object.values(operation.responses)[0]?.content?.["application/json"].example;
  if (example) shown.append(make("h4", "", "An answer"), pre(JSON.stringify(example, null, 2)));
  shown.append(make("h4", "", "With curl"), pre(curl(api, path, method, parameters, body)));
  shown.append(trial(path, method, parameters, body, operation.operationId));
  return shown;
}

function curl(api, path, method, parameters, body) {
  const query = parameters.some((p) => p.in === "query") ? "?id=bees" : "";
  const address = new URL(path.slice(1).replace("{model}", "any") + query, BASE);
  const parts = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}'${address}'`];
  if (api.components.securitySchemes) parts.push("-H 'Authorization: Bearer TOKEN'");
  if (body) {
    parts.push("-H 'Content-Type: application/json'");
    parts.push(`-d '${JSON.stringify(body.example ?? {}).replaceAll("'", "'\\''")}'`);
  }
  return parts.join(" \\\n  ");
}

/** Make a form that sends a request and shows the answer. */
function trial(path, method, parameters, body, id) {
  const form = make("form", "try");
  const fields = parameters.map((parameter) => {
    const field = make("input", "");
    field.id = `${id}-${parameter.name}`;
    field.required = true;
    field.placeholder = parameter.name === "id" ? "bees" : "";
    const label = make("label", "", parameter.name);
    label.htmlFor = field.id;
    form.append(label, field);
    return [parameter, field];
  });
  const text = make("textarea", "");
  if (body) {
    text.id = `${id}-body`;
    text.spellcheck = false;
    text.value = JSON.stringify(body.example ?? {}, null, 2);
    const label = make("label", "", "Body");
    label.htmlFor = text.id;
    form.append(label, text);
  }
  const send = make("button", "main", "Send");
  send.type = "submit";
  const said = make("p", "quiet", "");
  said.setAttribute("role", "status");
  const answer = pre("");
  answer.hidden = true;
  answer.classList.add("answer");
  form.append(make("div", "bar end", said, send), answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    said.textContent = "Sending …";
    try {
      const address = addressOf(path, fields);
      const headers = {};
      if ($("token").value) headers.Authorization = `Bearer ${$("token").value}`;
      if (body) headers["Content-Type"] = "application/json";
      const began = performance.now();
      const got = await fetch(address, { method: method.toUpperCase(), headers, body: body ? text.value : undefined });
      const content = await got.text();
      said.textContent = `${got.status} ${got.statusText}, ${(performance.now() - began).toFixed(0)} ms`;
      answer.textContent = pretty(content);
      answer.hidden = false;
    } catch {
      said.textContent = "The server cannot be reached. Check that it is running, then try again.";
    } finally {
      send.disabled = false;
    }
  });
  return make("details", "", make("summary", "", "Try it"), form);
}

function addressOf(path, fields) {
  let filled = path.slice(1);
  const query = new URLSearchParams();
  for (const [parameter, field] of fields) {
    if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(field.value));
    else query.append(parameter.name, field.value);
  }
  return new URL(`${filled}${query.size ? `?${query}` : ""}`, BASE);
}

function pretty(content) {
  try {
    return JSON.stringify(JSON.parse(content), null, 2);
  } catch {
    return content;
  }
}

function typeOf(name, schema) {
  const shown = make("section", "type", make("h3", "", name));
  shown.id = `type-${name}`;
  for (const part of (schema.description ?? "").split("\n\n").filter(Boolean)) shown.append(make("p", "", ...prose(part)));
  if (Object.keys(schema.properties ?? {}).length) shown.append(fieldsOf(schema));
  return shown;
}

function fieldsOf(schema) {
  const required = schema.required ?? [];
  return table(["field", "type", ""], Object.entries(schema.properties).map(([field, part]) => [
    make("span", "", make("code", "", field), required.includes(field) ? "" : " (optional)"),
    kindOf(part), make("span", "", ...prose(part.description ?? "")),
  ]));
}

/** Return a text as nodes; what is between backticks is code. */
function prose(text) {
  return text.split("`").map((part, n) => (n % 2 ? make("code", "", part) : document.createTextNode(part)));
}

/** Say in words of which type a schema is; the names of types lead to them. */
function kindOf(schema) {
  if (!schema) return "";
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    const link = make("a", "", name);
    link.href = `#type-${name}`;
    return link;
  }
  const choices = schema.anyOf ?? schema.oneOf;
  if (choices) {
    const shown = make("span", "");
    choices.filter((each) => each.pattern === undefined).forEach((choice, n) => shown.append(n ? " or " : "", kindOf(choice)));
    return shown;
  }
  if (schema.const !== undefined) return make("code", "", JSON.stringify(schema.const));
  if (schema.enum) return make("span", "", schema.enum.map((value) => JSON.stringify(value)).join(" or "));
  if (schema.type === "array") return make("span", "", "list of ", kindOf(schema.items ?? { type: "anything" }), range(schema.minItems, schema.maxItems));
  const ends = range(schema.minimum ?? schema.minLength, schema.maximum ?? schema.maxLength);
  const unit = ends && schema.maxLength !== undefined ? " characters" : "";
  return make("span", "", [schema.type ?? "anything"].flat().join(" or "), ends, unit);
}

function range(least, most) {
  if (least === undefined && most === undefined) return "";
  return most === undefined ? `, from ${least}` : `, ${least ?? 0} to ${most}`;
}

function table(names, rows) {
  const head = make("tr", "", ...names.map((name) => make("th", "", name || "meaning")));
  const body = rows.map((row) => make("tr", "", ...row.map((cell) => make("td", "", cell))));
  const outer = make("div", "wide", make("table", "", make("thead", "", head), make("tbody", "", ...body)));
  outer.tabIndex = 0;
  outer.setAttribute("role", "group");
  outer.setAttribute("aria-label", "Table");
  return outer;
}

function pre(text) {
  const made = make("pre", "", make("code", "", text));
  made.tabIndex = 0;
  made.setAttribute("role", "group");
  made.setAttribute("aria-label", "Code");
  return made;
}

show().catch(() => {
  $("problem-text").textContent = "The description cannot be loaded. Check that the server is running, then reload.";
});
