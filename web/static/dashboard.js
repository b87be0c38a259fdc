// The list of reviews: updates without a reload, search while typing, relative times.
// Without this file everything still works.

const form = document.getElementById("filters");
const live = document.getElementById("live");
const news = document.getElementById("news");
const list = () => document.getElementById("list");
const cards = () => [...document.querySelectorAll("#cards > .card")];

// Times

const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
const inWords = new Intl.RelativeTimeFormat("en", { numeric: "always" });

function tellTimes() {
  for (const time of document.querySelectorAll("#list time")) {
    const seconds = (Date.now() - new Date(time.dateTime)) / 1000;
    const [unit, length] = units.find(([, length]) => seconds >= length) ?? ["minute", 60];
    if (seconds < 7 * 86400) {
      time.textContent = seconds < 60 ? "just now" : inWords.format(-Math.floor(seconds / length), unit);
    }
  }
}

// Search

let typing, asked;

// Neither a copied link nor a reload should announce the deletion again.
const here = new URL(location);
here.searchParams.delete("erased");
history.replaceState(null, "", here);
let searched = here.search;

function address() {
  const filled = [...new FormData(form)].filter(([, value]) => value);
  const query = new URLSearchParams(filled).toString();
  return query ? `./?${query}` : "./";
}

/** Fetch a page as a browser does. When the login has expired, reload: that leads to the login. */
async function ask(url, options) {
  const response = await fetch(url, { headers: { Accept: "text/html" }, ...options });
  if (response.redirected) location.reload();
  return response;
}

/**
 * Show the list at `url`. Return whether to listen for changes: not after a rejection, and not when
 * a later search has replaced this one.
 */
async function load(url) {
  asked?.abort();
  asked = new AbortController();
  list().setAttribute("aria-busy", "true");
  try {
    const response = await ask(url, { signal: asked.signal });
    if (response.redirected) return false;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const found = page.getElementById("list");
    if (found) {
      const hadFocus = list().contains(document.activeElement);
      list().replaceWith(found);
      if (hadFocus) found.focus();
      replaceFigures(page);
      tellTimes();
      return true;
    }
    complain(page.querySelector(".notice p")?.textContent ?? `Error ${response.status}`);
    return response.status >= 500;
  } catch (error) {
    if (error.name === "AbortError") return false;
    complain("The server can’t be reached.");
    return true;
  }
}

function replaceFigures(page) {
  const figures = page.getElementById("figures");
  if (figures) document.getElementById("figures")?.replaceWith(figures);
}

function complain(why) {
  const trouble = document.createElement("p");
  trouble.className = "trouble";
  trouble.setAttribute("role", "alert");
  trouble.textContent = why;
  list().replaceChildren(trouble);
  list().removeAttribute("aria-busy");
}

// All that is typed without a pause is one step in the history.
async function search(goesOn = false) {
  const url = address();
  if (goesOn || new URL(url, location).href === location.href) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  searched = location.search;
  silence(); // the open stream has the filters of before
  if (!(await load(url))) return;
  if (list().querySelector(".trouble")) news.textContent = "";
  else news.textContent = cards().length ? `${cards().length} shown` : "No reviews match";
  listen();
}

let isTypingOn = false;
form.q.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    search(isTypingOn);
    isTypingOn = true;
  }, 250);
});
form.addEventListener("change", (event) => {
  isTypingOn = false;
  if (event.target !== form.q) search();
});
form.addEventListener("submit", (event) => {
  event.preventDefault();
  clearTimeout(typing);
  search(isTypingOn);
});
addEventListener("popstate", () => {
  if (location.search !== searched) location.reload(); // for its form and list
});

// News

let source, opening, watching, announcing, refreshing, renewing;
let last = live.dataset.last;
let heardAt = new Date(last);
let figuresAt = 0;
let renewedAt = 0;
const arrived = [];
const MAX_CARDS = 200;
const REPEATED = 4 * 60_000; // the server repeats the last five minutes
const RENEWED_EVERY = 3_000; // at most, whatever arrives
const LONGEST_SILENCE = 30_000; // a stream ends after 20 seconds, and says so

function listen() {
  silence();
  if (document.hidden) return; // all tabs share a browser's few connections to a server
  const query = new URLSearchParams(address().slice(3));
  query.set("shown", cards().map((card) => card.dataset.id).join(","));
  query.set("last", last);
  source = new EventSource(`events?${query}`);
  watch();
  source.addEventListener("open", () => {
    watch();
    const hasMissed = Date.now() - heardAt > REPEATED;
    if (hasMissed || list().querySelector(".trouble")) load(address());
    heardAt = Date.now();
    say("Live", true);
  });
  source.addEventListener("review", (event) => {
    hear(event);
    show(JSON.parse(event.data));
  });
  source.addEventListener("gone", (event) => {
    hear(event);
    document.getElementById(`review-${JSON.parse(event.data).id}`)?.remove();
    if (!cards().length) loadAnew();
  });
  source.addEventListener("many", (event) => {
    hear(event);
    loadAnew();
  });
  source.addEventListener("end", (event) => {
    hear(event);
    again(100);
  });
  source.addEventListener("away", () => {
    say("Database not available", false);
    again(5000);
  });
  source.addEventListener("error", () => {
    say("Not connected", false);
    again(3000);
    ask(address()).catch(() => {}); // the stream does not tell a rejection from an outage
  });
}

document.addEventListener("visibilitychange", listen);

/** Load the list again, and listen for changes of its reviews. */
function loadAnew() {
  silence();
  renewing ??= setTimeout(async () => {
    renewing = undefined;
    renewedAt = Date.now();
    if (await load(address())) listen();
  }, Math.max(0, renewedAt + RENEWED_EVERY - Date.now()));
}

function hear(event) {
  last = event.lastEventId;
  heardAt = Date.now();
  watch();
}

/** Replace a connection that has been silent for too long. */
function watch() {
  clearTimeout(watching);
  watching = setTimeout(() => {
    say("Not connected", false);
    again(100);
  }, LONGEST_SILENCE);
}

function silence() {
  source?.close();
  clearTimeout(opening);
  clearTimeout(watching);
}

function again(milliseconds) {
  silence();
  opening = setTimeout(listen, milliseconds);
}

function say(words, on) {
  live.hidden = false;
  live.classList.toggle("on", on);
  if (live.textContent !== words) live.textContent = words;
}

function show({ id, product, card: html }) {
  const holder = document.createElement("template");
  holder.innerHTML = html.trim();
  const card = holder.content.firstElementChild;
  const old = document.getElementById(card.id);
  if (old?.dataset.version === card.dataset.version) return; // the server repeats itself to be sure
  if (old) {
    replace(old, card);
  } else if (!document.getElementById("cards") || cards().length >= MAX_CARDS) {
    loadAnew();
  } else {
    const next = cards().find((other) => !isNewer(other, card));
    if (!next && document.querySelector("[rel=next]")) return; // it belongs to an older page
    card.classList.add("new");
    if (next) next.before(card);
    else document.getElementById("cards").append(card);
  }
  if (!old) announce(product);
  tellTimes();
}

function replace(old, card) {
  const wasOpen = old.querySelector("details")?.open;
  const hadFocus = old.contains(document.activeElement) && document.activeElement.localName;
  if (wasOpen && card.querySelector("details")) card.querySelector("details").open = true;
  old.replaceWith(card);
  if (hadFocus) card.querySelector(hadFocus)?.focus();
}

function isNewer(one, other) {
  const times = [one, other].map((card) => card.querySelector("time").dateTime);
  if (times[0] !== times[1]) return times[0] > times[1];
  return Number(one.dataset.id) > Number(other.dataset.id);
}

function announce(product) {
  arrived.push(product);
  announcing ??= setTimeout(() => {
    const others = arrived.length > 1 ? ` and ${arrived.length - 1} more` : "";
    news.textContent = `New review: ${arrived.at(-1)}${others}`;
    arrived.length = 0;
    announcing = undefined;
  }, 1500);
  if (document.getElementById("figures")) {
    refreshing ??= setTimeout(refreshFigures, Math.max(1500, figuresAt + 10_000 - Date.now()));
  }
}

async function refreshFigures() {
  figuresAt = Date.now();
  refreshing = undefined;
  try {
    const response = await fetch("./");
    replaceFigures(new DOMParser().parseFromString(await response.text(), "text/html"));
  } catch {
    // The next arrival tries again.
  }
}

tellTimes();
setInterval(tellTimes, 30_000);
listen();
