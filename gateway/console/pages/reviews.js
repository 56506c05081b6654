// @ts-check
// Reviews that wait for a decision by staff, and those that were decided.

import { withQuery } from "../core/api.js";
import { shortened, words } from "../core/format.js";
import { useList } from "../core/list.js";
import { hrefWith, place } from "../core/router.js";
import { html } from "../core/view.js";
import { Table } from "../parts/table.js";
import { Ago, Empty, later, Page } from "../parts/ui.js";

const ReviewDrawer = later(() => import("./review_drawer.js"), "ReviewDrawer");
const STATES = ["pending", "approved", "rejected", "hidden"];

export default function Reviews() {
  const { query } = place.value, status = STATES.includes(query.status) ? query.status : "pending";
  const list = useList(withQuery("/reviews/moderation", { status }));
  return html`<${Page} title="Reviews" lead="A review is public once it is approved.">
      <div class="stack mid"><div class="toolbar"><div class="seg" role="group" aria-label="State">
          ${STATES.map((one) => html`<a key=${one} href=${hrefWith({ status: one === "pending" ? "" : one, open: "" })} aria-current=${one === status ? "true" : undefined}>${one === "pending" ? "Waiting" : words(one)}</a>`)}</div></div>
        <${Table} caption=${`Reviews that are ${status}, newest first`} columns=${COLUMNS} list=${list} noun="review" empty=${nothing(status)} /></div>
    <//>
    ${query.open && html`<${ReviewDrawer} key=${query.open} id=${query.open} list=${list} />`}`;
}

/** Stars, and the rating in words for screen readers. @param {{rating: number}} props */
const Stars = ({ rating }) => html`<span aria-hidden="true">${"★".repeat(rating)}<span class="faint">${"☆".repeat(5 - rating)}</span></span><span class="vh">${rating} of 5 stars</span>`;

/** @type {import("../parts/table.js").Column[]} */
const COLUMNS = [
  { head: "Title", class: "c1 cut", cell: (row) => html`<a class="rowlink" href=${hrefWith({ open: row.id })}>${row.title}</a>` },
  { head: "Rating", class: "c3 nowrap", cell: (row) => html`<${Stars} rating=${row.rating} />` },
  { head: "Reports", class: "num opt", cell: (row) => (row.report_count ? html`<span class="badge bad">${row.report_count}</span>` : html`<span class="muted">0</span>`) },
  { head: "Author", class: "opt mono muted nowrap", title: (row) => row.user_id, cell: (row) => shortened(row.user_id) },
  { head: "Age", class: "num muted nowrap c2", cell: (row) => html`<${Ago} at=${row.created} />` },
];

/** @param {string} status */
const nothing = (status) => (status === "pending"
  ? html`<${Empty} icon="star" title="No reviews wait"><p>People review what they have ordered. New reviews wait here until staff has read them.</p><//>`
  : html`<${Empty} icon="star" title=${`No reviews are ${status}`}><div class="btns"><a class="btn" href=${hrefWith({ status: "" })}>Show those that wait</a></div><//>`);
