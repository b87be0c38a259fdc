// The phone's screen: bubbles, times, ticks and the typing dots.

import { element } from "./element.js";

const KINDS = { photo: "📷 Photo", voice: "🎤 Voice note", location: "📍 Location" };
const TICKS = {
  going: ["◷", "on its way"],
  taken: ["✓✓", "answered"],
  refused: ["✕", "rejected"],
  pending: ["✓", "no status yet"],
  sent: ["✓", "sent"],
  delivered: ["✓✓", "delivered"],
  read: ["✓✓", "read"],
  undelivered: ["!", "not delivered"],
};

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

class Bubble {
  constructor(who, text, at, tag) {
    this.ticks = element("span", { class: "ticks" });
    const meta = element("span", { class: "meta" });
    meta.append(element("time", { datetime: at.toISOString() }, clock.format(at)), this.ticks);
    const name = element("span", { class: "unseen" }, who === "customer" ? "You: " : "Bot: ");
    const words = element("span", { class: "words", dir: "auto" }, text);
    this.element = element("div", { class: `bubble ${who}` }, name);
    if (tag) this.element.append(element("span", { class: "tag" }, tag));
    this.element.append(words, meta);
  }

  tick(status) {
    const [sign, meaning] = TICKS[status] ?? ["✓", status];
    this.ticks.className = `ticks ${status}`;
    this.ticks.replaceChildren(
      element("span", { "aria-hidden": "true" }, sign),
      element("span", { class: "unseen" }, meaning),
    );
    this.ticks.title = meaning;
  }
}

export class Chat {
  constructor(screen, presence) {
    this.screen = screen;
    this.presence = presence;
    this.dots = element("div", { class: "bubble bot dots", "aria-hidden": "true" });
    this.dots.append(element("i"), element("i"), element("i"));
  }

  /** Let go of the screen: what still arrives must not appear on it. */
  close() {
    this.type(false);
    this.screen = element("div");
    this.presence = element("p");
  }

  customerSays({ kind = "text", text = "" }, { at = new Date(), tag = "" } = {}) {
    const words = [KINDS[kind], text].filter(Boolean).join("\n");
    return this.#show(new Bubble("customer", words, at, tag));
  }

  botSays(words, { at = new Date(), tag = "" } = {}) {
    return this.#show(new Bubble("bot", words, at, tag));
  }

  note(text) {
    this.#append(element("p", { class: "note" }, text));
  }

  type(isTyping) {
    this.presence.textContent = isTyping ? "typing…" : "online";
    if (isTyping) this.#append(this.dots);
    else this.dots.remove();
  }

  #show(bubble) {
    this.#append(bubble.element);
    return bubble;
  }

  #append(shown) {
    this.screen.append(shown);
    this.screen.scrollTop = this.screen.scrollHeight;
  }
}
