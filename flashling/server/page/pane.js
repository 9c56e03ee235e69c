// The pane beside a conversation where a generated page runs, apart from everything of this one.

import { codeBlock, download } from "./code.js";
import { copier, h, press } from "./dom.js";
import { t } from "./words.js";

// a page that still grows is shown anew at most this often, in milliseconds
const EVERY = 700;

export class Pane {
  constructor(root, closed) {
    this.root = root;
    this.closed = closed;
    window.addEventListener("message", (event) => {
      if (event.source !== this.frame?.contentWindow || event.data?.preview !== "ready") return;
      this.ready = true;
      this.post();
    });
  }

  get open() {
    return !this.root.hidden;
  }

  show(part) {
    const fresh = !this.open;
    this.part = part;
    this.root.hidden = false;
    if (fresh) this.build();
    else this.refresh();
  }

  build() {
    this.ready = false;
    this.frame = h("iframe", { sandbox: "allow-scripts", src: "/page/preview.html", title: t("previewLabel") });
    this.text = h("div.source", { hidden: true });
    const shows = [false, true].map((source) => h("button.tab", {
      type: "button", "aria-pressed": String(!source),
      onclick: () => this.turn(source),
    }, t(source ? "source" : "preview")));
    this.tabs = shows;
    this.root.setAttribute("aria-label", t("previewLabel"));
    this.root.replaceChildren(h("header", {}, h("div.tabs", {}, shows),
      press("retry", t("reload"), () => this.post()),
      copier(t("copy"), t("copied"), () => this.part.text),
      press("save", t("download"), () => download(this.part)),
      press("close", t("close"), () => this.close())), this.frame, this.text);
  }

  turn(source) {
    this.frame.hidden = source;
    this.text.hidden = !source;
    this.tabs.forEach((tab, i) => tab.setAttribute("aria-pressed", String(source === Boolean(i))));
    this.refresh();
  }

  refresh() {
    if (!this.text.hidden) {
      this.block ??= codeBlock(this.part, () => {});
      this.block.update(this.part);
      this.text.replaceChildren(this.block);
    }
    if (this.timer || !this.ready) return;
    const wait = Math.max(0, EVERY - (performance.now() - (this.posted ?? -EVERY)));
    this.timer = setTimeout(() => {
      this.timer = null;
      this.post();
    }, wait);
  }

  post() {
    if (!this.ready || !this.open) return;
    this.posted = performance.now();
    // the frame has no origin that could be named; it holds nothing but this text
    this.frame.contentWindow.postMessage({ page: this.part.text }, "*");
  }

  close() {
    if (!this.open) return;
    this.root.hidden = true;
    this.root.replaceChildren();
    this.frame = this.block = null;
    this.closed();
  }
}
