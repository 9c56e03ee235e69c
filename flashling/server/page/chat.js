// The conversation that is shown: its turns, the field to write in, and what happens to both.

import { h, icon, grow } from "./dom.js";
import { isPage } from "./code.js";
import { blocks } from "./markdown.js";
import { answer, runOf, stop, takeUp } from "./run.js";
import { turn, versions } from "./turn.js";
import { language, t } from "./words.js";

const NEAR = 90;

export class Chat {
  // app: {model(), pane, listed(), keySheet(again), openSettings(), openChat(conversation), why(conversation, node)}
  constructor(app) {
    this.app = app;
    this.views = new Map();
    this.turns = h("div.turns");
    this.field = h("textarea", { rows: "1", id: "write" });
    this.button = h("button.send", { type: "button", onclick: () => this.press() });
    this.chips = h("div.chips");
    this.jump = h("button.jump", { type: "button", hidden: true, onclick: () => this.end(true) }, icon("down"));
    this.scroller = h("div.scroll", { onscroll: () => this.scrolled() }, this.turns);
    this.warning = h("p.warning", { role: "alert", hidden: true });
    this.root = h("div.chat", {}, this.scroller, h("div.writing", {}, this.jump, this.warning,
      h("div.composer", {}, this.field, h("div.under", {}, this.chips, this.button))));
    this.field.addEventListener("input", () => this.typed());
    this.field.addEventListener("keydown", (event) => {
      // Enter also ends a word of an input method: that is not sending
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!runOf(this.conversation)) this.press();
    });
  }

  open(conversation) {
    this.conversation = conversation;
    this.app.pane.close();
    this.draw();
    this.end(true);
  }

  // the whole path anew
  draw() {
    this.views.clear();
    const conversation = this.conversation;
    const hooks = this.hooks();
    const path = conversation.path();
    for (const node of path) {
      const view = turn(conversation, node, hooks);
      if (view) this.views.set(node.id, view);
    }
    const shown = [...this.views.values()].map((v) => v.root);
    this.turns.replaceChildren(...(shown.length ? shown : [this.welcome()]));
    this.root.classList.toggle("empty", !shown.length);
    this.field.setAttribute("aria-label", t("write"));
    this.jump.setAttribute("aria-label", t("jump"));
    this.controls();
  }

  welcome() {
    const ideas = ["tryExplain", "tryPage", "tryTable"].map((name) => h("li", {},
      h("button.idea", { type: "button", onclick: () => this.send(t(name)) }, t(name))));
    return h("div.welcome", {}, h("h1", {}, t("hello")), h("p", {}, t("helloBy")), h("ul", {}, ideas));
  }

  controls() {
    // the engine may be shown first
    if (!this.conversation) return;
    const run = runOf(this.conversation);
    const last = this.conversation.path().at(-1);
    const open = last?.role === "assistant" && last.calls.length > 0 && !run;
    this.field.placeholder = t(open ? "writeTool" : "write");
    const label = t(run ? "stop" : "send");
    this.button.replaceChildren(icon(run ? "stop" : "send"));
    this.button.title = label;
    this.button.setAttribute("aria-label", label);
    this.button.classList.toggle("stops", Boolean(run));
    this.button.disabled = !run && !this.field.value.trim();
    const s = this.conversation.settings;
    const names = [s.model || this.app.model() || t("settings")];
    if (s.system.trim()) names.push(t("system"));
    if (s.tools.trim() && s.choice !== "none") names.push(t("tools"));
    if (s.form !== "text") names.push(t(s.form));
    if (s.thinking) names.push(`${t("thinkingMode")}${language() === "zh" ? "：" : ": "}${t(s.thinking)}`);
    this.chips.replaceChildren(h("button.chip", {
      type: "button", title: t("settings"), onclick: () => this.app.openSettings(),
    }, icon("sliders"), names.map((n) => h("span", {}, n))));
  }

  typed() {
    grow(this.field);
    this.controls();
  }

  press() {
    if (runOf(this.conversation)) stop(this.conversation);
    else this.send(this.field.value);
  }

  send(text) {
    if (!text.trim() || runOf(this.conversation)) return;
    this.field.value = "";
    grow(this.field);
    const leaf = this.conversation.path().at(-1) ?? null;
    this.generate(this.conversation.add(leaf, { role: "user", text }));
  }

  generate(parent) {
    answer(this.conversation, parent, this.app.model(), this.watch(this.conversation));
  }

  resume(conversation) {
    takeUp(conversation, this.watch(conversation));
  }

  // what happens while an answer of a conversation grows, whether it is shown or not
  watch(conversation) {
    let frame = 0;
    let drawn = false;
    const isShown = () => conversation === this.conversation;
    const changed = (node) => {
      if (!drawn) {
        drawn = true;
        this.saved(conversation);
        if (!isShown()) return;
        this.draw();
        this.end(true);
        // on a touch screen it would bring up the keyboard
        if (matchMedia("(pointer: fine)").matches) this.focus();
        return;
      }
      this.later(conversation);
      if (!isShown()) return;
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        this.views.get(node.id)?.update();
        this.follow();
      });
    };
    const ended = (node) => {
      cancelAnimationFrame(frame);
      this.saved(conversation);
      if (!isShown()) return;
      this.views.get(node.id)?.settle();
      this.grown(node);
      this.follow();
      this.controls();
      if (node.status === 401) this.app.keySheet(() => this.hooks().retry(node));
    };
    return { changed, ended };
  }

  saved(conversation) {
    clearTimeout(this.timer);
    this.timer = null;
    this.warning.hidden = conversation.save();
    this.warning.textContent = this.warning.hidden ? "" : t("full");
    this.app.listed();
  }

  // while an answer grows it is kept about once a second
  later(conversation) {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      conversation.save();
    }, 1000);
  }

  hooks() {
    const conversation = this.conversation;
    const idle = () => !runOf(conversation);
    const choose = (node) => {
      if (!idle()) return;
      conversation.choose(node);
      this.draw();
      this.saved(conversation);
    };
    return {
      choose,
      versions: (node) => versions(conversation, node, { choose }),
      edit: (node, text) => idle() &&
        this.generate(conversation.add(conversation.parent(node), { role: "user", text })),
      retry: (node) => idle() && this.generate(conversation.parent(node)),
      results: (node, results) => idle() && this.generate(conversation.add(node, { role: "tool", results })),
      fork: (node) => this.app.openChat(conversation.fork(node)),
      preview: (part) => this.app.pane.show(part),
      why: (node) => this.app.why(conversation, node),
      grown: (node) => this.grown(node),
    };
  }

  // an open preview follows the newest page of the answer that is being written
  grown(node) {
    const pane = this.app.pane;
    if (!pane.open) return;
    const page = blocks(node.text).filter((b) => b.kind === "fence" && isPage(b)).at(-1);
    if (page && page.text !== pane.part.text) pane.show(page);
  }

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.away = scrollHeight - clientHeight - scrollTop > NEAR;
    this.jump.hidden = !this.away;
  }

  follow() {
    if (!this.away) this.end(false);
  }

  end(always) {
    if (always) this.away = false;
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  focus() {
    this.field.focus();
  }
}
