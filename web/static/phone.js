// The page /phone: composes its parts and handles keys and buttons.

import { Chat } from "./phone/chat.js";
import { Conversation, OUT_OF_ORDER } from "./phone/conversation.js";
import { element } from "./phone/element.js";
import { FAULTS, NEED_TEXT } from "./phone/faults.js";
import { newContact } from "./phone/line.js";
import { showLedger } from "./phone/rows.js";
import { showStep } from "./phone/steps.js";

/** A suggested answer for each state, and how the bot will read it. */
const STATES = {
  START: ["Hi", "The next message opens a conversation, whatever it says."],
  ASK_NAME: ["iPhone 15", "The next message is the product. Then the bot asks for the name."],
  ASK_REVIEW: ["Sarah", "The next message is the name. Then the bot asks for the review."],
  FINISH: ["Amazing battery life.", "The next message is the review. Then the conversation is over."],
};
const TOLD = {
  disorder: "The next confirmation’s statuses will arrive as read, sent, delivered.",
};

const at = (id) => document.getElementById(id);
const { checked } = at("phone").dataset;
const say = at("say");
let conversation;

const show = {
  step(step) {
    at("nothing-yet").hidden = true;
    showStep(at("steps"), step);
  },
  ledger({ ledger, last, statuses, confirmation }) {
    const places = { verdict: at("verdict"), counts: at("counts"), rows: at("rows") };
    showLedger(ledger, places);
    lightState(ledger.now.state);
    button("again").disabled = !last;
    showArmed();
  },
};

const button = (fault) => at("faults").querySelector(`[data-fault=${fault}]`);

function lightState(state) {
  for (const item of at("states").children) {
    if (item.dataset.state === state) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
  const [answer, meaning] = STATES[state] ?? ["Hi", "Another worker is busy with this contact."];
  at("suggestion").hidden = false;
  at("suggestion").textContent = answer;
  at("meaning").textContent = meaning;
}

function showArmed() {
  const isArmed = conversation.statuses === OUT_OF_ORDER;
  button("disorder").setAttribute("aria-pressed", String(isArmed));
  at("told").textContent = isArmed ? TOLD.disorder : "";
}

/** Return the text in the message box or, if it is empty, the suggested answer. */
function takeText() {
  const text = say.value.trim() ? say.value : at("suggestion").textContent;
  say.value = "";
  fitBox();
  return text;
}

function fitBox() {
  say.rows = Math.min(5, say.value.split("\n").length);
}

function sendText(text) {
  const current = conversation;
  current.inTurn(() => current.say(current.compose(text)));
}

at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (say.value.trim()) sendText(takeText());
  say.focus();
});
say.addEventListener("input", fitBox);
say.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at("composer").requestSubmit();
});
at("suggestion").addEventListener("click", () => sendText(at("suggestion").textContent));
at("faults").addEventListener("click", ({ target }) => {
  const { fault } = target.dataset;
  if (!fault) return;
  const current = conversation;
  current.inTurn(() => {
    const needsText = NEED_TEXT.has(fault) || (fault === "photo" && say.value.trim());
    return FAULTS[fault](current, needsText ? takeText() : "", checked === "yes");
  });
  current.inTurn(() => current.isOpen && showArmed());
});

// Contacts are kept for as long as the tab is open, also over a reload.
const contacts = JSON.parse(sessionStorage.getItem("contacts") ?? "[]");

function open(contact) {
  if (!contacts.includes(contact)) contacts.push(contact);
  sessionStorage.setItem("contacts", JSON.stringify(contacts));
  sessionStorage.setItem("contact", contact);
  at("contact").replaceChildren(
    ...contacts.map((each) => element("option", each === contact ? { selected: "" } : {}, each)),
  );
  conversation?.close();
  at("chat").replaceChildren();
  at("steps").replaceChildren();
  at("nothing-yet").hidden = false;
  conversation = new Conversation(contact, new Chat(at("chat"), at("presence")), show);
  conversation.inTurn();
}

at("new-contact").addEventListener("click", () => {
  open(newContact());
  say.focus();
});
at("contact").addEventListener("change", ({ target }) => open(target.value));
open(sessionStorage.getItem("contact") ?? newContact());
