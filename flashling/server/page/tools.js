// Tool calls as cards. The page runs no tool: a person types or pastes what it returned.

import { copier, grow, h, icon } from "./dom.js";
import { highlight } from "./highlight.js";
import { t } from "./words.js";

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function coloured(text) {
  return h("pre", { tabindex: "0" }, h("code", {}, highlight(text, "json")));
}

function card(call) {
  const args = h("div.json");
  const below = h("div.below");
  const state = h("span.state");
  const root = h("section.tool", {}, h("header", {}, icon("tool"), h("code.name"), state,
    copier(t("copy"), t("copied"), () => call.arguments)), args, below);
  return { root, args, below, state, name: root.querySelector(".name") };
}

// the cards of an answer and, once it stands, where their results are given
export function toolCards(conversation, node, hooks) {
  const root = h("div.tools");
  const cards = [];
  let asked = null;

  const given = () => {
    const path = conversation.path();
    const next = path[path.indexOf(node) + 1];
    return next?.role === "tool" ? next : null;
  };

  function form(before = {}) {
    const fields = node.calls.map((call, i) => {
      const label = `${t("result")}: ${call.name}`;
      const field = h("textarea", { rows: "2", placeholder: t("typeResult"), "aria-label": label });
      field.value = before[call.id] ?? "";
      field.addEventListener("input", () => grow(field));
      cards[i].below.replaceChildren(field);
      return field;
    });
    const give = () => hooks.results(node,
      Object.fromEntries(node.calls.map((call, i) => [call.id, fields[i].value])));
    for (const field of fields) {
      field.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
        event.preventDefault();
        give();
      });
    }
    const label = t(node.calls.length > 1 ? "sendResults" : "sendResult");
    asked?.remove();
    asked = h("div.row", {}, h("button.main", { type: "button", onclick: give }, label));
    root.append(asked);
  }

  function results(tool) {
    node.calls.forEach((call, i) => cards[i].below.replaceChildren(
      h("h4", {}, t("result")), coloured(pretty(tool.results[call.id] ?? ""))));
    asked?.remove();
    asked = h("div.row", {}, hooks.versions(tool), h("button.quiet", {
      type: "button", onclick: () => form(tool.results),
    }, icon("edit"), t("editResult")));
    root.append(asked);
  }

  function update() {
    const open = node.state === "running";
    const tool = open ? null : given();
    node.calls.forEach((call, i) => {
      if (!cards[i]) root.append((cards[i] = card(call)).root);
      const one = cards[i];
      one.name.textContent = call.name;
      const text = open ? call.arguments : pretty(call.arguments);
      if (one.shown !== text) one.args.replaceChildren(coloured(text));
      one.shown = text;
      const state = open ? "called" : tool ? "done" : "waiting";
      one.state.textContent = t(state);
      one.root.dataset.state = state;
    });
    if (open || !node.calls.length) return;
    if (tool) results(tool);
    else form();
  }

  return { root, update };
}
