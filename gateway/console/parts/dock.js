// @ts-check
// The dock of uploads at the bottom right: it stays while one goes to other pages, and comes back after a reload.

import { size } from "../core/bytes.js";
import { dock } from "../core/app_state.js";
import { add, cancel, forgetDone, pause, remember, resume, uploads } from "../core/uploads.js";
import { html, useEffect, useRef, useState } from "../core/view.js";
import { Icon } from "./ui.js";

/** Show the dock, with what was unfinished when the page was left. */
export function openDock() {
  if (dock.value) return;
  remember();
  dock.value = Dock;
}

/** @param {Iterable<File>} files */
export function upload(files) {
  openDock();
  add(files);
}

function Dock() {
  const all = uploads.value, isBusy = all.some((one) => ["sending", "waiting"].includes(one.state)), [isFolded, setFolded] = useState(false);
  useEffect(() => {
    if (!isBusy) return undefined;
    /** @param {BeforeUnloadEvent} event */
    const warn = (event) => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [isBusy]);
  if (!all.length) return null;
  const done = all.filter((one) => one.state === "done").length;
  return html`<section class="dock" aria-label="Uploads">
    <header><h2>Uploads</h2><span class="muted" role="status">${done} of ${all.length} done</span>
      <button class="btn quiet icon sm" type="button" aria-expanded=${String(!isFolded)} aria-label=${isFolded ? "Show uploads" : "Fold uploads"} onClick=${() => setFolded(!isFolded)}><${Icon} name=${isFolded ? "up" : "down"} /></button>
      ${done > 0 && html`<button class="btn quiet icon sm" type="button" aria-label="Remove those that are done" onClick=${forgetDone}><${Icon} name="x" /></button>`}</header>
    ${!isFolded && html`<ul>${all.map((one) => html`<${Line} key=${one.key} one=${one} />`)}</ul>`}
  </section>`;
}

/** @param {{one: import("../core/uploads.js").Upload}} props */
function Line({ one }) {
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const isOver = one.state === "done";
  return html`<li><div class="t"><span class="name" title=${one.name}>${one.name}</span><small>${said(one)}</small></div>
    <span class="btns">${one.state === "sending" || one.state === "waiting" ? html`<button class="btn quiet icon sm" type="button" aria-label=${`Pause ${one.name}`} onClick=${() => pause(one.key)}><${Icon} name="pause" /></button>`
      : one.state === "paused" ? html`<button class="btn quiet icon sm" type="button" aria-label=${`Resume ${one.name}`} onClick=${() => resume(one.key)}><${Icon} name="play" /></button>`
      : one.state === "failed" ? html`<button class="btn quiet icon sm" type="button" aria-label=${`Try ${one.name} again`} onClick=${() => resume(one.key)}><${Icon} name="refresh" /></button>`
      : one.state === "lost" && html`<button class="btn sm" type="button" onClick=${() => input.current?.click()}>Choose the file</button>
        <input class="vh" type="file" tabindex="-1" aria-label=${`The file ${one.name}`} ref=${input} onChange=${() => add(input.current?.files ?? [])} />`}
    ${isOver ? html`<${Icon} name="check" class="good" />` : html`<button class="btn quiet icon sm" type="button" aria-label=${`Cancel ${one.name}`} onClick=${() => cancel(one.key)}><${Icon} name="x" /></button>`}</span>
    ${!isOver && html`<progress class=${one.state === "failed" ? "bad" : ""} max=${one.size || 1} value=${one.sent} aria-label=${`Progress of ${one.name}`}></progress>`}</li>`;
}

/** What there is to say of an upload. @param {import("../core/uploads.js").Upload} one */
function said(one) {
  const part = `${size(one.sent)} of ${size(one.size)}`;
  if (one.state === "done") return size(one.size);
  if (one.state === "failed") return one.why;
  if (one.state === "lost") return `Stopped at ${part}. Choose the same file to go on.`;
  if (one.state === "paused") return `Paused at ${part}`;
  if (one.state === "waiting") return `${size(one.size)}, waits`;
  return one.rate ? `${part}, ${size(one.rate)}/s, ${Math.ceil((one.size - one.sent) / one.rate)} s left` : part;
}
