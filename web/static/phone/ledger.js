// Compares the rows of a contact with the answers that the phone got.

export const KEYS = { messages: "message_sid", reviews: "id" };

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** Describe the rows that were added, removed or changed. */
export function changesBetween(before, after) {
  const changes = [];
  for (const [table, key] of Object.entries(KEYS)) {
    const old = new Map(before.tables[table].map((row) => [row[key], row]));
    for (const row of after.tables[table]) {
      const was = old.get(row[key]);
      old.delete(row[key]);
      if (!was) changes.push({ sign: "+", table, text: describe(table, row) });
      else if (!same(was, row)) changes.push({ sign: "~", table, text: difference(was, row) });
    }
    for (const row of old.values()) {
      changes.push({ sign: "−", table, text: describe(table, row) });
    }
  }
  if (before.state !== after.state) {
    changes.push({ sign: "→", table: "state", text: `${before.state} → ${after.state}` });
  }
  return changes;
}

function describe(table, row) {
  if (table === "reviews") {
    return `${row.id} “${row.product_name}” by ${row.user_name}, ${row.status}`;
  }
  const media = row.media.length ? `[${row.media[0].type}]` : "";
  return `${short(row.message_sid)} turn ${row.turn}, ${row.outcome} “${row.body}”${media}`;
}

function difference(was, row) {
  const names = Object.keys(row).filter((name) => !same(was[name], row[name]));
  return names.map((name) => `${name}: ${was[name] || "–"} → ${row[name] || "–"}`).join(", ");
}

export const count = (number, one, many = `${one}s`) => `${number} ${number === 1 ? one : many}`;

const short = (sid) => `${sid.slice(0, 6)}…`;

export class Ledger {
  constructor(records) {
    this.before = this.now = records;
    this.deliveries = 0;
    this.isErased = false;
    /** The reply to each SID; null if it was erased. */
    this.told = new Map(
      records.tables.messages.map((row) => [row.message_sid, row.erased_at ? null : row.reply]),
    );
    this.refused = new Set();
    this.problems = new Set();
  }

  /** Begin an action: the rows of this moment are the rows before it. */
  begin() {
    this.before = this.now;
  }

  /** Take the rows of now. An erased contact has none of its earlier messages. */
  see(records) {
    const sids = new Set(records.tables.messages.map((row) => row.message_sid));
    const known = this.now.tables.messages.map((row) => row.message_sid);
    if (known.length && !known.some((sid) => sids.has(sid))) {
      this.isErased = true;
      for (const sid of known) this.told.delete(sid);
    }
    this.now = records;
  }

  /** Note the answer to a delivery. */
  note(sid, { status, words, is_apology: isApology }) {
    this.deliveries += 1;
    if (status >= 400 && status < 500) this.refused.add(sid);
    if (words === null || isApology) return;
    const known = this.told.get(sid);
    if (known && known !== words) this.problems.add(`${short(sid)} got two different answers`);
    this.told.set(sid, words);
  }

  /** List what is wrong. */
  check() {
    const problems = [...this.problems];
    const { messages, reviews } = this.now.tables;
    const rows = new Map(messages.map((row) => [row.message_sid, row]));
    for (const [sid, words] of this.told) {
      const row = rows.get(sid);
      if (!row) problems.push(`${short(sid)} was answered and is not in the log`);
      else if (!row.erased_at && row.reply !== words) {
        problems.push(`${short(sid)} has another reply in the log`);
      }
    }
    for (const row of messages) {
      if (this.refused.has(row.message_sid)) {
        problems.push(`${short(row.message_sid)} was rejected and is in the log`);
      }
      if (row.outcome !== "finished" || row.erased_at) continue;
      const made = reviews.filter((review) => review.conversation_id === row.conversation_id);
      if (made.length !== 1) {
        problems.push(`${short(row.conversation_id)} made ${count(made.length, "review")}`);
      }
    }
    return problems;
  }
}
