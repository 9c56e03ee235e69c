// The page: which view is shown, the keys, and what joins its parts.

import { deleteSession, models, sessions } from "./api.js";
import { Chat } from "./chat.js";
import { h, press, say } from "./dom.js";
import { Engine } from "./engine.js";
import { Pane } from "./pane.js";
import { runOf, stop } from "./run.js";
import { Settings, keySheet } from "./settings.js";
import { Sessions } from "./sessions.js";
import { drawSide } from "./side.js";
import { Conversation, conversations, forget, keep, kept } from "./store.js";
import { whySheet } from "./why.js";
import { t } from "./words.js";

const side = document.getElementById("side");
const main = document.getElementById("main");
const sheet = document.getElementById("settings");
const narrow = matchMedia("(max-width: 860px)");
// conversations that are open in this page, so that a running one is not loaded twice
const loaded = new Map();
let names = [];
let conversation = null;

const ask = (again) => keySheet(sheet, () => (again(), listModels()));
const pane = new Pane(document.getElementById("pane"), () => document.body.classList.remove("split"));
const show = pane.show.bind(pane);
pane.show = (part) => {
  document.body.classList.add("split");
  show(part);
};
const openChat = (one) => {
  loaded.set(one.id, one);
  one.save();
  go(one.id);
};
const chat = new Chat({
  model: () => names[0] ?? "",
  pane,
  listed,
  keySheet: ask,
  openSettings: () => settings.open(),
  openChat,
  why: (one, node) => whySheet(sheet, one, node),
});
// the views beside the chat, by their addresses
const views = { engine: new Engine(ask), sessions: new Sessions({ refused: ask, openChat }) };
const settings = new Settings(sheet, {
  conversation: () => conversation,
  changed: () => chat.controls(),
  reworded: () => drawAll(),
});

function view() {
  const name = location.hash.slice(1);
  return Object.hasOwn(views, name) ? name : "chat";
}

function drawList() {
  drawSide(side, {
    current: () => conversation?.id,
    running: (id) => loaded.has(id) && runOf(loaded.get(id)),
    fresh, remove, view,
    openSettings: () => (hideSide(), settings.open()),
    hide: hideSide,
  });
}

// a conversation that has begun has an address, so a reload comes back to it
function listed() {
  if (view() === "chat" && conversation.leaf) {
    history.replaceState(null, "", `#${conversation.id}`);
    main.querySelector(".title").textContent = document.title = conversation.title;
  }
  drawList();
}

function bar() {
  const title = view() === "chat" ? conversation.title || t("newChat") : t(view());
  return h("header.bar", {}, press("menu", t("menu"), toggleSide),
    h("span.title", {}, title), press("plus", t("newChat"), fresh));
}

function drawAll() {
  drawList();
  pane.close();
  const shown = views[view()];
  for (const one of Object.values(views)) if (one !== shown) one.stop();
  if (shown) {
    main.replaceChildren(bar(), shown.root);
    shown.start();
  } else {
    main.replaceChildren(bar(), chat.root);
    chat.open(conversation);
    if (!narrow.matches && !sheet.open) chat.focus();
  }
  document.title = shown ? `${t(view())} · flashling` : conversation.title || "flashling";
}

function go(hash) {
  if (location.hash === `#${hash}`) route();
  else location.hash = hash;
}

// the address names the view: an id of a conversation, another view, or nothing for a new chat
function route() {
  const id = location.hash.slice(1);
  if (id && view() === "chat") {
    if (!loaded.has(id)) loaded.set(id, Conversation.load(id));
    conversation = loaded.get(id) ?? Conversation.fresh();
  } else if (!id || !conversation) conversation = Conversation.fresh();
  loaded.set(conversation.id, conversation);
  hideSide();
  drawAll();
  chat.resume(conversation);
}

// takes up what was running when the page was left, whether it is shown or not
function resumeAll() {
  for (const { id } of conversations().filter((c) => c.runs && !loaded.has(c.id))) {
    loaded.set(id, Conversation.load(id));
    if (loaded.get(id)) chat.resume(loaded.get(id));
  }
}

function fresh() {
  go("");
}

function remove(id) {
  if (!confirm(t("removeSure"))) return;
  if (loaded.has(id)) {
    loaded.get(id).gone = true;
    stop(loaded.get(id));
    loaded.delete(id);
  }
  forget(id);
  // what the server holds of it goes too
  sessions().then((list) => list.some((s) => s.id === id) && deleteSession(id)).catch(() => {});
  if (id === conversation.id) fresh();
  else drawList();
}

function toggleSide() {
  const open = narrow.matches ? !document.body.classList.contains("side") : document.body.classList.contains("alone");
  if (narrow.matches) document.body.classList.toggle("side", open);
  else {
    document.body.classList.toggle("alone", !open);
    keep("alone", open ? "" : "yes");
  }
  if (open) side.querySelector("button, a")?.focus();
}

function hideSide() {
  document.body.classList.remove("side");
}

function keys(event) {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    sheet.close();
    fresh();
  } else if (event.key === "Escape" && !sheet.open && !event.isComposing) {
    if (document.body.classList.contains("side")) hideSide();
    else if (runOf(conversation)) stop(conversation);
    else pane.close();
  } else if (event.key === "/" && view() === "chat" && !event.target.closest("input, textarea, select")) {
    event.preventDefault();
    chat.focus();
  }
}

function listModels() {
  models().then((list) => {
    names = list;
    chat.controls();
  }, (error) => {
    if (error.status === 401) ask(() => {});
    else if (!error.status) say(t("offline"));
  });
}

if (kept("alone")) document.body.classList.add("alone");
document.getElementById("shade").addEventListener("click", hideSide);
document.addEventListener("keydown", keys);
addEventListener("hashchange", route);
addEventListener("pagehide", () => loaded.forEach((one) => one && runOf(one) && one.save()));
addEventListener("storage", (event) => event.key === "flashling.chats" && drawList());
route();
resumeAll();
listModels();
