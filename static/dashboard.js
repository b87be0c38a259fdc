// What the first page does beyond a form and links: news without reload, search as you type,
// times in words. Without this file everything still works.

const form = document.getElementById("filters");
const live = document.getElementById("live");
const news = document.getElementById("news");
const list = () => document.getElementById("list");
const cards = () => [...document.querySelectorAll("#cards > .card")];

// Times

const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
const inWords = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

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

function address() {
  const filled = [...new FormData(form)].filter(([, value]) => value);
  const query = new URLSearchParams(filled).toString();
  return query ? `./?${query}` : "./";
}

// Says whether the list is now what the server answered; a later search takes over from this one.
async function load(url) {
  asked?.abort();
  asked = new AbortController();
  list().setAttribute("aria-busy", "true");
  try {
    const response = await fetch(url, { signal: asked.signal });
    if (new URL(response.url).pathname.endsWith("/login")) {
      location.reload(); // the login has run out
      return false;
    }
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const found = page.getElementById("list");
    if (found) {
      list().replaceWith(found);
      replaceFigures(page);
      tellTimes();
      return true;
    }
    complain(page.querySelector(".notice p")?.textContent ?? `Error ${response.status}`);
  } catch (error) {
    if (error.name !== "AbortError") complain("The server cannot be reached.");
  }
  return false;
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

// What is typed in one go is one step back.
async function search(goesOn = false) {
  const url = address();
  if (goesOn || new URL(url, location).href === location.href) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  if (!(await load(url))) return;
  const count = cards().length;
  news.textContent = count ? `${count} reviews shown` : "No review is like this";
  listen(); // for what these filters leave
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
addEventListener("popstate", () => location.reload()); // to the form and the list of then

// News

let source, opening, ended, announcing, refreshing;
let last = live.dataset.last;
let figuresAt = 0;
const arrived = [];
const MOST_CARDS = 200;

function listen() {
  source?.close();
  clearTimeout(opening);
  if (document.hidden) return; // a browser has few connections to a server, for all its tabs
  const query = new URLSearchParams(address().slice(3));
  query.set("shown", cards().map((card) => card.dataset.id).join(","));
  query.set("last", last);
  source = new EventSource(`events?${query}`);
  source.addEventListener("open", () => {
    const hasSlept = ended && Date.now() - ended > 4 * 60_000; // longer than is told again
    if (hasSlept || list().querySelector(".trouble")) load(address());
    ended = undefined;
    say("Live", true);
  });
  source.addEventListener("review", (event) => {
    last = event.lastEventId;
    show(JSON.parse(event.data));
  });
  source.addEventListener("end", (event) => {
    last = event.lastEventId;
    again(100);
  });
  source.addEventListener("away", () => {
    say("The database is away", false);
    again(5000);
  });
  source.addEventListener("error", () => {
    say("Not connected", false);
    again(3000);
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    source?.close();
    ended ??= Date.now();
  }
  listen();
});

function again(milliseconds) {
  source.close();
  ended ??= Date.now();
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
  if (old) {
    replace(old, card);
  } else if (!document.getElementById("cards") || cards().length >= MOST_CARDS) {
    load(address());
  } else {
    const next = cards().find((other) => !isNewer(other, card));
    if (!next && document.querySelector("[rel=next]")) return; // it is on an older page
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
