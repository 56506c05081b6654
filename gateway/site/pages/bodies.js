// The body of a request: text, one file, or a form with files, as the operation requires.

import { el } from "./dom.js";

const isFile = (schema) => schema.format === "binary" || schema.contentMediaType === "application/octet-stream";

/** The form rows, and what to send: {rows, missing(), read() → {type, body, curl}}. */
export function bodyInput(operation, schemas, row) {
  if (!operation.requestBody) return null;
  const { content, required } = operation.requestBody;
  const [type, media] = Object.entries(content)[0];
  const schema = schemas.plain(media.schema);
  const id = `${operation.id}-body`;
  if (type === "multipart/form-data") return formInput(id, schema, schemas, row);
  if (isFile(schema)) return fileInput(id, type, required, row);
  return textInput(id, type, required, schemas.example(media.schema, false), row);
}

function textInput(id, type, required, example, row) {
  const text = /[/+]json$/.test(type) ? JSON.stringify(example, null, 2) : "";
  const rows = Math.min(14, text.split("\n").length + 1);
  const control = el("textarea", { rows, spellcheck: "false", placeholder: text });
  control.value = required ? text : "";
  const read = () => control.value && { type, body: control.value, curl: [["--data-raw", control.value]] };
  return { rows: [row(id, `Body (${type})`, control, required)], missing: () => null, read };
}

function fileInput(id, type, required, row) {
  const control = el("input", { type: "file" });
  const read = () => control.files[0] && { type, body: control.files[0], curl: [["--data-binary", `@${control.files[0].name}`]] };
  return { rows: [row(id, `File (${type})`, control, required)], missing: () => null, read };
}

function formInput(id, schema, schemas, row) {
  const parts = Object.entries(schema.properties ?? {}).map(([name, given]) => {
    const part = schemas.plain(given);
    const required = schema.required?.includes(name);
    const control = isFile(part) ? el("input", { type: "file" })
      : part.enum ? el("select", {}, ["", ...part.enum].map((value) => el("option", { value }, value)))
      : el("input", { autocomplete: "off", spellcheck: "false", placeholder: part.examples?.[0] ?? part.default });
    return { name, required, control, row: row(`${id}-${name}`, name, control, required) };
  });
  const read = () => {
    const body = new FormData(), curl = [];
    for (const { name, control } of parts) {
      const value = control.files ? control.files[0] : control.value;
      if (!value) continue;
      body.append(name, value);
      curl.push(["-F", control.files ? `${name}=@${value.name}` : `${name}=${value}`]);
    }
    return { type: null, body, curl }; // the browser sets the type, which includes the boundary
  };
  const missing = () => parts.find(({ required, control }) => required && !control.value);
  return { rows: parts.map((part) => part.row), missing, read };
}
