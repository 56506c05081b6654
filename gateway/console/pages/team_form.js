// @ts-check
// The form for an entry in the team directory, with who may see the whole and each field.

import { put } from "../core/api.js";
import { isAdmin, say } from "../core/app_state.js";
import { words } from "../core/format.js";
import { html, useState } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Form } from "../parts/form.js";
import { Failure } from "../parts/ui.js";
import { VISIBILITY } from "./team.js";

const LINKS = ["linkedin", "twitter", "github", "website"], HIDEABLE = ["department", "position", "bio", "skills", "links"];
const WHO = /** @type {[string, string][]} */ (Object.entries(VISIBILITY));

/** @returns {import("../parts/form.js").Field[]} */
const fields = () => [
  { name: "position", label: "Position", maxlength: 100, autocomplete: "organization-title", autofocus: true },
  { name: "department", label: "Department", maxlength: 100, autocomplete: "off" },
  { name: "bio", label: "About", rows: 3, maxlength: 1000 },
  { name: "skills", label: "Skills", autocomplete: "off", help: "With commas between them, at most 30." },
  ...LINKS.map((one) => ({ name: `links.${one}`, label: words(one), type: "url", maxlength: 500, autocomplete: "off", placeholder: "https://" })),
  { name: "visibility", label: "Who sees the entry", options: WHO },
  ...HIDEABLE.map((one) => ({ name: `field_visibility.${one}`, label: `Who sees ${one === "bio" ? "the text about you" : `the ${one}`}`, options: /** @type {[string, string][]} */ ([["", "Whoever sees the entry"], ...WHO]) })),
  ...(isAdmin.value ? [{ name: "is_active", label: "Active: others see it as well", type: "checkbox" }] : []),
];

/** @param {{address: string, id: string, member: any, name: string, onDone: (data: any) => void, onStale: () => Promise<any>, onAway: () => void}} props */
export function TeamForm({ address, id, member, name, onDone, onStale, onAway }) {
  const [stale, setStale] = useState(/** @type {any} */ (null));
  const initial = {
    position: member?.position ?? "", department: member?.department ?? "", bio: member?.bio ?? "", skills: member?.skills.join(", ") ?? "",
    visibility: member?.visibility ?? "internal", is_active: String(member?.is_active ?? true),
    ...Object.fromEntries(LINKS.map((one) => [`links.${one}`, member?.links[one] ?? ""])),
    ...Object.fromEntries(HIDEABLE.map((one) => [`field_visibility.${one}`, member?.field_visibility?.[one] ?? ""])),
  };
  /** @param {Record<string, string>} values */
  const send = async (values) => {
    const given = (/** @type {string} */ field) => values[field]?.trim() || null;
    const body = {
      position: given("position"), department: given("department"), bio: given("bio"),
      skills: (values.skills ?? "").split(",").map((one) => one.trim()).filter(Boolean),
      links: Object.fromEntries(LINKS.map((one) => [one, given(`links.${one}`)])), visibility: values.visibility,
      field_visibility: Object.fromEntries(HIDEABLE.map((one) => [one, given(`field_visibility.${one}`)])),
      ...(isAdmin.value ? { is_active: values.is_active === "true" } : {}),
    };
    try {
      const { data } = await put(address, body, { version: member?.version ?? 0 });
      say("The entry is stored.");
      onDone(data);
    } catch (error) {
      const refused = /** @type {any} */ (error);
      if (refused.status === 412) {
        setStale(refused);
        await onStale();
      }
      refused.errors = refused.errors?.map((/** @type {any} */ one) => (/^skills\./.test(one.field) ? { ...one, field: "skills" } : one));
      throw refused;
    }
  };
  return html`<${Dialog} label="Entry in the team directory" onClose=${onAway}><div class="in head"><h2>${member ? "Change" : "Write"} the entry of ${name}</h2></div>
    ${stale && html`<div class="in"><${Failure} error=${stale} unharmed="What you typed is kept; the other fields are shown as they are now." /></div>`}
    <${Form} key=${member?.version} name=${`team-${id}`} fields=${fields()} initial=${initial} submit="Store entry" busy="Storing" away="Discard" send=${send} onAway=${onAway} />
  <//>`;
}
