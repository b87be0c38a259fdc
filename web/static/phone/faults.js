// The faults of networks, customers and attackers. Each one acts on a conversation.

import { pause } from "./line.js";
import { IN_ORDER, OUT_OF_ORDER } from "./conversation.js";

const LOST_FOR = 1200;

/** Twilio delivers the last message again, with the same SID. */
async function again(conversation) {
  const message = conversation.last;
  const bubble = conversation.begin(message, "the same message, delivered again");
  const remark = "The same MessageSid: the stored reply comes back, and no row changes.";
  const step = await conversation.typing(conversation.deliver(message, "Delivered again", remark));
  conversation.hear(step, bubble, "the same words again");
}

/** Two deliveries of one message overlap. */
async function twice(conversation, text) {
  const message = conversation.compose(text);
  const bubble = conversation.begin(message, "delivered twice at once");
  const both = ["One of two", "The other"].map((title) =>
    conversation.deliver(message, title, "Two deliveries of one MessageSid at the same time."),
  );
  const [first, second] = await conversation.typing(Promise.all(both));
  conversation.hear(first, bubble);
  const isSame = first.answer.body === second.answer.body;
  const verdict = isSame ? "Both got exactly the same answer." : "They got different answers.";
  conversation.chat.note(verdict);
  await conversation.refresh();
}

/** The answer gets lost, so Twilio tries again. */
async function lose(conversation, text) {
  const message = conversation.compose(text);
  const bubble = conversation.begin(message, "its first answer gets lost");
  const remark = "The message was recorded, but its answer got lost: the customer sees nothing.";
  await conversation.deliver(message, "The reply is lost", remark);
  conversation.chat.note("The reply got lost. Twilio tries again …");
  conversation.chat.type(true);
  await pause(LOST_FOR);
  const again = "The same reply, and no row changes.";
  const retry = conversation.deliver(message, "Twilio’s retry", again);
  conversation.hear(await conversation.typing(retry), bubble);
}

const media = (kind) => (conversation, text) =>
  conversation.say(conversation.compose(kind === "photo" ? text : "", kind), `A ${kind}`);

/** Statuses arrive in the wrong order: the last confirmation's or, without one, the next one's. */
async function disorder(conversation) {
  if (conversation.confirmation) {
    conversation.ledger.begin();
    conversation.follow(OUT_OF_ORDER);
  } else {
    const isArmed = conversation.statuses === OUT_OF_ORDER;
    conversation.statuses = isArmed ? IN_ORDER : OUT_OF_ORDER;
  }
}

/** An attacker posts in this customer's name, signed with another token. */
async function forge(conversation, text, isChecked) {
  const message = { ...conversation.compose(text), forged: true };
  const bubble = conversation.begin(message, "forged in this customer’s name");
  bubble.element.classList.add("forged");
  const remark = isChecked
    ? "Signed with a wrong token: rejected, and no row has changed."
    : "Signed with a wrong token and accepted: without TWILIO_AUTH_TOKEN this local installation " +
      "checks nothing. Set a token in .env and it is rejected, as always in production.";
  const step = await conversation.deliver(message, "A forgery", remark);
  const { status } = step.answer;
  const believed = "Accepted: no TWILIO_AUTH_TOKEN is set here.";
  conversation.chat.note(status === 200 ? believed : `Rejected with ${status}.`);
  conversation.hear({ answer: { ...step.answer, trouble: "" } }, bubble);
}

export const FAULTS = {
  again,
  twice,
  lose,
  photo: media("photo"),
  voice: media("voice"),
  location: media("location"),
  disorder,
  forge,
};

/** Faults that send a text: the message box or the suggested answer. */
export const NEED_TEXT = new Set(["twice", "lose", "forge"]);
