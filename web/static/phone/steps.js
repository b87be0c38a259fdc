// The steps: what was posted, what came back, which rows changed.

import { element } from "./element.js";

/** Show a request on top, unfolded. */
export function showStep(list, { request, answer, changes, title, remark }) {
  for (const details of list.querySelectorAll("details[open]")) details.open = false;
  const summary = element("summary", {}, element("strong", {}, title));
  const [status, time] = [String(answer.status), `${answer.milliseconds.toFixed(0)} ms`];
  summary.append(
    element("span", { class: answer.status < 300 ? "status good" : "status bad" }, status),
    element("span", { class: "quiet" }, [time, ...said(request)].join(" · ")),
  );
  const details = element("details", { open: "" }, summary);
  if (remark) details.append(element("p", { class: "remark" }, remark));
  details.append(
    element("h3", {}, "Posted"),
    element("p", { class: "path" }, `POST ${request.path} · ${signature(request)}`),
    fields(request.fields),
    element("h3", {}, "Came back"),
    element("pre", { tabindex: "0" }, `${status}\n${answer.body || "(empty, as expected)"}`),
    element("h3", {}, "Rows that changed"),
    changes.length ? changed(changes) : element("p", { class: "quiet" }, "None."),
  );
  list.prepend(element("li", {}, details));
}

function said({ fields: { Body: text } }) {
  const letters = Array.from(text ?? "");
  if (!letters.length) return [];
  return [letters.length > 40 ? `${letters.slice(0, 40).join("")}…` : text];
}

function signature({ is_signed: isSigned, is_forged: isForged }) {
  if (isForged) return "signed with a wrong token";
  return isSigned ? "signed" : "not signed: no token is set";
}

const MAIN = ["MessageSid", "MessageStatus", "From", "Body"];

function fields(form) {
  const label = { role: "region", "aria-label": "Fields of the form" };
  const list = element("dl", {});
  const main = MAIN.filter((name) => name in form);
  const others = Object.keys(form).filter((name) => !MAIN.includes(name));
  for (const name of [...main, ...others]) {
    const look = main.includes(name) ? { class: "main" } : {};
    list.append(element("dt", look, name), element("dd", look, form[name] || "(blank)"));
  }
  return element("div", { class: "fields", tabindex: "0", ...label }, list);
}

function changed(changes) {
  const list = element("ul", { class: "changes" });
  for (const { sign, table, text } of changes) {
    list.append(element("li", {}, `${sign} `, element("code", {}, table), ` ${text}`));
  }
  return list;
}
