// One turn of a conversation: what was said, its tools, and in the margin what it cost.

import { copier, grow, h, icon, press } from "./dom.js";
import { codeBlock } from "./code.js";
import { Markdown } from "./markdown.js";
import { speed } from "./run.js";
import { toolCards } from "./tools.js";
import { t } from "./words.js";

// a question up to this many characters is set as a headline
const SHORT = 240;

export function versions(conversation, node, hooks) {
  const all = conversation.siblings(node);
  if (all.length < 2) return null;
  const at = all.indexOf(node);
  const go = (step) => hooks.choose(all[at + step]);
  return h("span.versions", { role: "group", "aria-label": t("branch", { n: at + 1, all: all.length }) },
    press("left", t("previous"), () => go(-1), { disabled: at === 0 }),
    h("span", {}, `${at + 1}/${all.length}`),
    press("right", t("next"), () => go(1), { disabled: at === all.length - 1 }));
}

function editor(node, hooks, back) {
  const field = h("textarea", { value: node.text, "aria-label": t("edit"), rows: "1" });
  const sendIt = () => field.value.trim() && hooks.edit(node, field.value);
  field.addEventListener("input", () => grow(field));
  field.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      back();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      sendIt();
    }
  });
  requestAnimationFrame(() => {
    grow(field);
    field.focus();
  });
  return h("div.editor", {}, field, h("div.row", {},
    h("button.quiet", { type: "button", onclick: back }, t("cancel")),
    h("button.main", { type: "button", onclick: sendIt }, t("sendAgain"))));
}

function user(conversation, node, hooks) {
  const root = h("article.turn.user", { "aria-label": t("you") });
  const said = node.text.length > SHORT ? "div.said.long" : "div.said";
  const show = () => root.replaceChildren(h(said, {}, node.text), h("div.acts", {},
    versions(conversation, node, hooks),
    copier(t("copy"), t("copied"), () => node.text),
    press("edit", t("edit"), () => root.replaceChildren(editor(node, hooks, show)))));
  show();
  return { root };
}

function number(value, digits = 0) {
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// the margin of an answer: speed, first token, tokens in, cached and out, as far as they are known
function costs(node) {
  const { usage, first } = node.stats;
  const rate = speed(node.stats);
  const cached = usage?.prompt_tokens_details?.cached_tokens;
  const accepted = usage?.completion_tokens_details?.accepted_prediction_tokens;
  const out = usage?.completion_tokens ?? node.stats.chunks;
  const rows = [
    rate && [number(rate, rate < 10 ? 1 : 0), t("speed")],
    first !== undefined && [first < 1000 ? `${number(first)} ms` : `${number(first / 1000, 1)} s`, t("first")],
    usage && [number(usage.prompt_tokens), t("tokensIn")],
    cached !== undefined && [number(cached), t("tokensCached")],
    out && [number(out), t("tokensOut")],
    accepted && [number(accepted), t("drafts")],
  ];
  return rows.filter(Boolean).map(([value, name]) => h("div", {}, h("dd", {}, value), h("dt", {}, name)));
}

function notice(node, hooks) {
  if (node.state === "stopped") return h("p.notice", {}, t("stopped"), ".");
  if (node.state === "failed") {
    return h("p.notice.bad", { role: "alert" }, h("span", {}, node.error),
      h("button.quiet", { type: "button", onclick: () => hooks.retry(node) }, icon("retry"), t("retry")));
  }
  return node.finish === "length" ? h("p.notice", {}, t("cut")) : null;
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

// an answer; `update()` shows what has come since
function assistant(conversation, node, hooks) {
  const inside = h("div.thinking");
  const label = h("summary", {}, t("thinking"));
  const thought = h("details.thought", { hidden: true }, label, inside);
  const text = h("div.prose");
  const cards = toolCards(conversation, node, hooks);
  const broken = h("p.notice.lost", { role: "status", hidden: true }, t("reconnecting"));
  const wait = h("span.wait", { "aria-hidden": "true" }, h("i"), h("i"), h("i"));
  const foot = h("div.foot");
  const margin = h("dl.margin");
  const root = h("article.turn.answer", { "aria-label": t("model"), "data-id": node.id },
    margin, thought, text, cards.root, wait, broken, foot);
  const block = (part) => codeBlock(part, hooks.preview);
  const ideas = new Markdown(inside, block);
  const said = new Markdown(text, block);
  let touched = false;
  label.addEventListener("click", () => (touched = true));

  function update() {
    const running = node.state === "running";
    const begun = node.text.trim() || node.calls.length;
    thought.hidden = !node.thought.trim();
    if (node.thought) ideas.show(node.thought);
    label.textContent = running && !begun ? t("thinking")
      : t("thought", { s: number((node.stats.thought ?? 0) / 1000, 1) });
    if (!touched) thought.open = running && !begun;
    const asJson = node.form !== "text" && node.text.trimStart().startsWith("{");
    said.show(asJson ? `\`\`\`json\n${running ? node.text : pretty(node.text)}` : node.text);
    cards.update();
    root.classList.toggle("running", running);
    wait.hidden = !running || Boolean(node.lost || node.text || node.thought || node.calls.length);
    margin.replaceChildren(...costs(node));
    broken.hidden = !running || !node.lost;
    if (running) hooks.grown(node);
  }

  function acts() {
    const all = versions(conversation, node, hooks);
    // an answer that never began has nothing but its notice
    if (node.state === "failed" && !node.text) return h("div.acts", {}, all);
    return h("div.acts", {}, all,
      copier(t("copy"), t("copied"), () => node.text),
      press("retry", t("retry"), () => hooks.retry(node)),
      press("fork", t("fork"), () => hooks.fork(node)),
      press("why", t("why"), () => hooks.why(node)));
  }

  function settle() {
    if (node.state !== "running") foot.replaceChildren(...[notice(node, hooks), acts()].filter(Boolean));
    update();
  }

  settle();
  return { root, update, settle };
}

// {root, update?, settle?} of a node; results of tools are shown by the answer that called them
export function turn(conversation, node, hooks) {
  if (node.role === "tool") return null;
  return node.role === "user" ? user(conversation, node, hooks) : assistant(conversation, node, hooks);
}
