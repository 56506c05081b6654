// @ts-check
// Numbers, times and names as people read them. English only.

const MINUTE = 60, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const EXACT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const SHORT = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const NUMBER = new Intl.NumberFormat("en-GB");

/** How long ago, as people say it: 40 s, 4 min, 2 h, 3 d. @param {string} time @param {number} now */
export function age(time, now = Date.now()) {
  const seconds = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (Number.isNaN(seconds)) return "–";
  if (seconds < MINUTE) return `${seconds} s`;
  if (seconds < HOUR) return `${Math.floor(seconds / MINUTE)} min`;
  if (seconds < DAY) return `${Math.floor(seconds / HOUR)} h`;
  return `${NUMBER.format(Math.floor(seconds / DAY))} d`;
}

/** @param {string} time */
export const exact = (time) => (Number.isNaN(Date.parse(time)) ? "–" : EXACT.format(new Date(time)));
/** @param {string} time */
export const brief = (time) => (Number.isNaN(Date.parse(time)) ? "–" : SHORT.format(new Date(time)));

/** @param {number} value */
export const count = (value) => NUMBER.format(value);

/** The amount alone, with the digits that its currency has. @param {number} amount @param {string} currency */
export function amount(amount, currency) {
  try {
    const format = new Intl.NumberFormat("en-GB", { style: "currency", currency, currencyDisplay: "code" });
    return format.formatToParts(amount).filter((part) => !["currency", "literal"].includes(part.type)).map((part) => part.value).join("");
  } catch {
    return NUMBER.format(amount); // not a currency of ISO 4217
  }
}

/** @param {number} value @param {string} currency */
export const money = (value, currency) => `${currency} ${amount(value, currency)}`;

/** An id shortened in the middle. @param {string} id */
export const shortened = (id) => (id.length > 16 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id);

/** The words of a code: `in_progress` is "In progress". @param {string} code */
export function words(code) {
  const text = code.replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** @typedef {{first_name?: string | null, last_name?: string | null, username?: string | null, email?: string | null}} Person */

/** @param {Person} person */
export function nameOf(person) {
  const full = [person.first_name, person.last_name].filter(Boolean).join(" ");
  return full || person.username || person.email || "Deleted account";
}

/** @param {string} name */
export function initials(name) {
  const parts = name.split(/[\s._@-]+/).filter(Boolean);
  return ((parts[0]?.[0] ?? "?") + (parts[1]?.[0] ?? "")).toUpperCase();
}

/** "1 order" or "3 orders". @param {number} number @param {string} noun */
export const counted = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
