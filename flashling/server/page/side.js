// The list of conversations, and the way to the other views.

import { h, icon, press } from "./dom.js";
import { conversations } from "./store.js";
import { t } from "./words.js";

const DAY = 86_400_000;

function age(at) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (at >= midnight) return "today";
  return at >= midnight - 6 * DAY ? "week" : "older";
}

// app: {current(), running(id), open(id), fresh(), remove(id), engine(), view(), openSettings(), hide()}
export function drawSide(root, app) {
  const groups = new Map();
  for (const one of conversations().sort((a, b) => b.at - a.at)) {
    const name = age(one.at);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(one);
  }
  const item = (one) => h("li", {}, h("a", {
    href: `#${one.id}`, "aria-current": app.view() === "chat" && one.id === app.current() && "page",
    class: app.running(one.id) ? "busy" : "",
  }, one.title || t("untitled")), press("bin", t("remove"), () => app.remove(one.id)));
  const lists = [...groups].map(([name, list]) => [h("h2", {}, t(name)), h("ul", {}, list.map(item))]);
  root.replaceChildren(
    h("header", {}, h("span.wordmark", {}, "flashling"),
      press("close", t("close"), app.hide, { class: "press narrow" })),
    h("button.fresh", { type: "button", onclick: app.fresh }, icon("plus"), h("span", {}, t("newChat")),
      h("kbd", {}, "Ctrl K")),
    h("nav", { "aria-label": t("chats") }, lists.flat()),
    h("footer", {}, [["sessions", "layers"], ["engine", "pulse"]].map(([view, drawing]) => h("a", {
      href: `#${view}`, "aria-current": app.view() === view && "page" }, icon(drawing), t(view))),
      h("button.plain", { type: "button", onclick: app.openSettings }, icon("sliders"), t("settings"))));
}
