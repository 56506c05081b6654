// The page: loads the document, shows every operation, and searches them.

import { prepareAccount } from "./account.js";
import { $, el, prose } from "./dom.js";
import { Schemas } from "./schema.js";
import { tryForm } from "./tryit.js";

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options", "trace"];
const CODE = / (?=`[a-z_]+`: )/; // where the next reason begins in the description of a refusal
const shown = []; // {card, link, words} of each operation

async function load() {
  try {
    const response = await fetch("openapi.json", { headers: { Accept: "application/json" } });
    if (!response.ok) throw new Error(`The gateway responded to openapi.json with ${response.status}.`);
    show(await response.json());
  } catch (error) {
    const words = error instanceof TypeError ? "The gateway does not respond." : error.message;
    notice("fault", `The API description could not be loaded. ${words} Check that it is running, then try again.`);
    $("found").textContent = "";
  }
}

function notice(kind, words) {
  const again = el("button", { type: "button", onclick: () => location.reload() }, "Try again");
  $("notices").replaceChildren(el("div", { class: `notice ${kind}`, role: "alert" }, el("p", {}, words), again));
}

function show(api) {
  const schemas = new Schemas(api);
  const missing = api["x-unavailable"] ?? [];
  if (missing.length) {
    notice("warning", `No response from ${missing.join(", ")}: those operations are missing here. Check that it is running, then try again.`);
  }
  $("version").textContent = api.info.version;
  $("about").replaceChildren(...prose(api.info.description.split(" Missing from this document")[0]));
  for (const { name } of api.tags) {
    const operations = operationsOf(api, name);
    if (operations.length) showService(name, operations, schemas);
  }
  prepareAccount(Boolean(api.paths["/auth/login"]?.post));
  search();
  follow();
}

function operationsOf(api, tag) {
  return Object.entries(api.paths).flatMap(([path, item]) => METHODS
    .filter((method) => item[method]?.tags.includes(tag))
    .map((method) => ({
      ...item[method], path, method: method.toUpperCase(), id: item[method].operationId ?? `${method}${path}`,
      parameters: [...(item.parameters ?? []), ...(item[method].parameters ?? [])],
      needsToken: item[method].security.length > 0,
      scopes: item[method].security.flatMap((schemes) => Object.values(schemes).flat()),
    })));
}

function showService(name, operations, schemas) {
  const entries = operations.map((operation) => ({
    card: card(operation, schemas),
    link: el("li", {}, el("a", { href: `#${operation.id}`, title: operation.summary?.replaceAll("`", "") }, method(operation), operation.path)),
    words: [name, operation.method, operation.path, operation.summary, operation.id].join(" ").toLowerCase(),
  }));
  shown.push(...entries);
  $("services").append(el("section", { id: `service-${name}`, "aria-labelledby": `title-${name}` },
    el("h2", { id: `title-${name}` }, name, el("span", { class: "muted" }, ` ${operations.length}`)),
    entries.map((entry) => entry.card)));
  $("contents").append(el("div", { class: "service" }, el("a", { href: `#service-${name}` }, name),
    el("ul", {}, entries.map((entry) => entry.link))));
}

const method = (operation) =>
  el("span", { class: `method ${operation.method.toLowerCase()}` }, operation.method);

/** One operation; its content is created when it is first opened. */
function card(operation, schemas) {
  const parts = operation.path.split(/(?={)|(?<=})|(?=\/)/);
  const made = el("details", { class: "operation", id: operation.id }, el("summary", {}, method(operation),
    el("code", { class: "path" }, parts.map((part) => [el("wbr"), part.startsWith("{") ? el("em", {}, part) : part])),
    el("span", { class: "about" }, prose(operation.summary)),
    operation.needsToken && el("span", { class: "pill" }, "token")));
  made.addEventListener("toggle", () => {
    if (made.open && made.children.length === 1) made.append(inside(operation, schemas));
  });
  return made;
}

function inside(operation, schemas) {
  return el("div", { class: "inside" },
    el("div", { class: "says" }, operation.description && el("p", {}, prose(operation.description)),
      operation.scopes.length > 0 && el("p", { class: "muted" },
        prose(`A token that is limited to some scopes needs ${operation.scopes.map((scope) => `\`${scope}\``).join(", ")}.`)),
      parameters(operation, schemas), body(operation, schemas), responses(operation, schemas)),
    tryForm(operation, schemas));
}

function parameters({ parameters: all }, schemas) {
  const properties = all.map((one) =>
    [one.name, { ...one.schema, in: one.in, ...(one.description && { description: one.description }) }]);
  const required = all.filter((parameter) => parameter.required).map((parameter) => parameter.name);
  const fields = schemas.fields({ properties: Object.fromEntries(properties), required });
  return fields && el("div", {}, el("h3", {}, "Parameters"), fields);
}

function body({ requestBody }, schemas) {
  if (!requestBody) return null;
  const [type, { schema }] = Object.entries(requestBody.content)[0];
  const plain = schemas.plain(schema);
  return el("div", {}, el("h3", {}, "Body ", el("span", { class: "type" }, type)),
    plain.description && el("p", {}, prose(plain.description)),
    schemas.fields(schema) ?? el("p", { class: "muted" }, `${schemas.type(schema)} ${schemas.limits(plain)}`));
}

function responses(operation, schemas) {
  const all = Object.entries(operation.responses).map(([status, response]) => [status, schemas.plain(response)]);
  const refusals = all.filter(([status]) => status >= "4");
  return el("div", {}, el("h3", {}, "Responses"),
    el("ul", { class: "responses" }, all.filter(([status]) => status < "4").map((one) => answer(one, schemas))),
    refusals.length > 0 && el("details", { class: "refusals" },
      el("summary", {}, "Refusals: ", refusals.map(([status]) => status).join(" ")),
      el("ul", { class: "responses" }, refusals.map((one) => answer(one, schemas)))));
}

function answer([status, response], schemas) {
  const schema = status < "4" && response.content?.["application/json"]?.schema;
  const headers = Object.keys(response.headers ?? {}).map((name) => `\`${name}\``).join(", ");
  return el("li", {}, el("span", { class: `status s${status[0]}` }, status), el("div", {},
    response.description.split(CODE).map((words) => el("p", {}, prose(words))),
    headers && el("p", { class: "muted" }, prose(`Headers: ${headers}`)),
    schema && el("details", {}, el("summary", {}, schemas.type(schema)), schemas.fields(schema),
      el("pre", { tabindex: "0" }, JSON.stringify(schemas.example(schema, true), null, 2)))));
}

function search() {
  const wanted = $("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const { card, link, words } of shown) card.hidden = link.hidden = !wanted.every((word) => words.includes(word));
  for (const group of document.querySelectorAll("section, .service")) {
    group.hidden = !group.querySelector(":is(.operation, li):not([hidden])");
  }
  const found = shown.filter(({ card }) => !card.hidden).length;
  $("found").textContent = !wanted.length ? `${found} operations`
    : found ? `${found} of ${shown.length} operations` : "No operation matches; try fewer or other words.";
}

/** Open the operation that the URL points at. */
function follow() {
  const target = $(decodeURIComponent(location.hash.slice(1)));
  if (!target?.matches(".operation")) return;
  target.open = true;
  target.querySelector("summary").focus();
  target.scrollIntoView();
}

$("search").addEventListener("input", search);
addEventListener("hashchange", follow);
addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, textarea, select")) return;
  event.preventDefault();
  $("search").focus();
});
load();
