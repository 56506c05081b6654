// The form that sends a request and shows the response.

import { askForToken } from "./account.js";
import { bodyInput } from "./bodies.js";
import { el, indented } from "./dom.js";
import { freshToken } from "./session.js";

const SHOWN_CHARACTERS_MAX = 200_000;
const WAIT_SECONDS = 60;
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const signInLink = () => el("button", { class: "link", type: "button", onclick: askForToken }, "Sign in");
let spelling = "/"; // kept for the next operation

export function tryForm(operation, schemas) {
  const result = el("div", { class: "result", role: "status" });
  const inputs = operation.parameters.map((parameter) => parameterInput(operation, parameter, schemas));
  const body = bodyInput(operation, schemas, row);
  const servers = serverInput(operation, schemas.api.servers);
  const request = () => requestOf(operation, servers, inputs, body);
  const send = el("button", { class: "primary", type: "submit" }, "Send");
  const copy = el("button", { type: "button", onclick: async () => copyCurl(await request(), result) }, "Copy as curl");
  const onsubmit = async (event) => {
    event.preventDefault();
    const empty = inputs.find(({ parameter, control }) => parameter.in === "path" && !control.value);
    const missing = empty ? null : body?.missing();
    if (empty || missing) {
      const words = empty ? `Fill in ${empty.parameter.name}: it is part of the path.`
        : `Fill in ${missing.name}: it is required.`;
      result.replaceChildren(el("p", { class: "fault" }, words));
      (empty ?? missing).control.focus();
      return;
    }
    send.disabled = true;
    result.replaceChildren("Waiting for the response …");
    result.replaceChildren(...(await answerOf(await request())));
    send.disabled = false;
  };
  return el("form", { class: "try", novalidate: true, onsubmit }, el("h3", {}, "Try it"),
    operation.needsToken && el("p", { class: "needs-token" }, "Needs a token. ", signInLink()),
    servers?.row, inputs.map((input) => input.row), body?.rows,
    el("div", { class: "buttons" }, send, copy), result);
}

function row(id, label, control, isRequired) {
  control.id = id;
  return el("div", {},
    el("label", { for: id }, label, isRequired && el("span", { class: "required" }, "required")), control);
}

function serverInput(operation, servers) {
  if (servers.length < 2 || operation.tags.includes("Gateway")) return null;
  const control = el("select", { onchange: () => { spelling = control.value; } }, servers.map(({ url, description }) =>
    el("option", { value: url, selected: url === spelling }, `${url} — ${description}`)));
  return { control, row: row(`${operation.id}-server`, "Base path", control) };
}

function parameterInput(operation, parameter, schemas) {
  const schema = schemas.plain(parameter.schema);
  const values = schema.enum ?? (schema.type === "boolean" ? [true, false] : null);
  const control = values
    ? el("select", {}, ["", ...values].map((value) => el("option", { value }, String(value))))
    : el("input", { autocomplete: "off", spellcheck: "false", placeholder: schema.default });
  const id = `${operation.id}-${parameter.in}-${parameter.name}`;
  return { parameter, schema, control, row: row(id, parameter.name, control, parameter.required) };
}

async function requestOf(operation, servers, inputs, body) {
  const token = await freshToken();
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const query = new URLSearchParams();
  let path = operation.path;
  for (const { parameter, schema, control: { value } } of inputs) {
    const values = schema.type === "array" ? value.split(",").map((one) => one.trim()) : [value];
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, () => encodeURIComponent(value));
    else if (value && parameter.in === "header") headers[parameter.name] = value;
    else if (value) values.forEach((one) => query.append(parameter.name, one));
  }
  const base = servers ? servers.control.value.replace(/\/$/, "") : "";
  const url = new URL(base + path + (query.size ? `?${query}` : ""), location.origin).href;
  const sent = body?.read();
  if (!sent) return { method: operation.method, url, headers, curl: [] };
  if (sent.type) headers["Content-Type"] = sent.type;
  return { method: operation.method, url, headers, body: sent.body, curl: sent.curl };
}

async function copyCurl({ method, url, headers, curl }, result) {
  const lines = Object.entries(headers).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`);
  lines.push(...curl.map(([option, value]) => `${option} ${quoted(value)}`));
  const command = [`curl -i -X ${method} ${quoted(url)}`, ...lines].join(" \\\n  ");
  // Browsers deny pages without HTTPS the clipboard; the command is shown in any case.
  const isCopied = await navigator.clipboard?.writeText(command).then(() => true, () => false);
  result.replaceChildren(isCopied ? "Copied:" : "Copy this:", el("pre", { tabindex: "0" }, command));
}

async function answerOf({ url, curl, ...options }) {
  const started = performance.now();
  try {
    const signal = AbortSignal.timeout(WAIT_SECONDS * 1000);
    const response = await fetch(url, { ...options, signal, cache: "no-store", credentials: "omit" });
    const bytes = await response.arrayBuffer();
    return shownAnswer(response, bytes, Math.round(performance.now() - started));
  } catch (error) {
    return [el("p", { class: "fault" }, error.name === "TimeoutError" ? `There was no response within ${WAIT_SECONDS} seconds.`
      : `The request could not be sent, or the connection broke. Check that the gateway is running. (${error.message})`)];
  }
}

function shownAnswer(response, bytes, milliseconds) {
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  return [
    el("p", { class: "outcome" },
      el("span", { class: `status s${String(response.status)[0]}` }, `${response.status} ${response.statusText}`),
      el("span", { class: "muted" }, `${milliseconds} ms, ${bytes.byteLength} bytes`),
      response.status === 401 && signInLink()),
    el("details", {}, el("summary", {}, "Headers"), el("pre", { tabindex: "0" }, headers)),
    bytes.byteLength ? el("pre", { tabindex: "0", "aria-label": "Body" }, bodyText(response, bytes)) : "",
  ];
}

function bodyText(response, bytes) {
  const type = response.headers.get("content-type") ?? "";
  if (!/^text\/|json|xml/.test(type)) return `${bytes.byteLength} bytes of ${type || "unknown type"}`;
  const plain = new TextDecoder().decode(bytes);
  const text = type.includes("json") ? indented(plain) : plain;
  return text.length > SHOWN_CHARACTERS_MAX ? `${text.slice(0, SHOWN_CHARACTERS_MAX)}\n… cut here` : text;
}
