// @ts-check
// Parts that are loaded when they are first shown, so that the first page stays small.

import { html, useEffect, useState } from "../core/view.js";
import { Failure } from "./ui.js";

/** @param {() => Promise<any>} load @param {string} name */
export function later(load, name) {
  /** @type {any} */
  let component = null;
  /** @param {any} props */
  return function Later(props) {
    const [, setLoaded] = useState(component !== null), [isLost, setLost] = useState(false);
    const fetch = () => {
      setLost(false);
      load().then((module) => { component = module[name]; setLoaded(true); }).catch(() => setLost(true));
    };
    useEffect(() => { if (!component) fetch(); }, []);
    if (isLost) return html`<${Failure} error=${null} unharmed="A part of it could not be loaded." retry=${() => location.reload()} />`;
    return component && html`<${component} ...${props} />`;
  };
}
