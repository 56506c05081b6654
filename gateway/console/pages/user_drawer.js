// @ts-check
// One account: who it is, how it is protected, and what an admin may do about it. Each action needs a reason, which is recorded.

import { patch, post } from "../core/api.js";
import { me, say } from "../core/app_state.js";
import { nameOf, words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { href } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Dialog } from "../parts/dialog.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { Form } from "../parts/form.js";
import { Ago, CopyId, Exact, Failure, Lines, State } from "../parts/ui.js";

const REASONS = ["requested", "support", "compromised", "left", "abuse", "inactive", "role_changed", "mistake", "other"];
/** @type {import("../parts/form.js").Field[]} */
const FIELDS = [
  { name: "reason", label: "Reason", options: [["", "Choose a reason"], ...REASONS.map((one) => /** @type {[string, string]} */ ([one, words(one)]))], autofocus: true },
  { name: "note", label: "Note", help: "Recorded in the audit log with the reason. It may be left empty.", maxlength: 300, autocomplete: "off" },
];

/** @typedef {{title: string, text: string, submit: string, busy: string, done: string, isDanger?: boolean, send: (why: Record<string, string>, key: string) => Promise<any>}} Action */

/** @param {string} id @param {string} name @returns {Record<string, Action>} */
const actionsFor = (id, name) => ({
  suspend: { title: "Suspend this account?", text: `${name} is signed out at once and cannot sign in until you activate the account again.`, submit: "Suspend account", busy: "Suspending", done: `${name} is suspended.`,
    send: (why) => patch(`/auth/accounts/${id}`, { status: "suspended", ...why }) },
  activate: { title: "Activate this account?", text: `${name} can sign in again.`, submit: "Activate account", busy: "Activating", done: `${name} is active.`,
    send: (why) => patch(`/auth/accounts/${id}`, { status: "active", ...why }) },
  promote: { title: "Make this account an admin?", text: `${name} can see and change everything of every account.`, submit: "Make admin", busy: "Saving", done: `${name} is an admin.`,
    send: (why) => patch(`/auth/accounts/${id}`, { role: "admin", ...why }) },
  demote: { title: "Take away the admin role?", text: `${name} keeps the account and sees only their own things.`, submit: "Make user", busy: "Saving", done: `${name} is a user.`,
    send: (why) => patch(`/auth/accounts/${id}`, { role: "user", ...why }) },
  out: { title: "Sign this account out everywhere?", text: `All sessions of ${name} end within a second, and so does the access of apps.`, submit: "Sign out everywhere", busy: "Signing out", done: `${name} is signed out everywhere.`,
    send: (why, key) => post(`/auth/accounts/${id}/sign-out`, why, { key }) },
  factors: { title: "Reset the second factors?", text: `The password alone is enough for ${name} until a new factor is set up. The owner is told by mail.`, submit: "Reset factors", busy: "Resetting", done: `The second factors of ${name} are reset.`,
    send: (why, key) => post(`/auth/accounts/${id}/reset-factors`, why, { key }) },
});

/** @param {{id: string, list: import("../core/list.js").List}} props */
export function UserDrawer({ id, list }) {
  const profile = useThing(`/users/${id}`), account = useThing(`/auth/accounts/${id}`);
  const [asked, setAsked] = useState("");
  const shown = profile.data.value ?? list.rows.value?.find((row) => row.id === id), protection = account.data.value;
  const name = shown ? nameOf(shown) : "Account", actions = actionsFor(id, name), action = actions[asked];
  const isMe = id === me.value?.id, status = protection?.status ?? shown?.status;
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    await action.send(values.note?.trim() ? { reason: values.reason ?? "", note: values.note.trim() } : { reason: values.reason ?? "" }, key);
    say(action.done);
    setAsked("");
    await account.load();
    // An event updates the profile later; the account already has the change.
    if (account.data.value) list.put({ id, status: account.data.value.status, role: account.data.value.role });
  };
  const footer = status !== "deleted" && shown && !isMe && html`<${Buttons} status=${status} role=${protection?.role ?? shown.role} hasFactors=${Boolean(protection?.second_factors?.length)} onAsk=${setAsked} />`;
  return html`<${Drawer} title=${name} noun="account" id=${id} rows=${list.rows.value} footer=${footer}>
      ${profile.error.value && html`<${Failure} error=${profile.error.value} retry=${profile.load} />`}
      ${shown ? html`<${Content} person=${shown} account=${account} isMe=${isMe} />` : !profile.error.value && html`<${Lines} rows=${6} />`}
    <//>
    ${action && html`<${Dialog} label=${action.title} onClose=${() => setAsked("")}><div class="in head"><h2>${action.title}</h2><p>${action.text}</p></div>
      <${Form} name=${`account-${asked}-${id}`} fields=${FIELDS} submit=${action.submit} busy=${action.busy} away="Keep as it is" send=${send} onAway=${() => setAsked("")} /><//>`}`;
}

/** @param {{status: string, role: string, hasFactors: boolean, onAsk: (action: string) => void}} props */
const Buttons = ({ status, role, hasFactors, onAsk }) => html`
  ${status === "active" ? html`<button class="btn" type="button" onClick=${() => onAsk("out")}>Sign out everywhere</button>` : html`<button class="btn primary" type="button" onClick=${() => onAsk("activate")}>Activate account</button>`}
  ${hasFactors && html`<button class="btn" type="button" onClick=${() => onAsk("factors")}>Reset factors</button>`}
  ${status === "active" && html`<button class="btn" type="button" onClick=${() => onAsk(role === "admin" ? "demote" : "promote")}>${role === "admin" ? "Make user" : "Make admin"}</button>`}
  <span class="grow"></span>
  ${status === "active" && html`<button class="btn danger" type="button" onClick=${() => onAsk("suspend")}>Suspend</button>`}`;

/** @param {{person: any, account: any, isMe: boolean}} props */
function Content({ person, account, isMe }) {
  const protection = account.data.value;
  return html`<section><h3 class="vh">Facts</h3><${Facts} rows=${[
      ["State", html`<${State} of=${protection?.status ?? person.status} />`],
      ["Role", words(protection?.role ?? person.role) + (isMe ? " (you)" : "")],
      ["E-mail", person.email], ["Username", person.username], ["Phone", person.phone],
      ["Registered", html`<${Exact} at=${person.created} />`],
      ["Changed", person.updated !== person.created && html`<${Ago} at=${person.updated} ago />`],
      ["Id", html`<${CopyId} id=${person.id} what="the id of the account" />`],
    ]} /></section>
    <section><h3>Protection</h3>
      ${account.error.value ? html`<${Failure} error=${account.error.value} retry=${account.load} />` : !protection ? html`<${Lines} rows=${3} />`
        : html`<${Facts} rows=${[
          ["Password", protection.has_password ? "Set" : "None"],
          ["Second factors", protection.second_factors.map((/** @type {any} */ one) => words(typeof one === "string" ? one : one.kind ?? one.type ?? "")).join(", ") || "None"],
          ["E-mail", protection.email_verified ? "Confirmed" : "Not confirmed"],
        ]} />`}</section>
    <section><h3>What they did</h3><div class="btns"><a class="btn sm" href=${href("orders", { user: person.id })}>Orders</a>
      <a class="btn sm" href=${href("audit", { user: person.id })}>Audit records</a>
      <a class="btn sm" href=${href("team", { open: person.id })}>Team entry</a></div></section>`;
}
