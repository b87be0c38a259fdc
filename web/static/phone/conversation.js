// One contact's conversation with the bot: each delivery, its answer, and the rows it changed.

import { Ledger, changesBetween } from "./ledger.js";
import { newSid, pause, readRecords, report, send } from "./line.js";

export const IN_ORDER = ["sent", "delivered", "read"];
export const OUT_OF_ORDER = ["read", "sent", "delivered"];
/** The log's media types; it keeps nothing of a location. */
const KINDS = { image: "photo", audio: "voice" };
// Users who want no motion should not wait for it.
const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
const TYPING = isCalm ? 0 : 550;
const BETWEEN_STATUSES = isCalm ? 50 : 650;

export class Conversation {
  /** The last message of the customer. */
  last = null;
  /** The last confirmation: its status callback and its bubble. */
  confirmation = null;
  /** The order of the next confirmation's statuses. */
  statuses = IN_ORDER;
  isOpen = true;

  #turn = Promise.resolve();

  /** `show` draws a step and the ledger. It is not called after `close`. */
  constructor(contact, chat, show) {
    this.contact = contact;
    this.chat = chat;
    this.show = show;
  }

  close() {
    this.isOpen = false;
    this.chat.close();
  }

  /** Show what was said before. */
  async #open() {
    const records = await readRecords(this.contact);
    this.ledger = new Ledger(records);
    for (const row of records.tables.messages) this.#recall(row, records.tables.reviews);
    if (this.isOpen) this.show.ledger(this);
  }

  #recall(row, reviews) {
    if (row.erased_at) return this.chat.note("Deleted.");
    const at = new Date(row.received_at);
    const kind = KINDS[row.media[0]?.type.split("/")[0]];
    const text = row.body || (kind ? "" : "(no text)");
    this.chat.customerSays({ kind, text }, { at }).tick("taken");
    const bubble = this.chat.botSays(row.reply, { at });
    const review = reviews.find(({ conversation_id: id }) => id === row.conversation_id);
    if (row.outcome === "finished" && review) bubble.tick(review.status);
  }

  /** Run one action after another: rows appear in the order in which they changed. */
  inTurn(play = () => {}) {
    const inOrder = this.#turn.then(async () => {
      if (!this.ledger) await this.#open();
      await play();
    });
    this.#turn = inOrder.catch((error) => {
      this.chat.type(false);
      this.chat.note(error.message);
    });
    return this.#turn;
  }

  compose(text, kind = "text") {
    const sid = newSid(kind === "photo" || kind === "voice" ? "MM" : "SM");
    return { contact: this.contact, sid, kind, text };
  }

  /** Send a message from the phone and show the answer. */
  async say(message, title = "A message") {
    const bubble = this.begin(message);
    const step = await this.typing(this.deliver(message, title));
    this.hear(step, bubble);
  }

  /** Show a message as sent. The rows of this moment are the rows before it. */
  begin(message, tag = "") {
    if (!message.forged) this.last = message;
    this.ledger.begin();
    const bubble = this.chat.customerSays(message, { tag });
    bubble.tick("going");
    return bubble;
  }

  /** Show the typing dots until the answer is there, and long enough to be seen. */
  async typing(answer) {
    this.chat.type(true);
    const [step] = await Promise.all([answer, pause(TYPING)]);
    this.chat.type(false);
    return step;
  }

  async deliver(message, title, remark = "") {
    const step = await send(message);
    this.ledger.note(message.sid, step.answer);
    this.take(step, title, remark);
    return step;
  }

  /** Show the answer to the message in `bubble`. */
  hear({ answer }, bubble, tag = "") {
    bubble.tick(answer.status === 200 ? "taken" : "refused");
    if (answer.trouble) this.chat.note(`No answer: ${answer.trouble}`);
    if (!answer.words) return;
    const reply = this.chat.botSays(answer.words, { tag });
    if (!answer.callback) return;
    reply.tick("pending");
    this.confirmation = { callback: answer.callback, bubble: reply, sid: newSid() };
    this.follow(this.statuses);
    this.statuses = IN_ORDER;
  }

  /** Report statuses of the last confirmation, with pauses between them. */
  async follow(statuses) {
    const { confirmation } = this;
    for (const status of statuses) {
      await pause(BETWEEN_STATUSES);
      await this.inTurn(() => this.#report(confirmation, status));
    }
  }

  async #report({ callback, bubble, sid }, status) {
    const step = await report({ contact: this.contact, sid, callback, status });
    const isOurs = ({ conversation_id: id }) => callback.endsWith(`review=${id}`);
    const review = step.records.tables.reviews.find(isOurs);
    const isLate = review && review.status !== status;
    const remark = isLate ? `It stays “${review.status}”, which ranks higher.` : "";
    this.take(step, `Status “${status}”`, remark);
    if (review) bubble.tick(review.status);
  }

  /** Show a step and the rows after it. */
  take(step, title, remark = "") {
    const changes = changesBetween(this.ledger.now, step.records);
    if (this.isOpen) this.show.step({ ...step, changes, title, remark });
    this.#showRecords(step.records);
  }

  /** Read the rows again: of two parallel deliveries, either may have read them last. */
  async refresh() {
    this.#showRecords(await readRecords(this.contact));
  }

  #showRecords(records) {
    this.ledger.see(records);
    if (this.isOpen) this.show.ledger(this);
  }
}
