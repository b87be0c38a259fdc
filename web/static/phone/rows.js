// The rows of a contact: counts before and now, what they mean, and the rows themselves.

import { element } from "./element.js";
import { KEYS, count } from "./ledger.js";

/** Show the counts before and now, the verdict, and the rows themselves. */
export function showLedger(ledger, { verdict, counts, rows }) {
  const { messages, reviews } = ledger.now.tables;
  const problems = ledger.check();
  const finished = messages.filter((row) => row.outcome === "finished").length;
  verdict.className = `verdict ${problems.length ? "bad" : "good"}`;
  const erased = ledger.isErased
    ? "Earlier messages are gone: this contact was erased, or the log was lost. "
    : "";
  verdict.textContent = problems.length
    ? `Something is wrong: ${problems.join("; ")}.`
    : `${erased}Nothing lost, nothing duplicated: ${count(messages.length, "message")} in the log, each ` +
      `once; ${count(finished, "finished conversation")}, ${count(reviews.length, "review")}. ` +
      `${count(ledger.deliveries, "delivery", "deliveries")} since this page was opened.`;
  counts.replaceChildren(...Object.keys(KEYS).map((table) => countRow(ledger, table)));
  rows.replaceChildren(...Object.entries(ledger.now.tables).map((each) => rowTable(...each)));
}

function countRow(ledger, table) {
  const [was, is] = [ledger.before.tables[table].length, ledger.now.tables[table].length];
  const change = is - was;
  const sign = change > 0 ? `+${change}` : change < 0 ? `−${-change}` : "none";
  return element(
    "tr",
    {},
    element("th", { scope: "row" }, element("code", {}, table)),
    element("td", {}, String(was)),
    element("td", {}, String(is)),
    element("td", { class: change ? "moved" : "quiet" }, sign),
  );
}

function rowTable(table, rows) {
  const title = element("h3", {}, element("code", {}, table));
  if (!rows.length) return element("div", {}, title, element("p", { class: "quiet" }, "no rows"));
  const names = Object.keys(rows[0]);
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
  const body = rows.map((row) => {
    return element("tr", {}, ...names.map((name) => element("td", {}, written(row[name]))));
  });
  const whole = element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
  const label = { role: "region", "aria-label": `Rows of ${table}` };
  const frame = element("div", { class: "scroll", tabindex: "0", ...label }, whole);
  return element("div", {}, title, frame);
}

function written(value) {
  if (value !== null && typeof value === "object") return JSON.stringify(value);
  return String(value ?? "–");
}
