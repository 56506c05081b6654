// @ts-check
// The form for a new client.

import { post } from "../core/api.js";
import { say } from "../core/app_state.js";
import { go, hrefWith } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Form, Unsure } from "../parts/form.js";

const DEVICE = "urn:ietf:params:oauth:grant-type:device_code";
const KINDS = /** @type {Record<string, {word: string, grants: string[], isPublic?: boolean, needsUris?: boolean}>} */ ({
  web: { word: "A web app with a server, which signs people in", grants: ["authorization_code", "refresh_token"], needsUris: true },
  public: { word: "An app in a browser or on a phone, which cannot keep a secret", grants: ["authorization_code", "refresh_token"], isPublic: true, needsUris: true },
  program: { word: "A program of ours that acts without a user", grants: ["client_credentials"] },
  device: { word: "A device without a browser", grants: [DEVICE, "refresh_token"], isPublic: true },
});

/** @type {import("../parts/form.js").Field[]} */
const FIELDS = [
  { name: "name", label: "Name", maxlength: 100, autocomplete: "off", autofocus: true, help: "People see it when they are asked to allow access." },
  { name: "kind", label: "What it is", options: Object.entries(KINDS).map(([code, one]) => [code, one.word]) },
  { name: "redirect_uris", label: "Redirect URIs", rows: 2, spellcheck: false, help: "One per line, only for apps that sign people in. They must match exactly." },
  { name: "scopes", label: "Scopes", autocomplete: "off", spellcheck: false, help: "Separated by spaces, such as: openid orders:read." },
  { name: "description", label: "Description", maxlength: 500, autocomplete: "off", help: "It may be left empty." },
];

/** @param {{list: import("../core/list.js").List, onSecret: (secret: any) => void}} props */
export function ClientForm({ list, onSecret }) {
  const [isUnsure, setUnsure] = useState(false);
  const close = () => go(hrefWith({ do: "" }), { replace: true });
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    const kind = KINDS[values.kind];
    const body = {
      name: values.name ?? "", description: values.description?.trim() || null, scopes: split(values.scopes), redirect_uris: split(values.redirect_uris),
      grant_types: kind.grants, is_public: Boolean(kind.isPublic),
    };
    setUnsure(false);
    const { data } = await post("/clients", body, { key }).catch((/** @type {import("../core/api.js").Refused} */ refused) => {
      setUnsure(refused.isDown);
      return atTheirFields(refused);
    });
    await list.load();
    if (data.client_secret) onSecret({ name: data.name, id: data.client_id, text: data.client_secret, isProgram: values.kind === "program", expires: null });
    else say(`${data.name} is registered.`);
    go(hrefWith({ do: "", open: data.id }), { replace: true });
  };
  return html`<${Dialog} label="Register a client" onClose=${close}><div class="in head"><h2>Register a client</h2><p>It gets an id, and a secret if it can keep one.</p></div>
    ${isUnsure && html`<${Unsure} what="client" way="If you close this, delete it in the list." />`}
    <${Form} name="client" fields=${FIELDS} initial=${{ kind: "web" }} submit="Register client" busy="Registering" away="Discard" send=${send} onAway=${close} />
  <//>`;
}

/** @param {string} [text] */
const split = (text) => (text ?? "").split(/\s+/).filter(Boolean);

/** Messages of the service about the whole body, each shown at the field that it concerns. @type {[RegExp, string, (found: RegExpExecArray) => string][]} */
const ABOUT = [
  [/^unknown scope ([^;]*)/, "scopes", (found) => `must be known, and ${found[1]} is not`],
  [/^authorization_code needs a redirect URI/, "redirect_uris", () => "must have at least one line, because this app signs people in"],
  [/^the scopes .* need authorization_code/, "scopes", () => "must suit a program: openid, account, users and admin are for apps that sign people in"],
];

/** A fault of `redirect_uris.0` belongs to the field `redirect_uris`. @param {any} refused @returns {never} */
function atTheirFields(refused) {
  refused.errors = refused.errors?.map((/** @type {any} */ one) => {
    for (const [words, field, message] of ABOUT) {
      const found = words.exec(one.message);
      if (found) return { ...one, field, message: message(found) };
    }
    return { ...one, field: one.field.split(".")[0] };
  });
  throw refused;
}
