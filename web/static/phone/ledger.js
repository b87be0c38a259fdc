// What the tables hold of a contact, held against what the phone has been told.

export const KEYS = { messages: "message_sid", reviews: "id" };

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

/** List the rows that came, went or changed, as sentences. */
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
    this.isForgotten = false;
    /** SID to the words that answered it; null where these were erased. */
    this.told = new Map(
      records.tables.messages.map((row) => [row.message_sid, row.erased_at ? null : row.reply]),
    );
    this.refused = new Set();
    this.problems = new Set();
  }

  /** Begin a play: what is there now is what was there before it. */
  begin() {
    this.before = this.now;
  }

  /** Take what the tables hold now. Who is forgotten has none of the messages of before. */
  see(records) {
    const sids = new Set(records.tables.messages.map((row) => row.message_sid));
    const known = this.now.tables.messages.map((row) => row.message_sid);
    if (known.length && !known.some((sid) => sids.has(sid))) {
      this.isForgotten = true;
      for (const sid of known) this.told.delete(sid);
    }
    this.now = records;
  }

  /** Note what a delivery was answered. */
  note(sid, { status, words, is_apology: isApology }) {
    this.deliveries += 1;
    if (status >= 400 && status < 500) this.refused.add(sid);
    if (words === null || isApology) return;
    const known = this.told.get(sid);
    if (known && known !== words) this.problems.add(`${short(sid)} was answered in two ways`);
    this.told.set(sid, words);
  }

  /** Say what is wrong, if anything. */
  check() {
    const problems = [...this.problems];
    const { messages, reviews } = this.now.tables;
    const rows = new Map(messages.map((row) => [row.message_sid, row]));
    for (const [sid, words] of this.told) {
      const row = rows.get(sid);
      if (!row) problems.push(`${short(sid)} was answered and is not in the log`);
      else if (!row.erased_at && row.reply !== words) {
        problems.push(`${short(sid)} has other words in the log`);
      }
    }
    for (const row of messages) {
      if (this.refused.has(row.message_sid)) {
        problems.push(`${short(row.message_sid)} was refused and is in the log`);
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
