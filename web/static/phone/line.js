// Requests to the server, whose simulator plays Twilio for this page.

async function ask(what, body) {
  const response = await fetch(`phone/${what}`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  }).catch(() => {
    throw new Error("The server does not answer. Is it still running?");
  });
  if (!response.ok) throw new Error(`The server answered ${response.status}.`);
  return response.json();
}

/** Deliver a message. With a known SID it is a repeat. */
export const send = (message) => ask("messages", message);

/** Report a delivery status to the address in the confirmation's TwiML. */
export const report = (status) => ask("statuses", status);

/** Read the rows of a contact. */
export const readRecords = (contact) => ask("records", { contact });

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export function newSid(prefix = "SM") {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return prefix + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export function newContact() {
  const [number] = crypto.getRandomValues(new Uint32Array(1));
  return `+1555${String(number % 10_000_000).padStart(7, "0")}`;
}
