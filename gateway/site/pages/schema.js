// Describes a JSON schema in words and by an example.

import { el, prose } from "./dom.js";

const DEPTH_MAX = 6; // schemas may be recursive
const UUID = "0198c0de-0000-7000-8000-000000000001";
const SAMPLES = [UUID, "sample", "ABC", "1"];
const BY_NAME = {
  email: "user@example.com", password: "password123", uri: "https://example.com", url: "https://example.com",
  "date-time": "2026-01-31T12:00:00Z", date: "2026-01-31", created: "2026-01-31T12:00:00Z", uuid: UUID,
};

export class Schemas {
  constructor(api) { this.api = api; }

  /** The schema itself: references resolved, and `or null` separated from the rest. */
  plain(schema = {}) {
    for (let steps = 0; schema.$ref && steps < 20; steps += 1) {
      const { $ref, ...beside } = schema;
      const target = $ref.slice(2).split("/").reduce((found, key) => found?.[key], this.api);
      schema = { ...target, title: $ref.split("/").pop(), ...beside };
    }
    const { anyOf, oneOf, ...beside } = schema;
    const kinds = anyOf ?? oneOf ?? [];
    const others = kinds.filter((kind) => kind.type !== "null");
    if (others.length !== 1) return { ...schema, kinds };
    const only = this.plain(others[0]);
    return { ...only, ...beside, title: only.title, isNullable: others.length < kinds.length };
  }

  type(given) {
    const schema = this.plain(given);
    const words = schema.enum ? schema.enum.map((value) => JSON.stringify(value)).join(" | ")
      : "const" in schema ? JSON.stringify(schema.const)
      : schema.type === "array" ? `list of ${this.type(schema.items)}`
      : schema.type === "object" && schema.title ? schema.title
      : schema.kinds.length ? [...new Set(schema.kinds.map((kind) => this.type(kind)))].join(" or ")
      : schema.format ?? [schema.type ?? "any"].flat().join(" or ");
    return words + (schema.isNullable ? " or null" : "");
  }

  limits(schema) {
    const span = (least, most, unit = "") => {
      if (least == null && most == null) return null;
      if (least === most) return `exactly ${most}${unit}`;
      return most == null ? `at least ${least}${unit}` : least == null ? `at most ${most}${unit}` : `${least} to ${most}${unit}`;
    };
    return [
      span(schema.minLength, schema.maxLength, " characters"), span(schema.minItems, schema.maxItems, " items"),
      span(schema.minimum, schema.maximum), span(schema.minProperties, schema.maxProperties, " fields"),
      schema["x-pattern-words"] ?? (schema.pattern && `must match \`${schema.pattern}\``),
      schema.default != null && `\`${JSON.stringify(schema.default)}\` if omitted`,
    ].filter(Boolean).join(", ");
  }

  /** The fields of an object, or of the objects in a list, as a nested list. */
  fields(given, depth = 0) {
    const schema = this.plain(given);
    const properties = Object.entries(schema.properties ?? {});
    if (schema.type === "array") return this.fields(schema.items, depth);
    if (!properties.length || depth > DEPTH_MAX) return null;
    return el("ul", { class: "fields" }, properties.map(([name, property]) => {
      const field = this.plain(property);
      const about = [field.description, this.limits(field)].filter(Boolean).join(" — ");
      const type = this.type(property) + (field.in ? `, in ${field.in}` : "");
      return el("li", {}, el("code", {}, name), " ", el("span", { class: "type" }, type),
        schema.required?.includes(name) && el("span", { class: "required" }, "required"),
        about && el("p", { class: "muted" }, prose(about)), this.fields(property, depth + 1));
    }));
  }

  /** A value this schema allows: for a request only required fields, for a response all of them. */
  example(given, isAnswer, name = "", depth = 0) {
    const schema = this.plain(given);
    const told = [schema.examples?.[0], schema.example, schema.const, schema.default, schema.enum?.[0]];
    const known = told.find((value) => value != null);
    if (known !== undefined || depth > DEPTH_MAX) return known ?? null;
    const type = [schema.type].flat()[0];
    if (type === "array") return [this.example(schema.items, isAnswer, name, depth + 1)];
    if (type === "integer" || type === "number") return Math.max(schema.minimum ?? 1, 1);
    if (type === "boolean") return true;
    if (type === "string") return this.text(schema, name);
    if (type !== "object") return schema.kinds.length ? this.example(schema.kinds[0], isAnswer, name, depth + 1) : null;
    const names = Object.keys(schema.properties ?? {});
    const needed = names.filter((each) => isAnswer || schema.required?.includes(each));
    const shown = needed.length ? needed : names.slice(0, 1);
    return Object.fromEntries(
      shown.map((each) => [each, this.example(schema.properties[each], isAnswer, each, depth + 1)]));
  }

  text(schema, name) {
    const pattern = new RegExp(schema.pattern ?? "");
    const hint = Object.keys(BY_NAME).find((word) => schema.format === word || name.includes(word));
    const fitting = [BY_NAME[hint], name.replaceAll("_", " "), ...SAMPLES].find((sample) => sample && pattern.test(sample)) ?? "";
    return fitting.padEnd(schema.minLength ?? 0, "x").slice(0, schema.maxLength);
  }
}
