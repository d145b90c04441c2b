// Two texts, and how similar a model finds them.
import { element } from "./api.js";

/** Return both texts with the cosine of their vectors, which have length 1. */
export function similarity(texts, [one, other]) {
  const cosine = one.reduce((sum, value, place) => sum + value * other[place], 0);
  const shown = element("div");
  const scores = element("div", "", { class: "scores" });
  const bar = element("meter", "", { min: -1, max: 1, value: cosine, "aria-label": "cosine" });
  scores.append(element("span", "cosine"), bar, element("span", cosine.toFixed(3)));
  shown.append(...texts.map((text) => element("p", text)), scores);
  return shown;
}
