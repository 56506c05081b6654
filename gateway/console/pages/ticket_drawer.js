// @ts-check
// One ticket: what it is about, the conversation with internal notes for staff, and the steps that may follow.

import { post, put } from "../core/api.js";
import { isAdmin, me, say } from "../core/app_state.js";
import { nameOf, shortened, words } from "../core/format.js";
import { useList, useThing } from "../core/list.js";
import { hrefWith } from "../core/router.js";
import { html, useEffect, useState } from "../core/view.js";
import { Attachments } from "../parts/attachments.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { Form } from "../parts/form.js";
import { Ago, CopyId, Exact, Failure, Icon, Lines, State } from "../parts/ui.js";

// What staff and what owners may do next. The service decides, and says in a 409 what it allows.
const STEPS = /** @type {Record<string, {staff: [string, string][], owner: [string, string][]}>} */ ({
  open: { staff: [["in_progress", "Start work"], ["resolved", "Resolve"]], owner: [["resolved", "Mark as resolved"]] },
  in_progress: { staff: [["resolved", "Resolve"], ["open", "Put back"]], owner: [["resolved", "Mark as resolved"]] },
  waiting: { staff: [["resolved", "Resolve"], ["in_progress", "Go on with it"]], owner: [["resolved", "Mark as resolved"]] },
  resolved: { staff: [["closed", "Close"], ["open", "Reopen"]], owner: [["open", "Reopen"], ["closed", "Close"]] },
  closed: { staff: [["open", "Reopen"]], owner: [["open", "Reopen"]] },
});
// Steps between these states have no consequences, so they can be undone.
const FREE = ["open", "in_progress", "waiting"];
/** @type {import("../parts/form.js").Field[]} */
const REPLY = [{ name: "content", label: "Reply", rows: 4 }], NOTE = [...REPLY, { name: "internal", label: "Internal note, for staff only", type: "checkbox" }];
/** @type {import("../parts/form.js").Field[]} */
const TAGS = [{ name: "tags", label: "Tags", help: "Words in lower case, separated by commas. Only staff see them." }];

/** @param {{id: string, list: import("../core/list.js").List}} props */
export function TicketDrawer({ id, list }) {
  const thing = useThing(`/tickets/${id}`), replies = useList(`/tickets/${id}/replies`);
  const [busy, setBusy] = useState(""), [refused, setRefused] = useState(/** @type {any} */ (null));
  const ticket = thing.data.value ?? list.rows.value?.find((row) => row.id === id);
  const isStaff = ticket && ticket.note_count !== null, isOwner = ticket?.user_id === me.value?.id;
  // A conversation grows at its end, so new replies move nothing that is being read.
  const fresh = replies.fresh.value.length;
  useEffect(() => { if (fresh) { replies.showFresh(); thing.load(); } }, [fresh]);
  /** @param {string} what @param {any} body @param {string} told @param {() => void} [undo] */
  const change = async (what, body, told, undo) => {
    setBusy(what);
    setRefused(null);
    try {
      const { data } = await put(`/tickets/${id}/${what.split(" ")[0]}`, body, { version: thing.data.value?.version });
      thing.data.value = data;
      list.put(data);
      say(told, { undo });
    } catch (error) {
      setRefused(error);
      thing.load();
    }
    setBusy("");
  };
  /** @param {string} status */
  const step = (status) => {
    const before = ticket.status;
    const undo = FREE.includes(before) && FREE.includes(status) ? () => change("status", { status: before }, `${words(before)}: ${ticket.number}.`) : undefined;
    change(`status ${status}`, { status }, `${words(status)}: ${ticket.number}.`, undo);
  };
  /** @param {string | null} who */
  const assign = (who) => {
    const before = ticket.assigned_to;
    change("assign", { assigned_to: who }, who ? `${ticket.number} is assigned to you.` : `${ticket.number} is assigned to nobody.`, () => change("assign", { assigned_to: before }, `${ticket.number} is as it was.`));
  };
  /** @param {string[]} tags */
  const retag = async (tags) => {
    const { data } = await put(`/tickets/${id}`, { tags }, { version: thing.data.value?.version });
    thing.data.value = { ...thing.data.value, ...data };
    list.put(data);
    say("Tags saved.");
  };
  const steps = ticket ? STEPS[ticket.status]?.[isStaff ? "staff" : "owner"] ?? [] : [];
  const footer = ticket && html`${steps.map(([status, label], n) => html`<button key=${status} class=${`btn ${n || !isStaff ? "" : "primary"}`} type="button" aria-busy=${String(busy === `status ${status}`)} onClick=${() => busy || step(status)}>${label}</button>`)}
    <span class="grow"></span>
    ${isStaff && (ticket.assigned_to === me.value?.id ? html`<button class="btn" type="button" onClick=${() => busy || assign(null)}>Unassign</button>` : html`<button class="btn" type="button" onClick=${() => busy || assign(/** @type {any} */ (me.value).id)}>Assign to me</button>`)}`;
  return html`<${Drawer} title=${ticket?.subject ?? "Ticket"} noun="ticket" id=${id} rows=${list.rows.value} footer=${footer}>
    ${thing.error.value && html`<${Failure} error=${thing.error.value} retry=${thing.load} />`}
    ${refused && html`<${Failure} error=${refused} unharmed=${refused.status === 412 ? "Somebody changed the ticket meanwhile; it is shown as it is now." : "Nothing was changed."} />`}
    ${ticket ? html`<${About} ticket=${ticket} isOwner=${isOwner} onRate=${(/** @type {number} */ rating) => change("rating", { rating }, "Thank you for the rating.")} />
      ${isStaff && html`<${Tags} key=${ticket.tags.join()} ticket=${ticket} save=${retag} />`}
      <${Thread} ticket=${ticket} replies=${replies} />
      ${ticket.status !== "closed" && html`<${Reply} id=${id} isStaff=${isStaff} replies=${replies} onSent=${() => thing.load()} />`}` : !thing.error.value && html`<${Lines} rows=${6} />`}
  <//>`;
}

/** The name of a person, if the viewer may know it. @param {{id: string | null, otherwise?: string}} props */
function Who({ id, otherwise }) {
  const isMe = id === me.value?.id;
  const person = useThing(id && !isMe && isAdmin.value ? `/users/${id}` : null).data.value;
  if (!id) return html`<span class="muted">Nobody</span>`;
  return html`${isMe ? "You" : person ? nameOf(person) : otherwise ?? shortened(id)}`;
}

/** @param {{ticket: any, isOwner: boolean, onRate: (rating: number) => void}} props */
function About({ ticket, isOwner, onRate }) {
  const isSolved = ["resolved", "closed"].includes(ticket.status), due = ticket.first_replied ? ticket.resolve_due : ticket.first_reply_due;
  return html`<section><h3 class="vh">Facts</h3><${Facts} rows=${[
      ["State", html`<${State} of=${ticket.status} />${ticket.is_overdue && html` <span class="badge bad">Overdue</span>`}`],
      ["Priority", words(ticket.priority)], ["Category", ticket.category],
      ["From", html`<${Who} id=${ticket.user_id} />`],
      ["Assigned to", html`<${Who} id=${ticket.assigned_to} otherwise="Support" />`],
      [ticket.first_replied ? "Solved by" : "Answered by", !isSolved && html`<${Exact} at=${due} />`],
      ["Opened", html`<${Exact} at=${ticket.created} />`],
      ["Number", html`<${CopyId} id=${ticket.number} what="the number of the ticket" />`],
      ["Tags", ticket.tags?.length > 0 && ticket.tags.map((/** @type {string} */ tag) => html`<a key=${tag} class="badge" href=${hrefWith({ tag, open: "" })}>${tag}</a> `)],
      ["Rating", ticket.satisfaction && `${ticket.satisfaction} of 5`],
    ]} /></section>
    ${isOwner && isSolved && !ticket.satisfaction && html`<section><h3>How satisfied are you?</h3><div class="seg" role="group" aria-label="From 1, not at all, to 5, very">
      ${[1, 2, 3, 4, 5].map((one) => html`<button key=${one} type="button" onClick=${() => onRate(one)}>${one}</button>`)}</div></section>`}`;
}

/** @param {{ticket: any, save: (tags: string[]) => Promise<void>}} props */
const Tags = ({ ticket, save }) => html`<details class="tags"><summary>Change the tags</summary>
  <${Form} name=${`tags-${ticket.id}`} fields=${TAGS} initial=${{ tags: ticket.tags.join(", ") }} submit="Save tags" busy="Saving"
    send=${(/** @type {Record<string, string>} */ values) => save((values.tags ?? "").split(/[\s,]+/).filter(Boolean))} /></details>`;

/** Oldest first; the service sends the newest first. @param {{ticket: any, replies: import("../core/list.js").List}} props */
function Thread({ ticket, replies }) {
  const rows = replies.rows.value;
  return html`<section><h3>Conversation</h3><ol class="thread">
    <${Message} of=${{ ...ticket, content: ticket.description }} />
    ${replies.next.value && html`<li class="more"><button class="btn sm" type="button" aria-busy=${String(replies.isLoading.value)} onClick=${() => replies.more()}>Show earlier replies</button></li>`}
    ${rows && [...rows].reverse().map((one) => html`<${Message} key=${one.id} of=${one} />`)}</ol>
    ${replies.error.value ? html`<${Failure} error=${replies.error.value} retry=${() => replies.load()} />` : !rows && html`<${Lines} rows=${3} />`}</section>`;
}

/** @param {{of: any}} props */
const Message = ({ of }) => html`<li class=${of.is_internal ? "note" : of.is_staff ? "staff" : ""}>
  <p class="by"><b><${Who} id=${of.user_id} otherwise=${of.is_staff ? "Support" : undefined} /></b>${of.is_internal ? html`<span class="badge warn"><${Icon} name="lock" />Internal note</span>` : of.is_staff && html`<span class="badge">Support</span>`}<${Ago} at=${of.created} ago />${of.edited && html`<span class="muted">edited</span>`}</p>
  <p class="said">${of.content}</p>
  ${of.attachments?.length > 0 && html`<p class="attach">${of.attachments.map((/** @type {any} */ one) => html`<a key=${one.file_id} class="btn sm" href=${`/files/${one.file_id}`} download=${one.name}><${Icon} name="clip" />${one.name}</a>`)}</p>`}</li>`;

/** @param {{id: string, isStaff: boolean, replies: import("../core/list.js").List, onSent: () => Promise<void>}} props */
function Reply({ id, isStaff, replies, onSent }) {
  const [files, setFiles] = useState(/** @type {any[]} */ ([]));
  /** @param {Record<string, string>} values @param {string} key */
  const send = async (values, key) => {
    const body = { content: values.content ?? "", attachments: files.map((/** @type {any} */ one) => one.id), ...(isStaff && values.internal === "true" ? { internal: true } : {}) };
    await post(`/tickets/${id}/replies`, body, { key });
    setFiles([]);
    await onSent(); // the reply may have changed the state, and the next step needs its version
    await replies.load();
  };
  return html`<section class="reply" aria-label="Your reply"><${Form} name=${`reply-${id}`} fields=${isStaff ? NOTE : REPLY} submit="Send" busy="Sending" send=${send}>
    <${Attachments} files=${files} onChange=${setFiles} /><//></section>`;
}
