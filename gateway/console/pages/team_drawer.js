// @ts-check
// One team member, as far as they are visible; their owner and admins can change the entry.

import { del } from "../core/api.js";
import { isAdmin, me, say } from "../core/app_state.js";
import { nameOf, words } from "../core/format.js";
import { useThing } from "../core/list.js";
import { go, href, hrefWith } from "../core/router.js";
import { html, useState } from "../core/view.js";
import { Confirm } from "../parts/dialog.js";
import { Drawer, Facts } from "../parts/drawer.js";
import { CopyId, Failure, later, Lines, State } from "../parts/ui.js";
import { VISIBILITY } from "./team.js";

const TeamForm = later(() => import("./team_form.js"), "TeamForm");

/** @param {{id: string, list: import("../core/list.js").List}} props */
export function TeamDrawer({ id, list }) {
  const isMe = id === me.value?.id, mayChange = isMe || isAdmin.value;
  // An admin's own entry is changed as anybody's, because only then it can be made active.
  const address = isMe && !isAdmin.value ? "/team/me" : `/team/${id}`, thing = useThing(address);
  const [asked, setAsked] = useState(""), [refused, setRefused] = useState(/** @type {any} */ (null));
  const member = thing.data.value, isMissing = thing.error.value?.status === 404;
  const onDone = (/** @type {any} */ data) => {
    thing.data.value = data;
    thing.error.value = null;
    setAsked("");
    list.load();
  };
  const remove = async () => {
    try {
      await del(address, { version: member.version });
      say(isMe ? "You have left the directory." : "The entry is deleted.");
      go(hrefWith({ open: "" }), { replace: true });
      list.load();
    } catch (error) {
      setRefused(error);
      thing.load();
    }
    setAsked("");
  };
  const title = member?.name ?? (isMe && me.value ? nameOf(me.value) : "Member");
  const footer = mayChange && (member || isMissing) && html`<button class="btn primary" type="button" onClick=${() => setAsked("edit")}>${member ? "Change entry" : "Write entry"}</button>
    <span class="grow"></span>${member && html`<button class="btn danger" type="button" onClick=${() => setAsked("delete")}>${isMe ? "Leave the directory" : "Delete entry"}</button>`}`;
  return html`<${Drawer} title=${title} noun="member" id=${id} rows=${list.rows.value} footer=${footer}>
      ${refused && html`<${Failure} error=${refused} unharmed=${refused.status === 412 ? "It is shown as it is now." : "Nothing was changed."} />`}
      ${member ? html`<${Content} member=${member} isMe=${isMe} mayChange=${mayChange} />`
        : isMissing ? html`<p class="muted">${isMe ? "You have no entry yet. Others see it once an admin has made it active." : "There is no entry that you may see."}</p>`
        : thing.error.value ? html`<${Failure} error=${thing.error.value} retry=${thing.load} />` : html`<${Lines} rows=${6} />`}
    <//>
    ${asked === "edit" && html`<${TeamForm} address=${address} id=${id} member=${member} name=${title} onDone=${onDone} onStale=${thing.load} onAway=${() => setAsked("")} />`}
    ${asked === "delete" && html`<${Confirm} title=${isMe ? "Leave the directory?" : `Delete the entry of ${title}?`} text=${html`<p>The entry and who may see it are deleted. The account stays as it is.</p>`}
      yes=${isMe ? "Leave the directory" : "Delete entry"} no="Keep it" isDanger onYes=${remove} onNo=${() => setAsked("")} />`}`;
}

/** @param {{member: any, isMe: boolean, mayChange: boolean}} props */
function Content({ member, isMe, mayChange }) {
  const links = Object.entries(member.links).filter(([, address]) => address), hidden = Object.entries(member.field_visibility ?? {});
  return html`<section><h3 class="vh">Facts</h3><${Facts} rows=${[["Position", member.position], ["Department", member.department && html`<a href=${href("team", { department: member.department })}>${member.department}</a>`],
      ["Account", isAdmin.value && html`<a href=${href("users", { open: member.user_id })}>${isMe ? "You" : "Show account"}</a>`], ["Id", html`<${CopyId} id=${member.user_id} what="the id of the account" />`]]} /></section>
    ${member.bio && html`<section><h3>About</h3><p class="said">${member.bio}</p></section>`}
    ${member.skills.length > 0 && html`<section><h3>Skills</h3><p class="btns">${member.skills.map((/** @type {string} */ one) => html`<a class="badge line" key=${one} href=${href("team", { skill: one })}>${one}</a>`)}</p></section>`}
    ${links.length > 0 && html`<section><h3>Elsewhere</h3>${links.map(([name, address]) => html`<p key=${name}>${words(name)}: <a href=${address} target="_blank" rel="noopener noreferrer">${String(address).replace("https://", "")}</a></p>`)}</section>`}
    ${mayChange && member.visibility && html`<section><h3>Who sees it</h3><${Facts} rows=${[
      ["The entry", VISIBILITY[member.visibility]],
      ...hidden.map(([field, seen]) => /** @type {[string, any]} */ ([words(field), VISIBILITY[String(seen)]])),
      ["State", member.is_active ? html`<${State} of="active" />` : html`<${State} of="hidden" word="Not active yet" />`],
    ]} /></section>`}`;
}
