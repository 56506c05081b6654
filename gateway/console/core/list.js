// @ts-check
// Lists by cursor, and single things: loaded, refreshed without moving anything, and never blanked by a fault.

import { get } from "./api.js";
import { onNews, staleSince } from "./app_state.js";
import { signal, useLayoutEffect, useMemo } from "./view.js";

const REFRESH_MS = 30_000;

/** @typedef {{id: string} & Record<string, any>} Row */

export class List {
  /** @param {string} path @param {(row: any) => Row} [shape] */
  constructor(path, shape) {
    this.path = path;
    this.shape = shape;
    /** @type {import("./view.js").Signal<Row[] | null>} null until the first page is here */
    this.rows = signal(null);
    /** @type {import("./view.js").Signal<any>} */
    this.error = signal(null);
    /** @type {import("./view.js").Signal<string | null>} */
    this.next = signal(null);
    this.isLoading = signal(false);
    /** Rows that arrived since the last load; shown when the person asks for them. @type {import("./view.js").Signal<Row[]>} */
    this.fresh = signal([]);
    /** The tag of the first page: while it is the same, refreshing costs little and is not recorded. @type {string | null} */
    this.etag = null;
    this.abort = new AbortController();
    /** The ids of the rows, as long as `rows` holds the same ones: collecting them anew for each page would grow with the list. */
    this.known = { rows: /** @type {Row[] | null} */ (null), ids: /** @type {Set<string>} */ (new Set()) };
  }

  load() {
    return this.#fetch(this.path, (data, next, etag) => {
      this.etag = etag;
      this.rows.value = data;
      this.next.value = next;
      this.fresh.value = [];
    });
  }

  more() {
    const next = this.next.value;
    if (!next || this.isLoading.value) return undefined;
    return this.#fetch(next, (data, following) => {
      const rows = this.rows.value ?? [], ids = this.known.rows === rows ? this.known.ids : new Set(rows.map((row) => row.id));
      const added = data.filter((row) => !ids.has(row.id));
      for (const row of added) ids.add(row.id);
      this.known = { rows: [...rows, ...added], ids };
      this.rows.value = this.known.rows;
      this.next.value = following;
    });
  }

  /** Show the rows that arrived since the last load. */
  showFresh() {
    this.rows.value = [...this.fresh.value, ...(this.rows.value ?? [])];
    this.fresh.value = [];
  }

  /** Replace one row where it stands. @param {Row} row */
  put(row) {
    this.etag = null; // the rows here are no longer those of the tag
    this.rows.value = this.rows.value?.map((one) => (one.id === row.id ? { ...one, ...row } : one)) ?? null;
  }

  /** Take one row out of the list. @param {string} id */
  remove(id) {
    this.etag = null;
    this.rows.value = this.rows.value?.filter((one) => one.id !== id) ?? null;
  }

  /** Rows have an id; that of some lists has another name. @param {any[]} data @returns {Row[]} */
  #rows(data) {
    return this.shape ? data.map(this.shape) : data;
  }

  /** @param {string} path @param {(data: Row[], next: string | null, etag: string | null) => void} then */
  async #fetch(path, then) {
    this.isLoading.value = true;
    this.error.value = null;
    try {
      const { data, next, etag } = await get(path, { signal: this.abort.signal });
      then(this.#rows(data), next, etag);
    } catch (error) {
      if (!this.abort.signal.aborted) this.error.value = error;
    } finally {
      this.isLoading.value = false;
    }
  }

  /** Ask for the first page again: known rows change in place, new ones are announced. */
  async refresh() {
    if (document.hidden || this.rows.value === null || this.isLoading.value) return;
    try {
      const { data: found, etag, status } = await get(this.path, { known: this.etag, signal: this.abort.signal });
      staleSince.value = 0;
      if (status === 304) return;
      const data = this.#rows(found);
      const known = new Map([...this.fresh.value, ...(this.rows.value ?? [])].map((row) => [row.id, row]));
      const arrived = data.filter((row) => !known.has(row.id));
      if (arrived.length) this.fresh.value = [...arrived, ...this.fresh.value];
      const changed = data.filter((row) => known.has(row.id) && JSON.stringify(known.get(row.id)) !== JSON.stringify(row));
      for (const row of changed) this.put(row);
      this.etag = etag;
    } catch {
      if (!this.abort.signal.aborted && !staleSince.value) staleSince.value = Date.now();
    }
  }
}

/** The list of a path; a new one when the path changes. @param {string} path @param {{refreshes?: boolean, shape?: (row: any) => Row}} [how] @returns {List} */
export function useList(path, { refreshes = true, shape } = {}) {
  const list = useMemo(() => new List(path, shape), [path]);
  useLayoutEffect(() => { // before the browser paints: on a slow device that takes longer than the response
    list.load();
    if (!refreshes) return () => list.abort.abort();
    staleSince.value = 0;
    const timer = setInterval(() => list.refresh(), REFRESH_MS), quiet = onNews(() => list.refresh());
    return () => {
      clearInterval(timer);
      quiet();
      list.abort.abort();
      staleSince.value = null;
    };
  }, [list]);
  return list;
}

/** One thing: `data` stays while it is loaded again. @param {string | null} path */
export function useThing(path) {
  const thing = useMemo(() => {
    const abort = new AbortController();
    /** @type {import("./view.js").Signal<any>} */
    const data = signal(null);
    /** @type {import("./view.js").Signal<any>} */
    const error = signal(null);
    let asked = 0;
    const load = async () => {
      const number = ++asked, known = data.value;
      error.value = null;
      try {
        const found = path && (await get(path, { signal: abort.signal })).data;
        // What was saved or requested meanwhile is newer than this response.
        if (number === asked && data.value === known) data.value = found;
      } catch (refused) {
        if (!abort.signal.aborted && number === asked) error.value = refused;
      }
    };
    return { data, error, load, abort };
  }, [path]);
  useLayoutEffect(() => { // see useList
    if (path) thing.load();
    return () => thing.abort.abort();
  }, [thing]);
  return thing;
}
