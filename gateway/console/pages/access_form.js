// @ts-check
// The form for a new personal access token: what it may do, and for how long.

import { post } from "../core/api.js";
import { isAdmin } from "../core/app_state.js";
import { words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { go, hrefWith } from "../core/router.js";
import { html, useRef, useState } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Form, Unsure } from "../parts/form.js";
import { Failure } from "../parts/ui.js";

const DAY_MS = 24 * 3600 * 1000, METADATA = "/.well-known/oauth-authorization-server";
const OF_IDENTITY = ["openid", "profile", "email", "offline_access"]; // for apps that sign people in
const OF_STAFF = "admin:support"; // support staff are often no admins
const BROAD = /** @type {Record<string, string>} */ ({ read: "See all your data", write: "Change all your data", full_access: "Do everything that you may do" });

/** The words of a scope such as `orders:read`. @param {string} scope */
function wordsOf(scope) {
  const [first, second] = scope.split(":");
  return BROAD[scope] ?? (first === "admin" ? `As an admin: ${words(second).toLowerCase()}` : `${words(first)}: ${second}`);
}

/** @param {{onMade: (data: any) => void, onUnsure: () => void}} props */
export function AccessForm({ onMade, onUnsure }) {
  const [isUnsure, setUnsure] = useState(false), sent = useRef({ key: "", at: 0 });
  const close = () => go(hrefWith({ do: "" }), { replace: true });
  const metadata = useThing(METADATA), known = /** @type {string[] | undefined} */ (metadata.data.value?.scopes_supported);
  const scopes = known?.filter((one) => !OF_IDENTITY.includes(one) && (isAdmin.value || one === OF_STAFF || !one.startsWith("admin:"))).sort((a, b) => Number(b in BROAD) - Number(a in BROAD) || a.localeCompare(b));
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    if (sent.current.key !== key) sent.current = { key, at: Date.now() }; // sent again, it must be the same request
    const body = {
      name: values.name ?? "", scopes: scopes?.filter((one) => values[`scope ${one}`] === "true"),
      expires: values.days ? new Date(sent.current.at + Number(values.days) * DAY_MS).toISOString() : null,
    };
    setUnsure(false);
    const { data } = await post("/auth/me/tokens", body, { key }).catch((/** @type {import("../core/api.js").Refused} */ refused) => {
      if (refused.isDown) {
        setUnsure(true);
        onUnsure();
      }
      throw refused;
    });
    close();
    onMade(data);
  };
  if (!scopes && !metadata.error.value) return null; // a dialog gives the focus to what is in it when it opens
  return html`<${Dialog} label="Create a token" class="scopes" onClose=${close}><div class="in head"><h2>Create a token</h2><p>It is shown once. Give it only what its program needs.</p></div>
    ${isUnsure && html`<${Unsure} what="token" way="If you close this, revoke it in the list." />`}
    ${scopes ? html`<${Form} name="token" fields=${fieldsFor(scopes)} initial=${{ days: "90" }} submit="Create token" busy="Creating" away="Discard" send=${send} onAway=${close} />`
      : html`<div class="in"><${Failure} error=${metadata.error.value} retry=${metadata.load} /></div>`}
  <//>`;
}

/** @param {string[]} scopes @returns {import("../parts/form.js").Field[]} */
const fieldsFor = (scopes) => [
  { name: "name", label: "Name", maxlength: 100, autocomplete: "off", autofocus: true, help: "What uses it, such as nightly report." },
  { name: "days", label: "It expires", options: [["7", "After 7 days"], ["30", "After 30 days"], ["90", "After 90 days"], ["365", "After a year"], ["", "Never"]] },
  { name: "scopes", label: "Scopes", help: "What it may do.", fields: scopes.map((one) => ({ name: `scope ${one}`, label: wordsOf(one), type: "checkbox" })) },
];
