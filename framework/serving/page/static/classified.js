// Labels with their scores, and entities in their text.
import { element } from "./api.js";

export function labels(answer) {
  const chosen = new Set(answer.labels ?? [answer.label]);
  const list = element("div", "", { class: "scores" });
  const sorted = Object.entries(answer.scores).sort(([, one], [, other]) => other - one);
  for (const [label, score] of sorted) {
    const name = element("span", label, chosen.has(label) ? { class: "chosen" } : {});
    const bar = element("meter", "", { min: 0, max: 1, value: score, "aria-label": label });
    list.append(name, bar, element("span", score.toFixed(3)));
  }
  return list;
}

export function entities(text, found) {
  const characters = [...text];  // the server counts characters, JavaScript halves of pairs
  const shown = element("p");
  let end = 0;
  for (const entity of found) {
    const mark = element("mark", entity.text, { title: `score ${entity.score.toFixed(3)}` });
    mark.append(element("small", entity.label));
    shown.append(characters.slice(end, entity.start).join(""), mark);
    end = entity.end;
  }
  shown.append(characters.slice(end).join(""));
  return shown;
}
