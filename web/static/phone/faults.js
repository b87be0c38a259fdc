// The faults of networks, customers and forgers: each is a play on a conversation.

import { pause } from "./line.js";
import { IN_ORDER, OUT_OF_ORDER } from "./conversation.js";

const LOST_FOR = 1200;

/** Twilio delivers the last message once more, under its SID. */
async function again(conversation) {
  const message = conversation.last;
  const bubble = conversation.begin(message, "the same message, delivered again");
  const remark = "The same MessageSid: the words of the first time come back, and nothing moves.";
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
  const verdict = isSame ? "Both got the same answer, to the letter." : "They got two answers.";
  conversation.chat.note(verdict);
  await conversation.refresh();
}

/** The answer never arrives, so Twilio tries again. */
async function lose(conversation, text) {
  const message = conversation.compose(text);
  const bubble = conversation.begin(message, "its first answer gets lost");
  const remark = "It was recorded, and the answer got lost on its way: the customer sees nothing.";
  await conversation.deliver(message, "The reply is lost", remark);
  conversation.chat.note("The reply got lost. Twilio tries again …");
  conversation.chat.type(true);
  await pause(LOST_FOR);
  const again = "The same words, and no second step.";
  const retry = conversation.deliver(message, "Twilio’s retry", again);
  conversation.hear(await conversation.typing(retry), bubble);
}

const media = (kind) => (conversation, text) =>
  conversation.say(conversation.compose(kind === "photo" ? text : "", kind), `A ${kind}`);

/** Statuses come in the wrong order: of the last confirmation, or else of the next. */
async function disorder(conversation) {
  if (conversation.confirmation) {
    conversation.ledger.begin();
    conversation.follow(OUT_OF_ORDER);
  } else {
    const isArmed = conversation.statuses === OUT_OF_ORDER;
    conversation.statuses = isArmed ? IN_ORDER : OUT_OF_ORDER;
  }
}

/** Somebody else posts in this customer's name, with a token that is not ours. */
async function forge(conversation, text, isChecked) {
  const message = { ...conversation.compose(text), forged: true };
  const bubble = conversation.begin(message, "forged in this customer’s name");
  bubble.element.classList.add("forged");
  const remark = isChecked
    ? "Signed with a wrong token: refused, and no row has moved."
    : "Signed with a wrong token and believed: without TWILIO_AUTH_TOKEN this local installation " +
      "checks nothing. Set one in .env and it is refused, as production always does.";
  const step = await conversation.deliver(message, "A forgery", remark);
  const { status } = step.answer;
  const believed = "Believed: no TWILIO_AUTH_TOKEN is set here.";
  conversation.chat.note(status === 200 ? believed : `Refused with ${status}.`);
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

/** Faults that send a text: what is in the message box, or the next answer. */
export const NEED_TEXT = new Set(["twice", "lose", "forge"]);
