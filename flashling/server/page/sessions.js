// The sessions that the server holds: the ends of conversations, in memory or parked on its disk.

import { deleteSession, forkSession, parkSession, sessions } from "./api.js";
import { h, press, say } from "./dom.js";
import { ago, bytes, compact } from "./figures.js";
import { Conversation, conversations, newId } from "./store.js";
import { t } from "./words.js";

const EVERY = 3000;

function sum(list, of) {
  return list.reduce((all, one) => all + (of(one) ?? 0), 0);
}

export class Sessions {
  // app: {refused(again), openChat(conversation)}
  constructor(app) {
    this.app = app;
    this.list = null;
    this.word = "";
    this.root = h("div.engine.sessions");
  }

  start() {
    this.timer ??= setInterval(() => document.hidden || this.poll(), EVERY);
    this.draw();
    this.poll();
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
  }

  async poll() {
    try {
      const list = await sessions();
      const isNew = JSON.stringify(list) !== JSON.stringify(this.list) || this.broken;
      this.list = list;
      this.broken = false;
      if (!isNew) return;
    } catch (error) {
      this.broken = true;
      if (error.status === 401) {
        this.stop();
        this.app.refused(() => this.start());
      }
    }
    if (this.timer) this.draw();
  }

  // does something with a session, says how that went and shows what has come of it
  async act(what, done) {
    try {
      await what();
      this.word = done;
    } catch (error) {
      this.word = error.message || t("offline");
    }
    say(this.word);
    this.list = null;
    await this.poll();
  }

  fork(one) {
    const chat = Conversation.load(one.id);
    const taken = new Set(this.list.map((s) => s.id));
    let to = newId();
    for (let n = 2; !chat && (n === 2 || taken.has(to)); n += 1) to = `${one.id}-${n}`;
    this.act(async () => {
      await forkSession(one.id, to);
      if (chat) this.app.openChat(Object.assign(chat.fork(chat.nodes[chat.leaf]), { id: to }));
    }, t("forkedAs", { name: to }));
  }

  remove(one) {
    if (confirm(t("forgetSure"))) this.act(() => deleteSession(one.id), t("forgotten"));
  }

  draw() {
    // a redrawn button keeps the focus
    const at = document.activeElement?.dataset.at;
    const list = this.list ?? this.shown;
    this.shown = list;
    const head = h("header", {}, h("h1", {}, t("sessions")),
      h("span", { class: this.broken ? "live broken" : "live" }, t(this.broken ? "offline" : "live")));
    this.root.replaceChildren(head, h("p.note", {}, t("sessionsNote")), ...(list ? this.whole(list) : []));
    if (at) this.root.querySelector(`[data-at="${CSS.escape(at)}"]`)?.focus();
  }

  whole(list) {
    const one = (value, name) => h("div", {}, h("dd", {}, value), h("dt", {}, name));
    const titles = new Map(conversations().map((c) => [c.id, c.title]));
    const word = h("p.note.word", {}, this.word);
    if (!list.length) return [word, h("p.note", {}, t("noSessions"))];
    return [
      h("dl.figures.four", {}, one(compact(list.length), t("sessions")),
        one(compact(sum(list, (s) => s.tokens)), t("heldTokens")),
        one(bytes(sum(list, (s) => s.bytes.host)), t("host")),
        one(bytes(sum(list, (s) => s.bytes.disk)), t("disk"))),
      word, h("ul.held", {}, list.map((s) => this.row(s, titles))),
    ];
  }

  row(one, titles) {
    const { host, disk } = one.bytes;
    const isChat = titles.has(one.id);
    const name = isChat ? h("a", { href: `#${one.id}` }, titles.get(one.id) || t("untitled"))
      : h("code", { title: one.id }, one.id);
    const places = [["host", host], ["disk", disk]].filter(([, n]) => n !== undefined)
      .map(([tier, n]) => h("span", { class: `place ${tier}` }, `${t(tier)} ${bytes(n)}`));
    const why = disk === undefined ? "noDisk" : host === undefined ? "isParked" : "park";
    const button = (icon, label, act, props) => press(icon, label, act, { "data-at": `${icon} ${one.id}`, ...props });
    return h("li", {}, h("div.name", {}, name),
      h("span.state", { "data-parked": host === undefined }, t(host === undefined ? "parked" : "atHand")),
      h("div.about", {}, h("span", {}, `${compact(one.tokens)} ${t("heldTokens")}`), places, h("span", {}, ago(one.last_used))),
      h("div.acts", {}, button("fork", t("forkSession"), () => this.fork(one)),
        button("disk", t(why), () => this.act(() => parkSession(one.id), t("isParked")), { disabled: why !== "park" }),
        button("bin", t("forget"), () => this.remove(one))));
  }
}
