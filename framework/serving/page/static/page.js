// The page to try the model.
import { byId, call, element, explain, unlock } from "./api.js";
import { entities, labels } from "./classified.js";
import { similarity } from "./compared.js";

const WAYS = { chat: converse, labels: classify, entities: classify, vectors: compare };

let release;
let turns = [];
let running;

await unlock(async () => {
  release = await (await call("v1/release")).json();
  introduce();
});

function introduce() {
  const chat = release.answers === "chat", compares = release.answers === "vectors";
  document.title = release.name;
  byId("name").textContent = release.name;
  byId("about").textContent = `${release.task}, ${release.engine}`;
  byId("text-label").textContent = chat ? "Prompt" : compares ? "First text" : "Text";
  byId("second").hidden = !compares;
  byId("other").required = compares;
  for (const id of ["options", "stop"]) byId(id).hidden = !chat;
  byId("limit").max = release.max_new_tokens;
  byId("limit").value = release.max_new_tokens;
  const facts = {
    Release: release.name, Digest: release.digest, "Base model": release.base_model,
    License: release.base_model_license, Engine: release.engine, Task: release.task,
    Recipe: release.recipe, Commit: release.commit ?? "unknown",
    Context: release.context === null ? "unknown" : `${release.context} tokens`,
    ...(compares ? { Dimensions: release.dimensions } : {}),
  };
  byId("facts").replaceChildren(
    ...Object.entries(facts).flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  const rows = Object.entries(release.metrics).map(([name, value]) => {
    const row = element("tr");
    row.append(element("th", name, { scope: "row" }), element("td", round(value)),
      element("td", release.gates[name] ?? "none"));
    return row;
  });
  byId("metrics").hidden = rows.length === 0;
  byId("metrics").tBodies[0].replaceChildren(...rows);
  for (const id of ["try", "card"]) byId(id).hidden = false;
}

byId("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = byId("text").value;
  if (running || !text.trim()) return;
  explain();
  byId("status").textContent = "Waiting for the answer.";
  running = new AbortController();
  busy(true);
  try {
    await WAYS[release.answers](text);
  } catch (problem) {
    const stopped = problem.name === "AbortError";
    byId("status").textContent = stopped ? "Stopped." : "";
    explain(stopped ? undefined : problem);
  } finally {
    running = undefined;
    busy(false);
    // A focused button that is disabled loses the focus.
    if (document.activeElement === document.body) byId("text").focus();
  }
});
for (const id of ["text", "other"]) byId(id).addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("ask").requestSubmit();
});
byId("stop").addEventListener("click", () => running?.abort());
byId("clear").addEventListener("click", () => {
  running?.abort();
  turns = [];
  byId("turns").replaceChildren();
  byId("status").textContent = "";
  explain();
  byId("text").focus();
});

function busy(is) {
  byId("send").disabled = is;
  byId("stop").disabled = !is;
  byId("turns").setAttribute("aria-busy", String(is));
}

async function converse(text) {
  const conversation = turns;
  const messages = [...conversation, { role: "user", content: text }];
  const started = performance.now();
  const body = {
    model: release.name, messages, stream: true, stream_options: { include_usage: true },
    temperature: Number(byId("temperature").value), max_tokens: Number(byId("limit").value),
  };
  const response = await call("v1/chat/completions",
    { method: "POST", body: JSON.stringify(body), signal: running.signal });
  byId("text").value = "";
  show("You", text);
  const turn = show(release.name, "", "answer");
  const said = turn.querySelector("p");
  let first, tokens, id, fingerprint, ending;
  try {
    for await (const chunk of events(response)) {
      if (chunk.error) throw new Error(chunk.error.message);
      ({ id, system_fingerprint: fingerprint } = chunk);
      tokens = chunk.usage?.completion_tokens ?? tokens;
      ending = chunk.choices[0]?.finish_reason ?? ending;
      const piece = chunk.choices[0]?.delta.content;
      if (!piece) continue;
      first ??= performance.now();
      said.textContent += piece;
    }
  } catch (problem) {
    if (problem.name !== "AbortError") throw problem;
    ending = "stopped";
  }
  if (turns === conversation) turns = [...messages, { role: "assistant", content: said.textContent }];
  const seconds = (performance.now() - started) / 1000;
  const figures = [
    first === undefined ? "no text" : `first token after ${Math.round(first - started)} ms`,
    tokens === undefined ? "" : `${tokens} tokens, ${(tokens / seconds).toFixed(1)} tokens/s`,
    { length: "cut at the longest answer", stopped: "stopped" }[ending] ?? "",
  ].filter(Boolean).join(", ");
  finish(turn, figures, { id, system_fingerprint: fingerprint });
}

/** Yield the JSON of each server-sent event. */
async function* events(response) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of pieces(response.body)) {
    const blocks = (rest + decoder.decode(bytes, { stream: true })).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.replace(/^data: /, "");
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

async function* pieces(stream) {  // Safari's streams cannot be iterated
  const reader = stream.getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
}

async function classify(text) {
  const started = performance.now();
  const answer = await (await call("v1/classify",
    { method: "POST", body: JSON.stringify({ input: text }), signal: running.signal })).json();
  const turn = show(text, "", "answer");
  const [classified] = answer.data;
  turn.querySelector("p").replaceWith(classified.entities ? entities(text, classified.entities) : labels(classified));
  const tokens = answer.usage.prompt_tokens;
  finish(turn, `${tokens} tokens, ${Math.round(performance.now() - started)} ms`,
    { system_fingerprint: release.system_fingerprint });
}

async function compare(text) {
  const started = performance.now();
  const texts = [text, byId("other").value];
  const answer = await (await call("v1/embeddings",
    { method: "POST", body: JSON.stringify({ input: texts }), signal: running.signal })).json();
  const turn = show("Similarity", "", "answer");
  turn.querySelector("p").replaceWith(similarity(texts, answer.data.map((each) => each.embedding)));
  finish(turn, `${answer.usage.prompt_tokens} tokens, ${Math.round(performance.now() - started)} ms`,
    { id: answer.id, system_fingerprint: release.system_fingerprint });
}

function show(title, text, kind = "prompt") {
  const turn = element("article", "", { class: `turn ${kind}` });
  turn.append(element("h3", title), element("p", text));
  byId("turns").append(turn);
  return turn;
}

function finish(turn, figures, answer) {
  const votes = element("div", "", { class: "row", role: "group", "aria-label": "Was the answer good?" });
  const buttons = [["Good answer", true], ["Bad answer", false]].map(([title, good]) => {
    const button = element("button", title, { type: "button", "aria-pressed": "false" });
    button.addEventListener("click", () => vote(buttons, button, good, answer));
    return button;
  });
  votes.append(...buttons);
  turn.append(element("p", figures, { class: "figures" }), votes);
  byId("status").textContent = "Answered.";
}

async function vote(buttons, pressed, good, answer) {
  explain();
  for (const button of buttons) button.disabled = true;
  try {
    const body = JSON.stringify({ completed: good, ...answer });
    await call("v1/feedback", { method: "POST", body });
    pressed.setAttribute("aria-pressed", "true");
    byId("status").textContent = "Thank you; the vote was counted.";
  } catch (problem) {
    for (const button of buttons) button.disabled = false;
    explain(problem);
  }
}

function round(value) {
  return Number.isInteger(value) ? String(value) : value.toPrecision(4);
}
