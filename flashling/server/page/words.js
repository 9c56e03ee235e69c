// The page's words in English and Chinese.

const EN = {
  newChat: "New chat", chats: "Chats", engine: "Engine", settings: "Settings", close: "Close",
  menu: "Menu", remove: "Delete", removeSure: "Delete this chat?", untitled: "New chat",
  today: "Today", week: "This week", older: "Earlier",
  hello: "What shall we work on?",
  helloBy: "Runs on your machine. Nothing on this page leaves it.",
  tryExplain: "Explain linear attention to someone who knows softmax attention",
  tryPage: "Make a page with a small clock that ticks",
  tryTable: "Compare quicksort, mergesort and heapsort in a table",
  write: "Write a message", writeTool: "Give the result above, or go on with a message",
  send: "Send", stop: "Stop (Esc)", copy: "Copy", copied: "Copied", edit: "Edit", retry: "Try again",
  fork: "Fork into a new chat", cancel: "Cancel", sendAgain: "Send", jump: "To the end",
  previous: "Previous version", next: "Next version", branch: "Version {n} of {all}",
  thinking: "Thinking", thought: "Thought for {s} s", you: "You", model: "Answer",
  answering: "Answering", answered: "Answer finished", stopped: "Stopped", failed: "The answer failed",
  cut: "Cut off at the token limit.", offline: "The server cannot be reached.",
  first: "first token", speed: "tokens/s", tokensIn: "in", tokensCached: "cached", tokensOut: "out",
  drafts: "drafts accepted",
  arguments: "Arguments", result: "Result", waiting: "needs a result", done: "done", called: "calling",
  typeResult: "Type or paste what the tool returned", sendResult: "Send the result",
  sendResults: "Send the results", editResult: "Change the result", noResult: "(no result was given)",
  preview: "Preview", download: "Download", source: "Source", previewLabel: "Preview of a generated page",
  needKey: "This server asks for a key.", key: "API key", useKey: "Use this key",
  keyNote: "Kept in this tab until it closes.",
  system: "System prompt", systemHint: "How the model should behave, in your words",
  sampling: "Sampling", byServer: "auto", thinkingMode: "Thinking", asModel: "As the model has it",
  on: "On", off: "Off",
  temperature: "Temperature", top_p: "Top p", top_k: "Top k", min_p: "Min p", max_tokens: "Most tokens",
  seed: "Seed", repetition_penalty: "Repetition penalty", stops: "Stop strings", stopsHint: "one a line",
  tools: "Tools", toolsHint: "A JSON list of functions. This page runs none: you give the results.",
  example: "Insert an example", choice: "Use of tools", auto: "The model decides", required: "Must call one",
  none: "None",
  form: "Form of the answer", text: "Text", json: "JSON", schema: "JSON by a schema",
  schemaHint: "The answer will follow this JSON schema.",
  badJson: "Not JSON yet: {why}", goodTools: "{n} tools", goodSchema: "A valid JSON document",
  useModel: "Model", page: "This page", language: "Language", theme: "Theme", light: "Light", dark: "Dark",
  system_theme: "As the system", full: "The browser's storage is full: delete older chats.",
  settingsNote: "For this chat and the next new one.",
  running: "running", queued: "queued", throughput: "Tokens per second", hitShare: "from cache",
  accepted: "drafts accepted", ttft: "first token, median", perToken: "per token, median",
  generated: "generated", prefilled: "prefilled", fromCache: "from cache", load: "Requests",
  cache: "Prompt tokens by where they came from", tiers: "Cache tiers", acceptance: "Draft acceptance",
  noEngine: "The engine says nothing yet.", live: "live", seconds: "last {n} seconds", computed: "computed",
  misses: "Misses by reason", total: "since start", noData: "no data yet", hits: "hits",
};

const ZH = {
  newChat: "新对话", chats: "对话", engine: "引擎", settings: "设置", close: "关闭",
  menu: "菜单", remove: "删除", removeSure: "删除这个对话？", untitled: "新对话",
  today: "今天", week: "本周", older: "更早",
  hello: "今天想做点什么？",
  helloBy: "在你的机器上运行，页面内容不会外传。",
  tryExplain: "向懂 softmax 注意力的人解释线性注意力",
  tryPage: "写一个带走动小时钟的网页",
  tryTable: "用表格比较快速排序、归并排序和堆排序",
  write: "输入消息", writeTool: "填写上面的结果，或继续发消息",
  send: "发送", stop: "停止 (Esc)", copy: "复制", copied: "已复制", edit: "编辑", retry: "重新回答",
  fork: "分叉为新对话", cancel: "取消", sendAgain: "发送", jump: "到末尾",
  previous: "上一个版本", next: "下一个版本", branch: "第 {n} 版，共 {all} 版",
  thinking: "思考中", thought: "思考了 {s} 秒", you: "你", model: "回答",
  answering: "正在回答", answered: "回答完成", stopped: "已停止", failed: "回答失败",
  cut: "已到令牌上限，回答被截断。", offline: "无法连接服务器。",
  first: "首个令牌", speed: "令牌/秒", tokensIn: "输入", tokensCached: "缓存", tokensOut: "输出",
  drafts: "草稿接受率",
  arguments: "参数", result: "结果", waiting: "等待结果", done: "完成", called: "调用中",
  typeResult: "输入或粘贴工具返回的内容", sendResult: "发送结果",
  sendResults: "发送全部结果", editResult: "修改结果", noResult: "（没有给出结果）",
  preview: "预览", download: "下载", source: "源码", previewLabel: "生成网页的预览",
  needKey: "服务器需要密钥。", key: "API 密钥", useKey: "使用此密钥",
  keyNote: "仅保存在此标签页，关闭即清除。",
  system: "系统提示词", systemHint: "用你的话说明模型应如何表现",
  sampling: "采样", byServer: "自动", thinkingMode: "思考", asModel: "由模型决定",
  on: "开", off: "关",
  temperature: "温度", top_p: "Top p", top_k: "Top k", min_p: "Min p", max_tokens: "最多令牌",
  seed: "随机种子", repetition_penalty: "重复惩罚", stops: "停止串", stopsHint: "每行一个",
  tools: "工具", toolsHint: "JSON 格式的函数列表。页面不会运行工具，结果由你填写。",
  example: "插入示例", choice: "工具使用", auto: "由模型决定", required: "必须调用",
  none: "不使用",
  form: "回答形式", text: "文本", json: "JSON", schema: "按 JSON Schema",
  schemaHint: "回答将遵循这个 JSON Schema。",
  badJson: "还不是 JSON：{why}", goodTools: "{n} 个工具", goodSchema: "有效的 JSON 文档",
  useModel: "模型", page: "页面", language: "语言", theme: "主题", light: "浅色", dark: "深色",
  system_theme: "跟随系统", full: "浏览器存储已满，请删除旧对话。",
  settingsNote: "用于此对话和之后的新对话。",
  running: "运行中", queued: "排队", throughput: "每秒令牌数", hitShare: "来自缓存",
  accepted: "草稿接受率", ttft: "首令牌中位数", perToken: "每令牌中位数",
  generated: "生成", prefilled: "预填充", fromCache: "来自缓存", load: "请求",
  cache: "输入令牌的来源", tiers: "缓存层级", acceptance: "草稿接受率",
  noEngine: "引擎尚无数据。", live: "实时", seconds: "最近 {n} 秒", computed: "计算",
  misses: "未命中原因", total: "自启动以来", noData: "暂无数据", hits: "命中",
};

export const LANGUAGES = { en: "English", zh: "中文" };

export function language() {
  return document.documentElement.lang === "zh" ? "zh" : "en";
}

// a word of the page; {name} is replaced by its value
export function t(key, values = {}) {
  const text = (language() === "zh" ? ZH : EN)[key];
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const TABLES = { EN, ZH };
